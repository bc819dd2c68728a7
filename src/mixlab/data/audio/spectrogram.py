"""Log-mel spectrograms: a sound as an image, with time from left to right and low frequencies at the bottom.

A sound is read in excerpts of fixed length. The image of an excerpt is

    255 (1 + max(10 log10(P / P_max), -decibels) / decibels)     with P = mel filters @ |FFT(Hann window * excerpt)|^2

so that the loudest place of an excerpt is 255, and a sound with another volume has the same image. The mel filters are
triangles with a maximum of 1 on the HTK scale, mel = 2595 log10(1 + Hz / 700).

Axes:  sample     at `Spectrogram.sample_rate`
       mel        mel bands, the highest frequency first
       frame      places of the FFT window
       frequency  of the FFT, from 0 to half of the sample rate
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from mixlab.data.audio.sound_file import OpenSound, open_sound
from mixlab.data.image_file import ReadableFile
from mixlab.errors import UserError

_SILENCE = 1e-20
"""Power of a sound that is treated as silent: no sample of 24 bits but 0 has less."""

OVERLAP = 0.5
"""The least fraction of an excerpt of a long sound that is also in the next one."""


@dataclass(frozen=True)
class Spectrogram:
    """The settings of a log-mel spectrogram. The defaults give 64 rows and 80 columns for each second.

    `sample_rate`: Hz; sounds with another rate are resampled.
    `window`: samples of the FFT window.
    `hop`: samples from one frame to the next.
    `mels`: mel bands, which are the rows of the image.
    `seconds`: the length of an excerpt. Shorter sounds get silence on both sides.
    `decibels`: the range from black to white.

    Raises UserError for settings out of range, and for more mel bands than the window can resolve.
    """

    sample_rate: int = 16_000
    window: int = 512
    hop: int = 200
    mels: int = 64
    seconds: float = 1.0
    decibels: float = 80.0

    def __post_init__(self) -> None:
        for name in ("sample_rate", "window", "hop", "mels"):
            if getattr(self, name) < 1:
                raise UserError(f"spectrogram.{name}={getattr(self, name)} is out of range: it must be at least 1.")
        if self.hop > self.window:
            raise UserError(
                f"spectrogram.hop={self.hop} is longer than spectrogram.window={self.window}, so that samples between "
                "two frames would be ignored: give at most the window, for example half of it."
            )
        if not 0 < self.decibels < math.inf:
            raise UserError(
                f"spectrogram.decibels={self.decibels} is out of range: it must be positive and finite, such as 80."
            )
        if not self.hop <= self.seconds * self.sample_rate < math.inf:
            raise UserError(
                f"spectrogram.seconds={self.seconds} is too short: with hop={self.hop} and sample_rate="
                f"{self.sample_rate}, one frame needs {self.hop / self.sample_rate:g} seconds."
            )
        if not mel_filters(self).any(axis=1).all():
            raise UserError(
                f"spectrogram.mels={self.mels} is too many for window={self.window}: the lowest bands have no "
                f"frequency of the FFT, which are {self.sample_rate / self.window:g} Hz from each other. Give fewer "
                "mels or a longer window."
            )

    @property
    def samples(self) -> int:
        """Samples of an excerpt, at `sample_rate`."""
        return self.frames * self.hop

    @property
    def frames(self) -> int:
        """Columns of the image."""
        return int(self.seconds * self.sample_rate / self.hop + 1e-9)

    @property
    def image_size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.mels, self.frames

    def __call__(self, samples: Float32[np.ndarray, " sample"]) -> UInt8[np.ndarray, "mel frame 3"]:
        """The image of an excerpt of `self.samples` samples. The three channels are equal."""
        margin = self.window - self.hop
        padded = np.pad(samples, (margin // 2, margin - margin // 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
        spectrum = np.fft.rfft(windows * _hann(self.window), axis=1)
        power = mel_filters(self) @ (spectrum.real**2 + spectrum.imag**2).T
        loudest = power.max()
        if loudest < _SILENCE:
            return np.zeros((self.mels, self.frames, 3), dtype=np.uint8)
        floor = 10 ** (-self.decibels / 10)
        level = 10 * np.log10(np.maximum(power / loudest, floor)) / self.decibels + 1
        image = np.rint(255 * level[::-1]).astype(np.uint8)
        return np.repeat(image[:, :, None], 3, axis=2)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Spectrogram":
        """Restore the settings from `to_dict`. Raises UserError for unknown, missing or invalid values."""
        known = [field.name for field in fields(cls)]
        if set(values) != set(known):
            raise UserError(
                f"spectrogram has the keys {', '.join(sorted(values))}: its keys must be {', '.join(known)}."
            )
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A part of a sound.

    `start`, `end`: seconds from the beginning of the sound.
    """

    start: float
    end: float
    image: UInt8[np.ndarray, "mel frame 3"]


