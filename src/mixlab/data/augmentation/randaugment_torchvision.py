"""RandAugment as torchvision has it, by which ConvMixer's CIFAR-10 recipe trains.

`torchvision.transforms.RandAugment`: always `operations` of 14, at place `magnitude` of `bins` on each one's scale;
moved images are not interpolated, and black comes in.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image

from mixlab.data.augmentation import image_operations as do
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, Amount, Canvas, Operation
from mixlab.data.augmentation.validation import require

# The level is the share of the way through the bins.
OPERATIONS: dict[str, tuple[Operation, Amount]] = {
    "identity": (do.identity, do.nothing),
    "shear_x": (do.shear_x, lambda level, sign, _: sign * 0.3 * level),
    "shear_y": (do.shear_y, lambda level, sign, _: sign * 0.3 * level),
    "translate_x": (do.translate_x, lambda level, sign, size: sign * int(150 / 331 * size[0] * level)),
    "translate_y": (do.translate_y, lambda level, sign, size: sign * int(150 / 331 * size[1] * level)),
    "rotate": (do.rotate, lambda level, sign, _: sign * 30 * level),
    "brightness": (do.brightness, lambda level, sign, _: 1 + sign * 0.9 * level),
    "color": (do.color, lambda level, sign, _: 1 + sign * 0.9 * level),
    "contrast": (do.contrast, lambda level, sign, _: 1 + sign * 0.9 * level),
    "sharpness": (do.sharpness, lambda level, sign, _: 1 + sign * 0.9 * level),
    "posterize": (do.posterize, lambda level, _sign, _: 8 - round(4 * level)),
    "solarize": (do.solarize, lambda level, _sign, _: 255 * (1 - level)),
    "autocontrast": (do.autocontrast, do.nothing),
    "equalize": (do.equalize, do.nothing),
}
_OPERATIONS = tuple(OPERATIONS.values())
_CANVAS = Canvas(Image.Resampling.NEAREST, (0, 0, 0))


@dataclass(frozen=True)
class RandAugmentTorchvision:
    """`operations` in turn, each at `magnitude`, which counts from 0 to `bins` - 1."""

    operations: int
    magnitude: int
    bins: int = 31

    def __post_init__(self) -> None:
        name = "randaugment_torchvision"
        require(1 <= self.operations <= LAYERS, f"{name}.operations={self.operations}", f"between 1 and {LAYERS}")
        require(self.bins >= 2, f"{name}.bins={self.bins}", "at least 2")
        require(
            0 <= self.magnitude < self.bins,
            f"{name}.magnitude={self.magnitude}",
            f"between 0 and {self.bins - 1}, one below bins={self.bins}",
        )


def randaugment_as_torchvision(
    image: Image.Image, uniforms: Float64[np.ndarray, " draw"], settings: RandAugmentTorchvision
) -> Image.Image:
    level = settings.magnitude / (settings.bins - 1)
    for recommendation_summary, _, _, sign, *_ in uniforms.reshape(LAYERS, LAYER_UNIFORMS)[
        : settings.operations
    ].tolist():
        operation, amount = _OPERATIONS[int(recommendation_summary * len(_OPERATIONS))]
        image = operation(image, amount(level, -1 if sign < 0.5 else 1, image.size), _CANVAS)
    return image
