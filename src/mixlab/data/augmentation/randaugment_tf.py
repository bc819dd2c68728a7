"""The RandAugment of the official Mixers: `randaug` of big_vision, from TensorFlow's TPU models.

It always applies `layers` of 16 operations, at one level that may exceed 10. Pixels outside the image are grey, and
transformed images are not interpolated. Three operations reproduce the behaviour of the program instead of its intent,
because the published weights were trained with it: the threshold of solarize is a byte, so levels 10 and 20 invert
everything and level 15 equals 5; posterize keeps at least one bit; contrast blends with a grey that depends only on the
size of the image.

Translations are in pixels for every image size, and are designed for images of 224 pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image

from mixlab.data.augmentation import image_operations as ops
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, Amount, Canvas, Number, Operation
from mixlab.data.augmentation.validation import require

_REFERENCE_LEVEL = 10
MAX_LEVEL = 20  # above it, posterize would keep more than eight bits


def _shear_x(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    """Shear around the centre of the first row instead of its edge, as in TensorFlow."""
    return ops.affine_transform(image, (1, slope, -slope / 2, 0, 1, 0), canvas)


def _shear_y(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    return ops.affine_transform(image, (1, 0, 0, slope, 1, -slope / 2), canvas)


def _contrast(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    grey = min(image.width * image.height // 256, 255)
    return Image.blend(Image.new("RGB", image.size, (grey, grey, grey)), image, factor)


def _cutout(image: Image.Image, half_side: Number, canvas: Canvas) -> Image.Image:
    """Fill a square around a random pixel, clipped to the image."""
    row, column = int(canvas.position[0] * image.height), int(canvas.position[1] * image.width)
    half = int(half_side)
    left, right = max(column - half, 0), min(column + half, image.width)
    top, bottom = max(row - half, 0), min(row + half, image.height)
    result = image.copy()
    result.paste(canvas.fill, (left, top, right, bottom))
    return result


OPERATIONS: dict[str, tuple[Operation, Amount]] = {
    "autocontrast": (ops.autocontrast, ops.no_argument),
    "equalize": (ops.equalize, ops.no_argument),
    "invert": (ops.invert, ops.no_argument),
    "rotate": (ops.rotate, lambda level, sign, _: sign * level / _REFERENCE_LEVEL * 30),
    "posterize": (ops.posterize, lambda level, _sign, _: max(int(level / _REFERENCE_LEVEL * 4), 1)),
    "solarize": (ops.solarize, lambda level, _sign, _: int(level / _REFERENCE_LEVEL * 256) % 256),
    "color": (ops.color, lambda level, _sign, _: level / _REFERENCE_LEVEL * 1.8 + 0.1),
    "contrast": (_contrast, lambda level, _sign, _: level / _REFERENCE_LEVEL * 1.8 + 0.1),
    "brightness": (ops.brightness, lambda level, _sign, _: level / _REFERENCE_LEVEL * 1.8 + 0.1),
    "sharpness": (ops.sharpness, lambda level, _sign, _: level / _REFERENCE_LEVEL * 1.8 + 0.1),
    "shear_x": (_shear_x, lambda level, sign, _: sign * level / _REFERENCE_LEVEL * 0.3),
    "shear_y": (_shear_y, lambda level, sign, _: sign * level / _REFERENCE_LEVEL * 0.3),
    "translate_x": (ops.translate_x, lambda level, sign, _: sign * level / _REFERENCE_LEVEL * 100),
    "translate_y": (ops.translate_y, lambda level, sign, _: sign * level / _REFERENCE_LEVEL * 100),
    "cutout": (_cutout, lambda level, _sign, _: int(level / _REFERENCE_LEVEL * 40)),
    "solarize_add": (ops.solarize_add, lambda level, _sign, _: int(level / _REFERENCE_LEVEL * 110)),
}
_OPERATIONS = tuple(OPERATIONS.values())


@dataclass(frozen=True)
class RandAugmentTf:
    """Apply `layers` random operations in sequence, each at level `magnitude`."""

    layers: int
    magnitude: float

    def __post_init__(self) -> None:
        name = "randaugment_tf"
        require(1 <= self.layers <= LAYERS, f"{name}.layers={self.layers}", f"between 1 and {LAYERS}")
        require(0 <= self.magnitude <= MAX_LEVEL, f"{name}.magnitude={self.magnitude}", f"between 0 and {MAX_LEVEL}")


def randaugment_as_tf(
    image: Image.Image, uniforms: Float64[np.ndarray, " uniform"], settings: RandAugmentTf
) -> Image.Image:
    """Apply the operations to an image, with its random numbers."""
    layer_uniforms = uniforms.reshape(LAYERS, LAYER_UNIFORMS)[: settings.layers].tolist()
    for choice, _, _, sign, row, column in layer_uniforms:
        operation, amount = _OPERATIONS[int(choice * len(_OPERATIONS))]
        canvas = Canvas(Image.Resampling.NEAREST, (128, 128, 128), (row, column))
        image = operation(image, amount(settings.magnitude, -1 if sign < 0.5 else 1, image.size), canvas)
    return image
