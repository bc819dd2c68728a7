"""Log-mel spectrograms: the mel filters, the image, excerpts of long sounds, and settings that are refused."""

from pathlib import Path

import numpy as np
import pytest

from mixlab.data.audio.spectrogram import Spectrogram, mel_filters, read_excerpts, read_spectrogram
from mixlab.errors import UserError
from sounds import tone, write_sound

SETTINGS = Spectrogram()
SMALL = Spectrogram(sample_rate=8_000, window=256, hop=100, mels=40, seconds=0.5)


def test_the_default_image_has_a_row_for_each_mel_band_and_80_columns_for_a_second():
    assert SETTINGS.image_size == (64, 80)
    assert SETTINGS(tone(440)).shape == (64, 80, 3)


def test_mel_filters_are_triangles_with_equal_distances_on_the_htk_scale():
    filters = mel_filters(SETTINGS)
    frequencies = np.arange(257) * 16_000 / 512
    mels = 2595 * np.log10(1 + frequencies / 700)
    step = 2595 * np.log10(1 + 8_000 / 700) / 65
    for band in range(64):
        inside = np.flatnonzero(filters[band])
        assert mels[inside].min() > band * step - 1e-9 and mels[inside].max() < (band + 2) * step + 1e-9
        peak = 700 * (10 ** ((band + 1) * step / 2595) - 1)
        assert abs(frequencies[filters[band].argmax()] - peak) <= 16_000 / 512
    between = (mels > step) & (mels < 64 * step)
    np.testing.assert_allclose(filters.sum(axis=0)[between], 1)  # neighbours add up to 1


