"""The RandAugment of torchvision, with which ConvMixer's CIFAR-10 recipe trains.

As in `torchvision.transforms.RandAugment`, it always applies `operations` of 14 operations, at step `magnitude` of a
scale with `bins` steps. Transformed images are not interpolated, and pixels outside the image are black.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image

from mixlab.data.augmentation import image_operations as ops
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, Amount, Canvas, Operation
from mixlab.data.augmentation.validation import require

# The level is magnitude / (bins - 1), in [0, 1].
OPERATIONS: dict[str, tuple[Operation, Amount]] = {
    "identity": (ops.identity, ops.no_argument),
    "shear_x": (ops.shear_x, lambda level, sign, _: sign * 0.3 * level),
    "shear_y": (ops.shear_y, lambda level, sign, _: sign * 0.3 * level),
    "translate_x": (ops.translate_x, lambda level, sign, size: sign * int(150 / 331 * size[0] * level)),
    "translate_y": (ops.translate_y, lambda level, sign, size: sign * int(150 / 331 * size[1] * level)),
    "rotate": (ops.rotate, lambda level, sign, _: sign * 30 * level),
    "brightness": (ops.brightness, lambda level, sign, _: 1 + sign * 0.9 * level),
    "color": (ops.color, lambda level, sign, _: 1 + sign * 0.9 * level),
    "contrast": (ops.contrast, lambda level, sign, _: 1 + sign * 0.9 * level),
    "sharpness": (ops.sharpness, lambda level, sign, _: 1 + sign * 0.9 * level),
    "posterize": (ops.posterize, lambda level, _sign, _: 8 - round(4 * level)),
    "solarize": (ops.solarize, lambda level, _sign, _: 255 * (1 - level)),
    "autocontrast": (ops.autocontrast, ops.no_argument),
    "equalize": (ops.equalize, ops.no_argument),
}
_OPERATIONS = tuple(OPERATIONS.values())
_CANVAS = Canvas(Image.Resampling.NEAREST, (0, 0, 0))


@dataclass(frozen=True)
class RandAugmentTorchvision:
    """Apply `operations` random operations in sequence, each at `magnitude`, from 0 to `bins` - 1."""

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
            f"between 0 and {self.bins - 1}, which is bins - 1",
        )


def randaugment_as_torchvision(
    image: Image.Image, uniforms: Float64[np.ndarray, " uniform"], settings: RandAugmentTorchvision
) -> Image.Image:
    """Apply the operations to an image, with its random numbers."""
    level = settings.magnitude / (settings.bins - 1)
    layer_uniforms = uniforms.reshape(LAYERS, LAYER_UNIFORMS)[: settings.operations].tolist()
    for choice, _, _, sign, *_ in layer_uniforms:
        operation, amount = _OPERATIONS[int(choice * len(_OPERATIONS))]
        image = operation(image, amount(level, -1 if sign < 0.5 else 1, image.size), _CANVAS)
    return image
