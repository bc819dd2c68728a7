"""Comparison with `randaug` of big_vision: its level functions, and its results in TensorFlow.

golden/randaugment_tf.npz has an image and the results of google-research/big_vision's big_vision/pp/autoaugment.py for
it at levels 0.5 to 20, in a graph of TensorFlow 2.12.1, with numpy 1.23. That version reduces a threshold above 255 to
a byte, as it did when the Mixers were trained (numpy 2 refuses it). transform, rotate and translate of
tensorflow_addons were based on TensorFlow's own projective transform. All signs are positive.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.augmentation import randaugment_tf
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, UNIFORMS, Canvas
from mixlab.data.augmentation.randaugment_tf import OPERATIONS, RandAugmentTf, randaugment_as_tf
from mixlab.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "randaugment_tf.npz"
CANVAS = Canvas(Image.Resampling.NEAREST, (128, 128, 128))
ROUNDED = {"autocontrast", "color", "sharpness"}  # TensorFlow and Pillow round intermediate results differently

# `level_to_arg` of the reference with translate_const=100 and cutout_const=40, as `distort_image_with_randaugment` sets
# them, at levels 0, 5, 10, 15 and 20. Its values for posterize at 0 (0 bits) and solarize at 10, 15 and 20 (256, 384,
# 512) are replaced by the bytes to which TensorFlow converts them.
AMOUNTS = {
    "autocontrast": [0, 0, 0, 0, 0],
    "equalize": [0, 0, 0, 0, 0],
    "invert": [0, 0, 0, 0, 0],
    "rotate": [0, 15, 30, 45, 60],
    "posterize": [1, 2, 4, 6, 8],
    "solarize": [0, 128, 0, 128, 0],
    "color": [0.1, 1.0, 1.9, 2.8, 3.7],
    "contrast": [0.1, 1.0, 1.9, 2.8, 3.7],
    "brightness": [0.1, 1.0, 1.9, 2.8, 3.7],
    "sharpness": [0.1, 1.0, 1.9, 2.8, 3.7],
    "shear_x": [0, 0.15, 0.3, 0.45, 0.6],
    "shear_y": [0, 0.15, 0.3, 0.45, 0.6],
    "translate_x": [0, 50, 100, 150, 200],
    "translate_y": [0, 50, 100, 150, 200],
    "cutout": [0, 20, 40, 60, 80],
    "solarize_add": [0, 55, 110, 165, 220],
}
SIGNED = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def pil_image(golden) -> Image.Image:
    return Image.fromarray(golden["image"])


@pytest.mark.parametrize("name", AMOUNTS)
def test_levels_are_those_of_big_vision(name):
    for level, expected in zip((0, 5, 10, 15, 20), AMOUNTS[name], strict=True):
        for sign in (-1, 1):
            ours = OPERATIONS[name][1](float(level), sign, (224, 224))
            assert ours == pytest.approx(sign * expected if name in SIGNED else expected)


def test_all_operations_of_the_reference_exist():
    assert set(OPERATIONS) == set(AMOUNTS)


def pairs(golden: dict[str, np.ndarray], pil_image: Image.Image, name: str):
    """Each level with our pixels and those of TensorFlow."""
    operation, amount = OPERATIONS[name]
    for key, theirs in golden.items():
        if key.startswith(f"{name}@"):
            level = float(key.partition("@")[2])
            ours = operation(pil_image, amount(level, 1, pil_image.size), CANVAS)
            yield level, np.asarray(ours).astype(int), theirs.astype(int)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ROUNDED - {"cutout", "shear_x", "shear_y"}))
def test_pixels_are_those_of_tensorflow(golden, pil_image, name):
    equal = [np.array_equal(ours, theirs) for _, ours, theirs in pairs(golden, pil_image, name)]
    assert equal
    assert all(equal)


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_blended_pixels_are_those_of_tensorflow_up_to_rounding(golden, pil_image, name):
    for level, ours, theirs in pairs(golden, pil_image, name):
        factor = 1 if name == "autocontrast" else OPERATIONS[name][1](level, 1, pil_image.size)
        assert np.abs(ours - theirs).max() <= max(1, np.ceil(abs(factor - 1)))


@pytest.mark.parametrize(("name", "axis"), [("shear_x", 0), ("shear_y", 1)])
def test_sheared_pixels_are_those_of_tensorflow_except_at_ties(golden, pil_image, name, axis):
    for level, ours, theirs in pairs(golden, pil_image, name):
        steps = np.arange(ours.shape[axis]) * level / 10 * 0.3
        no_tie = np.abs(steps % 1 - 0.5) > 1e-3
        assert no_tie.mean() > 0.8
        assert np.array_equal(ours.compress(no_tie, axis), theirs.compress(no_tie, axis))


@pytest.mark.parametrize(("position", "rows", "columns"), [((0.0, 0.0), 4, 4), ((0.5, 0.5), 8, 8), ((0.99, 0.3), 5, 8)])
def test_cutout_fills_a_square_clipped_to_the_image(position, rows, columns):
    white = Image.new("RGB", (20, 16), (255, 255, 255))
    canvas = Canvas(Image.Resampling.NEAREST, (128, 128, 128), position)
    grey = (np.asarray(OPERATIONS["cutout"][0](white, 4, canvas)) == 128).all(axis=2)
    row, column = int(position[0] * 16), int(position[1] * 20)
    expected = np.zeros((16, 20), dtype=bool)
    expected[max(row - 4, 0) : row + 4, max(column - 4, 0) : column + 4] = True
    assert np.array_equal(grey, expected)
    assert grey.any(axis=1).sum() == rows
    assert grey.any(axis=0).sum() == columns


def test_each_operation_is_equally_likely_and_always_applied(pil_image, monkeypatch):
    counts = dict.fromkeys(OPERATIONS, 0)

    def recording(name):
        def operation(image, _amount, _canvas):
            counts[name] += 1
            return image

        return operation, OPERATIONS[name][1]

    monkeypatch.setattr(randaugment_tf, "_OPERATIONS", tuple(recording(name) for name in OPERATIONS))
    for uniforms in np.random.default_rng(0).random((4000, UNIFORMS)):
        randaugment_as_tf(pil_image, uniforms, RandAugmentTf(2, 15.0))
    assert sum(counts.values()) == 8000
    assert max(abs(count - 500) for count in counts.values()) < 5 * np.sqrt(500)


def test_layers_are_applied_in_sequence(pil_image, golden):
    uniforms = np.full((LAYERS, LAYER_UNIFORMS), 0.99)
    uniforms[:2, 0] = 2.5 / 16, 4.5 / 16  # invert, posterize
    result = randaugment_as_tf(pil_image, uniforms.ravel(), RandAugmentTf(2, 10.0))
    assert result == Image.fromarray((255 - golden["image"]) & 0xF0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((0, 15.0), "layers=0 is invalid: it must be between 1 and 8"),
        ((2, 21.0), "magnitude=21.0 is invalid: it must be between 0 and 20"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation.randaugment_tf.{sentence}"):
        RandAugmentTf(*settings)
