import numpy as np
import pytest

from mixlab.data.augmentation.crop import ATTEMPTS, UNIFORMS, InceptionCrop, RandomResizedCrop, crop_box
from mixlab.data.rng import image_uniforms
from mixlab.errors import UserError


def boxes(crop: RandomResizedCrop | InceptionCrop, rows: int, columns: int, count: int = 2000) -> np.ndarray:
    uniforms = image_uniforms(0, 0, np.arange(count), UNIFORMS)
    return np.array([crop_box(crop, rows, columns, row) for row in uniforms])


def test_a_crop_is_inside_the_image_with_area_and_ratio_in_range():
    left, top, right, bottom = boxes(RandomResizedCrop(scale=(0.2, 0.9), ratio=(0.5, 2.0)), 300, 400).T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 400
    assert bottom.max() <= 300
    width, height = right - left, bottom - top
    area, ratio = width * height / 120_000, width / height
    assert 0.19 < area.min() < 0.21  # the whole range occurs, up to rounding to whole pixels
    assert 0.85 < area.max() < 0.91
    assert 0.49 < ratio.min() < 0.52
    assert 1.9 < ratio.max() < 2.02


def test_a_crop_can_touch_every_edge():
    left, top, right, bottom = boxes(RandomResizedCrop(scale=(0.2, 0.9)), 10, 12).T
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, 12, 10)


def test_a_crop_that_never_fits_is_the_largest_central_one():
    # The full area of a 100 x 10 image is impossible with a ratio of at most 4 : 3.
    box = crop_box(RandomResizedCrop(scale=(1.0, 1.0)), 10, 100, np.full(UNIFORMS, 0.5))
    assert box == (43, 0, 56, 10)


@pytest.mark.parametrize(
    ("rows", "columns", "scale", "mean", "deviation"),
    [  # top, left, height, width: 20,000 of tf.image.sample_distorted_bounding_box, TensorFlow 2.12.1, no boxes
        (64, 64, (0.05, 1.0), (13.3307, 12.8030, 36.4978, 37.3895), (11.1941, 11.1050, 13.7931, 13.9550)),
        (40, 90, (0.05, 1.0), (6.2298, 30.9288, 26.6999, 27.6486), (6.0248, 18.8554, 8.0655, 9.4412)),
        (10, 100, (0.08, 0.5), (0.0400, 44.4256, 9.5242, 9.8646), (0.1958, 25.9423, 0.6412, 1.3686)),
    ],
)
def test_inception_crops_have_the_distribution_of_tensorflow(rows, columns, scale, mean, deviation):
    left, top, right, bottom = boxes(InceptionCrop(scale=scale), rows, columns, 4000).T
    ours = np.stack([top, left, bottom - top, right - left])
    error = np.array(deviation) * np.sqrt(1 / 4000 + 1 / 20_000)
    assert (np.abs(ours.mean(axis=1) - mean) < 4 * error).all()
    assert np.allclose(ours.std(axis=1), deviation, rtol=0.05)


@pytest.mark.parametrize(
    ("ratio", "height", "rows", "columns", "high", "shape"),
    [  # by the formula of the kernel, with scale (0.05, high): (height, width)
        (0.0, 0.0, 64, 64, 1.0, (17, 13)),  # 17 is the root of 0.05 * 64 * 64 / 0.75
        (0.01, 0.0, 64, 64, 1.0, (17, 13)),  # at 0.7558 it is 16, but 16 x 12 is less than 5 %: one more
        (0.02, 0.999, 64, 64, 0.5, (51, 39)),  # at 0.7616 it is 52, but 52 x 40 is more than 50 %: one less
        (0.0, 0.999, 64, 64, 1.0, (64, 48)),  # as high as the image
        (0.5, 0.999, 64, 64, 1.0, (62, 64)),  # as wide as the image: 64.5 / 1.04, cut
        (0.43, 0.5, 40, 90, 1.0, (27, 27)),  # the 15th of the 28 heights from 13 to 40, at 0.9994
    ],
)
def test_the_shape_of_an_inception_crop_follows_the_formula(ratio, height, rows, columns, high, shape):
    uniforms = np.append(np.tile([ratio, height], ATTEMPTS), np.zeros(3))
    left, top, right, bottom = crop_box(InceptionCrop(scale=(0.05, high)), rows, columns, uniforms)
    assert (left, top) == (0, 0)
    assert (bottom - top, right - left) == shape


def test_an_inception_crop_does_not_touch_the_far_edge():
    left, top, right, bottom = boxes(InceptionCrop(), 20, 20).T
    assert bottom[bottom - top < 20].max() == 19
    assert right[right - left < 20].max() == 19
    assert (top.min(), left.min()) == (0, 0)


def test_an_inception_crop_that_never_fits_is_the_whole_image():
    assert crop_box(InceptionCrop(scale=(0.9, 1.0)), 10, 100, np.full(UNIFORMS, 0.5)) == (0, 0, 100, 10)


def test_the_first_attempt_that_fits_is_used():
    uniforms = np.full(UNIFORMS, 0.5)
    uniforms[: 2 * ATTEMPTS] = np.tile([0.999, 0.0], ATTEMPTS)  # all of the area at 3 : 4, which is too high
    uniforms[8:10] = 0.25, 0.5
    assert crop_box(RandomResizedCrop(scale=(0.2, 1.0)), 100, 100, uniforms) == (19, 19, 82, 82)  # 40 % of the area


@pytest.mark.parametrize(
    ("make", "name"), [(RandomResizedCrop, "random_resized_crop"), (InceptionCrop, "inception_crop")]
)
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scale": (0.0, 1.0)}, "scale=.0.0, 1.0. is invalid: .* 0 < low <= high <= 1"),
        ({"ratio": (2.0, 1.0)}, "ratio=.2.0, 1.0. is invalid: .* 0 < low <= high"),
    ],
)
def test_invalid_settings_are_refused(make, name, settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation.{name}.{sentence}"):
        make(**settings)
