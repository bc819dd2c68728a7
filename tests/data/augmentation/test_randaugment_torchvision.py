"""Comparison with RandAugment of torchvision: scales, pixels and random choices."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.autoaugment import _apply_op

from mixlab.data.augmentation import randaugment_torchvision
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, UNIFORMS, Canvas
from mixlab.data.augmentation.randaugment_torchvision import (
    OPERATIONS,
    RandAugmentTorchvision,
    randaugment_as_torchvision,
)
from mixlab.errors import UserError

TORCHVISION_NAMES = {name: name.title().replace("_", "") for name in OPERATIONS} | {"autocontrast": "AutoContrast"}
SIZE = (37, 24)  # columns, rows
INTERPOLATION_AND_FILL = (InterpolationMode.NEAREST, None)


@pytest.fixture
def pil_image() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BILINEAR)


def torchvision_magnitude(name: str, magnitude: int, bins: int) -> tuple[float, bool]:
    magnitudes, signed = RandAugment()._augmentation_space(bins, (SIZE[1], SIZE[0]))[TORCHVISION_NAMES[name]]
    return (float(magnitudes[magnitude]) if magnitudes.ndim else 0.0), signed


def test_the_operations_are_those_of_torchvision():
    assert set(TORCHVISION_NAMES.values()) == set(RandAugment()._augmentation_space(31, SIZE))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("bins", [31, 11])
def test_magnitudes_are_those_of_torchvision(name, bins):
    offset = 1 if name in ("brightness", "color", "contrast", "sharpness") else 0
    for magnitude in range(bins):
        theirs, signed = torchvision_magnitude(name, magnitude, bins)
        for sign in (-1, 1):
            expected = offset + (sign * theirs if signed else theirs)
            expected = int(expected) if name in ("translate_x", "translate_y") else expected
            ours = OPERATIONS[name][1](magnitude / (bins - 1), sign, SIZE)
            assert ours == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_pixels_are_those_of_torchvision(pil_image, name, sign):
    opposite_sign = name.startswith("translate")  # positive shifts go left in mixlab and right in torchvision
    operation, amount = OPERATIONS[name]
    for magnitude in (3, 12, 30):
        theirs, signed = torchvision_magnitude(name, magnitude, 31)
        expected = _apply_op(
            pil_image, TORCHVISION_NAMES[name], sign * theirs if signed else theirs, *INTERPOLATION_AND_FILL
        )
        ours = amount(magnitude / 30, -sign if opposite_sign else sign, SIZE)
        assert operation(pil_image, ours, Canvas(Image.Resampling.NEAREST, (0, 0, 0))) == expected


def test_each_operation_and_both_signs_are_equally_likely(pil_image, monkeypatch):
    amounts_by_name = {}

    def recorder(name):
        def operation(image, amount, _canvas):
            amounts_by_name.setdefault(name, []).append(amount)
            return image

        return operation

    recording = tuple((recorder(name), amount) for name, (_, amount) in OPERATIONS.items())
    monkeypatch.setattr(randaugment_torchvision, "_OPERATIONS", recording)
    uniforms = np.random.default_rng(0).random((4000, UNIFORMS))
    for row in uniforms:
        randaugment_as_torchvision(pil_image, row, RandAugmentTorchvision(operations=2, magnitude=12))
    counts = np.array([len(amounts_by_name[name]) for name in OPERATIONS])
    assert counts.sum() == 8000  # always two
    assert np.abs(counts - 8000 / 14).max() < 5 * np.sqrt(8000 / 14)
    signs = np.sign([amount for name in ("shear_x", "shear_y", "rotate") for amount in amounts_by_name[name]])
    assert abs(signs.mean()) < 5 / np.sqrt(len(signs))
    assert set(np.abs(amounts_by_name["rotate"])) == {12.0}


def test_operations_are_applied_in_sequence(pil_image):
    uniforms = np.full((LAYERS, LAYER_UNIFORMS), 0.99)
    uniforms[0, 0], uniforms[1, 0] = 10.5 / 14, 12.5 / 14  # posterize, then autocontrast
    result = randaugment_as_torchvision(pil_image, uniforms.ravel(), RandAugmentTorchvision(operations=2, magnitude=30))
    assert result == _apply_op(
        _apply_op(pil_image, "Posterize", 4, *INTERPOLATION_AND_FILL), "AutoContrast", 0, *INTERPOLATION_AND_FILL
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((0, 9), "operations=0 is invalid: it must be between 1 and 8"),
        ((9, 9), "operations=9 is invalid: it must be between 1 and 8"),
        ((2, 31), "magnitude=31 is invalid: it must be between 0 and 30, which is bins - 1"),
        ((2, 9, 1), "bins=1 is invalid: it must be at least 2"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation.randaugment_torchvision.{sentence}"):
        RandAugmentTorchvision(*settings)