def read_spectrogram(source: ReadableFile | bytes, settings: Spectrogram) -> UInt8[np.ndarray, "mel frame 3"]:
    """The image of the excerpt in the middle of a sound. Raises UnreadableImage."""
    with open_sound(source) as sound:
        return _excerpt(sound, max(sound.seconds - _seconds(settings), 0) / 2, settings).image


def read_excerpts(source: ReadableFile | bytes, settings: Spectrogram) -> Iterator[Excerpt]:
    """All excerpts of a sound, with equal distances, each overlapping the next one by at least `OVERLAP`.

    A sound that is not longer than an excerpt has one. Raises UnreadableImage.
    """
    with open_sound(source) as sound:
        rest = max(sound.seconds - _seconds(settings), 0)
        steps = math.ceil(rest / (_seconds(settings) * (1 - OVERLAP)) - 1e-9)
        for start in np.linspace(0, rest, steps + 1).tolist():
            yield _excerpt(sound, start, settings)


def _seconds(settings: Spectrogram) -> float:
    return settings.samples / settings.sample_rate


def _excerpt(sound: OpenSound, start: float, settings: Spectrogram) -> Excerpt:
    first = round(start * sound.sample_rate)
    samples = sound.read(first, math.ceil(_seconds(settings) * sound.sample_rate))
    image = settings(_fitted(_resampled(samples, sound.sample_rate, settings.sample_rate), settings.samples))
    return Excerpt(start, start + len(samples) / sound.sample_rate, image)


def _resampled(samples: Float32[np.ndarray, " _"], rate: int, new_rate: int) -> Float32[np.ndarray, " _"]:
    """Resample with the antialiasing filter of `scipy.signal.resample_poly`."""
    if rate == new_rate:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, new_rate)
    return resample_poly(samples, new_rate // common, rate // common).astype(np.float32)


def _fitted(samples: Float32[np.ndarray, " _"], count: int) -> Float32[np.ndarray, " {count}"]:
    """The first `count` samples, or fewer of them with silence on both sides."""
    missing = max(count - len(samples), 0)
    return np.pad(samples[:count], (missing // 2, missing - missing // 2))


@lru_cache(maxsize=8)
def mel_filters(settings: Spectrogram) -> Float64[np.ndarray, "mel frequency"]:
    """The weights of the FFT's frequencies in each mel band, the lowest band first.

    The corners of the triangles have equal distances on the mel scale, from 0 to half of the sample rate.
    """
    frequencies = np.linspace(0, settings.sample_rate / 2, settings.window // 2 + 1)
    corners = _mel_to_hz(np.linspace(0, _hz_to_mel(settings.sample_rate / 2), settings.mels + 2))
    rising = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    return np.maximum(np.minimum(rising, falling), 0)


def _hz_to_mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def _mel_to_hz(mel: Float64[np.ndarray, " corner"]) -> Float64[np.ndarray, " corner"]:
    return 700 * (10 ** (mel / 2595) - 1)


@lru_cache(maxsize=8)
def _hann(samples: int) -> Float64[np.ndarray, " {samples}"]:
    """The periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
