import json

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from mixlab.errors import UserError


def gradient(rows: int, columns: int):
    """The red channel is the row, green the column."""
    row, column = np.mgrid[:rows, :columns]
    return np.stack([row, column, np.zeros_like(row)], axis=-1).astype(np.uint8)


def test_the_default_maps_black_to_minus_1_and_white_to_1():
    preprocess = Preprocess((2, 2))
    assert preprocess(np.zeros((2, 2, 3), np.uint8)).eq(-1).all()
    assert preprocess(np.full((2, 2, 3), 255, np.uint8)).eq(1).all()


def test_each_channel_has_its_own_mean_and_standard_deviation():
    pixel = Preprocess((1, 1), mean=IMAGENET_MEAN, std=IMAGENET_STD)(np.full((1, 1, 3), 128, np.uint8))
    expected = [(128 / 255 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    torch.testing.assert_close(pixel.flatten(), torch.tensor(expected))


def test_a_batch_is_normalised_like_single_images():
    preprocess = Preprocess((5, 4), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    images = [np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8) for i in range(3)]
    batch = preprocess.normalised(torch.stack([preprocess.resized(image) for image in images]))
    assert batch.equal(torch.stack([preprocess(image) for image in images]))


def test_an_image_of_the_correct_size_keeps_its_pixels():
    image = gradient(6, 9)
    assert Preprocess((6, 9)).resized(image).permute(1, 2, 0).equal(torch.from_numpy(image))


def test_stretch_ignores_the_aspect_ratio():
    image = gradient(40, 20)
    expected = np.array(Image.fromarray(image).resize((12, 8), Image.Resampling.BILINEAR))
    resized = Preprocess((8, 12), interpolation="bilinear").resized(image)
    assert resized.permute(1, 2, 0).equal(torch.from_numpy(expected))


def test_interpolations_differ():
    image = gradient(40, 40) * 6
    bilinear, bicubic = (Preprocess((7, 7), interpolation=name).resized(image) for name in ("bilinear", "bicubic"))
    assert not bilinear.equal(bicubic)


def test_shrinking_is_antialiased():
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[::2] = 255
    shrunk = Preprocess((16, 16), interpolation="bilinear").resized(lines).float()
    assert (shrunk - 127.5).abs().max() < 10


@pytest.mark.parametrize(
    ("size", "crop_fraction", "shape", "scaled"),
    [
        ((224, 224), 0.875, (512, 700), (256, 350)),
        ((224, 224), 0.95, (700, 512), (322, 236)),  # 224 / 0.95 is 235.8
        ((224, 224), 1.0, (300, 300), (224, 224)),
        ((100, 200), 1.0, (50, 300), (100, 600)),  # a rectangle that the scaled image covers
        ((100, 200), 0.5, (300, 50), (2400, 400)),
    ],
)
def test_shorter_side_scales_and_crops_the_centre(size, crop_fraction, shape, scaled):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole = np.array(Image.fromarray(image).resize(scaled[::-1], Image.Resampling.BICUBIC))
    top, left = (round((scaled_side - side) / 2) for scaled_side, side in zip(scaled, size, strict=True))
    expected = whole[top : top + size[0], left : left + size[1]]
    resized = Preprocess(size, resize="shorter_side", crop_fraction=crop_fraction).resized(image)
    assert resized.permute(1, 2, 0).equal(torch.from_numpy(expected.copy()))


def test_stretch_and_crop_ignores_the_aspect_ratio_and_crops_the_centre():
    image = np.random.default_rng(0).integers(0, 256, (70, 40, 3), dtype=np.uint8)
    whole = np.array(Image.fromarray(image).resize((64, 32), Image.Resampling.BICUBIC))
    resized = Preprocess((28, 56), resize="stretch_and_crop", crop_fraction=0.875).resized(image)
    assert resized.permute(1, 2, 0).equal(torch.from_numpy(whole[2:30, 4:60].copy()))


def test_stretch_and_crop_without_a_crop_is_stretch():
    image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    assert Preprocess((24, 20), resize="stretch_and_crop").resized(image).equal(Preprocess((24, 20)).resized(image))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(3, 90), (90, 3), (20, 31), (1, 200)])
def test_cropping_before_enlarging_changes_only_the_rounding(monkeypatch, shape, interpolation):
    image = np.random.default_rng(0).integers(80, 176, (*shape, 3), dtype=np.uint8)  # bicubic overshoot is not clipped
    preprocess = Preprocess((32, 40), "shorter_side", 0.875, interpolation)
    enlarged_first = preprocess.resized(image)
    monkeypatch.setattr("mixlab.data.preprocess.MAX_SCALED_PIXELS", 0)
    assert (preprocess.resized(image).int() - enlarged_first.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(1, 30_000), (30_000, 1), (2, 16_000)])
def test_a_very_narrow_image_is_not_enlarged_as_a_whole(monkeypatch, shape):
    resize, sizes = Image.Image.resize, []

    def recorded(pil_image, size, *arguments, **options):
        sizes.append(size)
        return resize(pil_image, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    image = np.full((*shape, 3), 200, np.uint8)
    resized = Preprocess((224, 224), "shorter_side", 0.875).resized(image)
    assert resized.shape == (3, 224, 224) and resized.eq(200).all()
    assert sizes == [(224, 224)]


def test_an_image_that_is_not_enlarged_is_resized_as_a_whole(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (300, 41, 3), dtype=np.uint8)
    preprocess = Preprocess((32, 32), "shorter_side", 0.875)
    expected = preprocess.resized(image)
    monkeypatch.setattr("mixlab.data.preprocess.MAX_SCALED_PIXELS", 0)
    assert preprocess.resized(image).equal(expected)


def test_a_box_is_cropped_before_it_is_resized():
    image = gradient(10, 10)
    assert (
        Preprocess((3, 4))
        .stretched(image, (2, 5, 6, 8), "bicubic")
        .permute(1, 2, 0)
        .equal(torch.from_numpy(image[5:8, 2:6]))
    )


def test_settings_survive_json():
    preprocess = Preprocess((32, 48), "shorter_side", 0.9, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


def test_a_value_range_survives_json_and_is_left_out_by_default():
    preprocess = Preprocess((32, 48), value_range=(0, 4095))
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess
    assert "value_range" not in Preprocess((32, 48)).to_dict()


def test_an_unknown_and_a_missing_key_are_both_named():
    values = Preprocess((32, 32)).to_dict()
    values["crop"] = values.pop("crop_fraction")
    with pytest.raises(UserError, match=r"unknown keys \['crop'\] and lacks the keys \['crop_fraction'\]"):
        Preprocess.from_dict(values)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"interpolation": "bicubik"}, 'interpolation="bicubik" is invalid: .* Did you mean "bicubic"?'),
        ({"resize": "crop"}, "it must be stretch or shorter_side"),
        ({"crop_fraction": 1.5}, r"crop_fraction=1.5 is out of range: it must be in \(0, 1\]"),
        ({"std": [1, 0, 1]}, "the value of each channel must be above 0"),
        (
            {"value_range": [9, 9]},
            r"value_range=\(9.0, 9.0\) is invalid: it must be \(black, white\) with black < white",
        ),
        ({"image_size": [0, 32]}, "it must be .height, width. in pixels"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Preprocess.from_dict(Preprocess((32, 32)).to_dict() | settings)