@pytest.mark.long
@pytest.mark.parametrize("settings", [SETTINGS, SMALL])
def test_filters_and_images_are_those_of_transformers(settings: Spectrogram):
    from transformers.audio_utils import mel_filter_bank, spectrogram

    filters = mel_filter_bank(
        num_frequency_bins=settings.window // 2 + 1,
        num_mel_filters=settings.mels,
        min_frequency=0,
        max_frequency=settings.sample_rate / 2,
        sampling_rate=settings.sample_rate,
        mel_scale="htk",
    )
    np.testing.assert_allclose(mel_filters(settings), filters.T, atol=1e-12)
    samples = np.random.default_rng(0).standard_normal(settings.samples).astype(np.float32) / 8
    samples[: settings.samples // 3] /= 1_000
    margin = settings.window - settings.hop
    decibels = spectrogram(
        np.pad(samples, (margin // 2, margin - margin // 2)),
        np.hanning(settings.window + 1)[:-1],
        settings.window,
        settings.hop,
        power=2.0,
        center=False,
        mel_filters=filters,
        mel_floor=1e-20,
        log_mel="dB",
    )
    level = np.maximum(decibels - decibels.max(), -80) / 80 + 1
    assert abs(255 * level[::-1] - settings(samples)[..., 0]).max() < 0.51  # rounding to 8 bits


def test_a_tone_is_brightest_in_the_band_of_its_pitch():
    image = SETTINGS(tone(1_000))
    step = 2595 * np.log10(1 + 8_000 / 700) / 65
    band = 2595 * np.log10(1 + 1_000 / 700) / step - 1
    assert abs((63 - image[:, 40, 0].argmax()) - band) <= 1
    assert image.max() == 255
    assert (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all()


def test_the_level_of_a_weaker_tone_is_linear_in_decibels():
    image = SETTINGS(tone(500) + 0.01 * tone(4_000))  # 40 of 80 decibels below
    of_weaker = image[:32, 40, 0].max()
    assert abs(of_weaker / 255 - 0.5) < 0.03


def test_a_sound_with_another_volume_has_the_same_image():
    samples = tone(700) + 0.1 * tone(2_000)
    loud, quiet = SETTINGS(samples), SETTINGS(samples / 64)
    assert (loud == quiet).all()


def test_a_silent_file_has_a_black_image(tmp_path: Path):
    file = write_sound(tmp_path / "silent.wav", np.zeros(16_000, dtype=np.float32))
    assert not read_spectrogram(file, SETTINGS).any()


def test_a_short_sound_is_in_the_middle_of_silence(tmp_path: Path):
    file = write_sound(tmp_path / "short.wav", tone(800, 0.25))
    bright = read_spectrogram(file, SETTINGS)[..., 0].max(axis=0) > 0
    assert bright[31:49].all() and not bright[:27].any() and not bright[53:].any()


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_resampled_sound_has_the_same_image_up_to_the_filter(tmp_path: Path, rate: int):
    expected = SETTINGS(tone(1_000)).astype(int)
    file = write_sound(tmp_path / "tone.wav", tone(1_000, rate=rate), rate, subtype="FLOAT")
    image = read_spectrogram(file, SETTINGS).astype(int)
    loud = expected > 128
    assert abs(image - expected)[loud].max() <= 3


def test_the_middle_of_a_long_sound_is_read(tmp_path: Path):
    samples = np.concatenate([tone(300, 1.0), tone(3_000, 1.0), tone(300, 1.0)])
    file = write_sound(tmp_path / "long.wav", samples)
    np.testing.assert_array_equal(read_spectrogram(file, SETTINGS)[:, 5:75], SETTINGS(tone(3_000))[:, 5:75])


def test_excerpts_cover_a_long_sound_and_overlap_by_half_or_more(tmp_path: Path):
    file = write_sound(tmp_path / "long.wav", tone(500, 3.3))
    excerpts = list(read_excerpts(file, SETTINGS))
    assert (excerpts[0].start, excerpts[-1].end) == (0, pytest.approx(3.3))
    assert all(one.end - one.start == pytest.approx(1) for one in excerpts)
    distances = np.diff([one.start for one in excerpts])
    assert distances == pytest.approx(distances[0]) and distances[0] <= 0.5
    assert len(excerpts) == 6


def test_a_sound_of_one_excerpt_or_less_has_one(tmp_path: Path):
    for seconds in (0.2, 1.0):
        (excerpt,) = read_excerpts(write_sound(tmp_path / f"{seconds}.wav", tone(500, seconds)), SETTINGS)
        assert (excerpt.start, excerpt.end) == (0, pytest.approx(seconds))
        assert (excerpt.image == read_spectrogram(tmp_path / f"{seconds}.wav", SETTINGS)).all()


def test_an_excerpt_is_the_image_of_that_part_of_the_file(tmp_path: Path):
    samples = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 8
    file = write_sound(tmp_path / "noise.wav", samples, subtype="FLOAT")
    *_, last = read_excerpts(file, SETTINGS)
    assert (last.image == SETTINGS(samples[8_000:])).all()


def test_settings_survive_json():
    assert Spectrogram.from_dict(SMALL.to_dict()) == SMALL
    assert SMALL.image_size == (40, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mels": 256}, "spectrogram.mels=256 is too many for window=512.* 31.25 Hz.* fewer mels or a longer window"),
        ({"hop": 600}, "spectrogram.hop=600 is longer than spectrogram.window=512"),
        ({"seconds": 0.01}, "spectrogram.seconds=0.01 is too short: .* one frame needs 0.0125 seconds"),
        ({"seconds": float("nan")}, "spectrogram.seconds=nan is too short"),
        ({"decibels": 0.0}, "spectrogram.decibels=0.0 is out of range"),
        ({"sample_rate": 0}, "spectrogram.sample_rate=0 is out of range"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str):
    with pytest.raises(UserError, match=message):
        Spectrogram(**settings)  # pyright: ignore[reportArgumentType]


def test_stored_settings_with_other_keys_are_refused():
    with pytest.raises(UserError, match="spectrogram has the keys hop: its keys must be sample_rate, window"):
        Spectrogram.from_dict({"hop": 100})
