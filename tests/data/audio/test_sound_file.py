"""Reading of sound files: formats, channels, and files that can't be read."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mixlab.data.audio.sound_file import Sound, open_sound
from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from sounds import RATE, tone, write_sound


def samples_of(file: Path) -> np.ndarray:
    with open_sound(file) as sound:
        return sound.read(0, sound.samples)


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "PCM_U8"), ("wav", "FLOAT"), ("wav", "DOUBLE"), ("flac", "PCM_16")],
)
def test_formats_have_the_same_samples(tmp_path: Path, suffix: str, subtype: str):
    samples = tone(440, 0.1)
    read = samples_of(write_sound(tmp_path / f"tone.{suffix}", samples, subtype=subtype))
    np.testing.assert_allclose(read, samples, atol=2e-2 if subtype == "PCM_U8" else 4e-5)


def test_ogg_has_about_the_same_samples(tmp_path: Path):
    samples = tone(440, 0.5)
    read = samples_of(write_sound(tmp_path / "tone.ogg", samples))
    assert len(read) == len(samples)
    assert np.corrcoef(read, samples)[0, 1] > 0.99


def test_channels_are_averaged(tmp_path: Path):
    stereo = np.stack([tone(440, 0.1), np.zeros(RATE // 10, dtype=np.float32)], axis=1)
    file = write_sound(tmp_path / "stereo.wav", stereo, subtype="FLOAT")
    np.testing.assert_allclose(samples_of(file), tone(440, 0.1) / 2, atol=1e-7)


def test_a_part_of_a_file_is_read(tmp_path: Path):
    samples = tone(440, 0.5)
    file = write_sound(tmp_path / "tone.wav", samples, subtype="FLOAT")
    with open_sound(file.read_bytes()) as sound:
        assert (sound.sample_rate, sound.samples, sound.seconds) == (RATE, 8_000, 0.5)
        np.testing.assert_array_equal(sound.read(1_000, 200), samples[1_000:1_200])
        assert len(sound.read(7_900, 200)) == 100


def test_a_sound_is_a_file_inside_a_dataset(tmp_path: Path):
    file = write_sound(tmp_path / "tone.wav", tone(440, 0.1))
    sound = Sound(file)
    assert (str(sound), sound.size, sound.read_bytes()) == (str(file), file.stat().st_size, file.read_bytes())
    assert Sound(tmp_path / "missing.wav").size == 0


def damaged_files(folder: Path) -> dict[str, Path]:
    complete = write_sound(folder / "tone.wav", tone(440, 0.1)).read_bytes()
    flac = write_sound(folder / "tone.flac", np.random.default_rng(0).uniform(-1, 1, 40_000)).read_bytes()
    contents = {
        "empty": b"",
        "text": b"not a sound\n" * 100,
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "truncated wav": complete[: len(complete) // 2],
        "truncated flac": flac[: len(flac) // 2],
        "image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }
    for name, content in contents.items():
        (folder / f"{name}.wav").write_bytes(content)
    write_sound(folder / "no samples.wav", np.zeros(0, dtype=np.float32))
    write_sound(folder / "nan.wav", np.array([0, np.nan, 0], dtype=np.float32), subtype="FLOAT")
    write_sound(folder / "infinite.wav", np.array([0, np.inf, 0], dtype=np.float32), subtype="FLOAT")
    return {path.stem: path for path in folder.glob("*.wav")} | {"missing": folder / "missing.wav"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "it is empty"),
        ("text", "it is not a sound in a supported format, which are wav, flac and ogg"),
        ("image", "it is not a sound in a supported format"),
        ("pointer", "it is a pointer of Git LFS, whose content was not fetched"),
        ("truncated wav", r"it is truncated: it has 1,622 of 3,244 bytes"),
        ("truncated flac", "truncated"),
        ("no samples", "it has no samples: its duration is 0 seconds"),
        ("nan", "it has samples that are infinite or NaN"),
        ("infinite", "it has samples that are infinite or NaN"),
        ("missing", "no such file or directory"),
    ],
)
def test_a_file_that_is_no_readable_sound_is_refused_with_the_reason(tmp_path: Path, name: str, reason: str):
    with pytest.raises(UnreadableImage, match=reason) as caught:
        samples_of(damaged_files(tmp_path)[name])
    assert caught.value.image.endswith(f"{name}.wav")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = write_sound(tmp_path / "tone.wav", tone(440, 0.1))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r'needs the optional dependency soundfile: pip install "mixlab\[audio\]"'):
        samples_of(file)
