"""RandAugment as the official Mixers were trained with: big_vision's `randaug`, of the TPU models of TensorFlow.

Always `layers` of 16 operations, at one level that may exceed 10. Grey comes in from outside, and moved images are
not interpolated. Three things are as the program does them rather than as it reads, because the published weights
learnt from what it did: solarize's threshold is a byte, so levels 10 and 20 invert everything and 15 is 5 again;
posterize keeps at least one bit; and contrast is away from a grey that depends on the image's size alone.

Shifts are counted in pixels whatever the size, which is meant for images of 224.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image

from mixlab.data.augmentation import image_operations as do
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, Amount, Canvas, Number, Operation
from mixlab.data.augmentation.validation import require

_FULL = 10  # the level that most scales are written for
HIGHEST = 20  # posterize would keep more than eight bits


def _shear_x(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    """About the centre of the first row rather than its edge, as TensorFlow counts pixels."""
    return do.moved(image, (1, slope, -slope / 2, 0, 1, 0), canvas)


def _shear_y(image: Image.Image, slope: Number, canvas: Canvas) -> Image.Image:
    return do.moved(image, (1, 0, 0, slope, 1, -slope / 2), canvas)


def _contrast(image: Image.Image, factor: Number, _canvas: Canvas) -> Image.Image:
    grey = min(image.width * image.height // 256, 255)
    return Image.blend(Image.new("RGB", image.size, (grey, grey, grey)), image, factor)


def _cutout(image: Image.Image, half_side: Number, canvas: Canvas) -> Image.Image:
    """A square about any pixel, as much of it as is inside."""
    row, column = int(canvas.place[0] * image.height), int(canvas.place[1] * image.width)
    half = int(half_side)
    left, right = max(column - half, 0), min(column + half, image.width)
    top, bottom = max(row - half, 0), min(row + half, image.height)
    cut = image.copy()
    cut.paste(canvas.fill, (left, top, right, bottom))
    return cut


OPERATIONS: dict[str, tuple[Operation, Amount]] = {
    "autocontrast": (do.autocontrast, do.nothing),
    "equalize": (do.equalize, do.nothing),
    "invert": (do.invert, do.nothing),
    "rotate": (do.rotate, lambda level, sign, _: sign * level / _FULL * 30),
    "posterize": (do.posterize, lambda level, _sign, _: max(int(level / _FULL * 4), 1)),
    "solarize": (do.solarize, lambda level, _sign, _: int(level / _FULL * 256) % 256),
    "color": (do.color, lambda level, _sign, _: level / _FULL * 1.8 + 0.1),
    "contrast": (_contrast, lambda level, _sign, _: level / _FULL * 1.8 + 0.1),
    "brightness": (do.brightness, lambda level, _sign, _: level / _FULL * 1.8 + 0.1),
    "sharpness": (do.sharpness, lambda level, _sign, _: level / _FULL * 1.8 + 0.1),
    "shear_x": (_shear_x, lambda level, sign, _: sign * level / _FULL * 0.3),
    "shear_y": (_shear_y, lambda level, sign, _: sign * level / _FULL * 0.3),
    "translate_x": (do.translate_x, lambda level, sign, _: sign * level / _FULL * 100),
    "translate_y": (do.translate_y, lambda level, sign, _: sign * level / _FULL * 100),
    "cutout": (_cutout, lambda level, _sign, _: int(level / _FULL * 40)),
    "solarize_add": (do.solarize_add, lambda level, _sign, _: int(level / _FULL * 110)),
}
_OPERATIONS = tuple(OPERATIONS.values())


@dataclass(frozen=True)
class RandAugmentTf:
    """`layers` operations in turn, each at level `magnitude`."""

    layers: int
    magnitude: float

    def __post_init__(self) -> None:
        name = "randaugment_tf"
        require(1 <= self.layers <= LAYERS, f"{name}.layers={self.layers}", f"between 1 and {LAYERS}")
        require(0 <= self.magnitude <= HIGHEST, f"{name}.magnitude={self.magnitude}", f"between 0 and {HIGHEST}")


def randaugment_as_tf(
    image: Image.Image, uniforms: Float64[np.ndarray, " draw"], settings: RandAugmentTf
) -> Image.Image:
    for recommendation_summary, _, _, sign, row, column in uniforms.reshape(LAYERS, LAYER_UNIFORMS)[
        : settings.layers
    ].tolist():
        operation, amount = _OPERATIONS[int(recommendation_summary * len(_OPERATIONS))]
        canvas = Canvas(Image.Resampling.NEAREST, (128, 128, 128), (row, column))
        image = operation(image, amount(settings.magnitude, -1 if sign < 0.5 else 1, image.size), canvas)
    return image
