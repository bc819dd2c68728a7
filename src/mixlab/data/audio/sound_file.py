"""Sound files: wav, flac and ogg, read with soundfile, in parts and with one channel.

Axes:  sample   at the sample rate of the file
       channel  of the file
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mixlab.data.image_file import ReadableFile, UnreadableImage, reason_for_no_content, reason_for_other_content
from mixlab.data.readers.extras import needs_extra

_STREAMED = (0, 0xFFFFFFFF)
"""Sizes in the header of a wav file that was written without knowing its length."""


@dataclass(frozen=True)
class Sound:
    """A sound file as the source of an image. See `mixlab.data.dataset.ContainedFile`."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        """Size in bytes; 0 for a file that does not exist or can't be accessed."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def read_bytes(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True, eq=False)
class OpenSound:
    """A sound file that is open for reading.

    `sample_rate`: samples per second.
    `samples`: of each channel, at least 1.
    """

    name: str
    sample_rate: int
    samples: int
    _file: Any

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.samples / self.sample_rate

    def read(self, start: int, count: int) -> Float32[np.ndarray, " sample"]:
        """At most `count` samples from sample `start` on: the mean of all channels, full scale is [-1, 1].

        Raises UnreadableImage if a sample is infinite or NaN, or if samples are missing.
        """
        with _explain_errors(self.name):
            self._file.seek(start)
            channels: Float32[np.ndarray, "sample channel"] = self._file.read(count, dtype="float32", always_2d=True)
        if len(channels) < min(count, self.samples - start):
            raise UnreadableImage(self.name, "it is truncated: samples are missing at its end")
        if not np.isfinite(channels).all():
            raise UnreadableImage(self.name, "it has samples that are infinite or NaN")
        return channels.mean(axis=1)


@contextmanager
def open_sound(source: ReadableFile | bytes) -> Iterator[OpenSound]:
    """Open a sound file, or the content of one.

    Raises UnreadableImage for a file that can't be read or has no samples, and UserError if soundfile is missing.
    """
    name = f"the sound of {len(source):,} bytes" if isinstance(source, bytes) else str(source)
    with needs_extra(name, "audio"):
        import soundfile
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UnreadableImage(name, reason_for_no_content(error)) from error
    _require_complete(content, name)
    try:
        file = soundfile.SoundFile(BytesIO(content))
    except soundfile.LibsndfileError as error:
        reason = reason_for_other_content(content, "a sound in a supported format, which are wav, flac and ogg")
        raise UnreadableImage(name, reason) from error
    with file:
        if not file.frames:
            raise UnreadableImage(name, "it has no samples: its duration is 0 seconds")
        yield OpenSound(name, file.samplerate, file.frames, file)


def _require_complete(content: bytes, name: str) -> None:
    """Raises UnreadableImage if a wav file is shorter than its header says; soundfile reads what is there."""
    size = int.from_bytes(content[4:8], "little")
    if content[:4] == b"RIFF" and size not in _STREAMED and len(content) < size + 7:  # the last byte may be padding
        raise UnreadableImage(name, f"it is truncated: it has {len(content):,} of {size + 8:,} bytes")


@contextmanager
def _explain_errors(name: str) -> Iterator[None]:
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        raise UnreadableImage(name, f"it is damaged or truncated ({error})") from error
