"""The RandAugment of timm, with which ConvMixer and DaViT are trained on ImageNet: `rand-m9-mstd0.5-inc1`.

Each of `layers` operations out of 15 is applied with probability 1/2, at a level sampled from a normal distribution and
clipped to [0, 10]. The operations are timm's increasing set, in which a higher level has a stronger effect.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from PIL import Image

from mixlab.data.augmentation import image_operations as ops
from mixlab.data.augmentation.crop import AnyInterpolation, pick_interpolation
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, Amount, Canvas, Operation
from mixlab.data.augmentation.validation import require
from mixlab.data.preprocess import RESAMPLING

MAX_LEVEL = 10.0

OPERATIONS: dict[str, tuple[Operation, Amount]] = {
    "autocontrast": (ops.autocontrast, ops.no_argument),
    "equalize": (ops.equalize, ops.no_argument),
    "invert": (ops.invert, ops.no_argument),
    "rotate": (ops.rotate, lambda level, sign, _: sign * level / MAX_LEVEL * 30),
    "posterize": (ops.posterize, lambda level, _sign, _: 4 - int(level / MAX_LEVEL * 4)),
    "solarize": (ops.solarize, lambda level, _sign, _: 256 - int(level / MAX_LEVEL * 256)),
    "solarize_add": (ops.solarize_add, lambda level, _sign, _: int(level / MAX_LEVEL * 110)),
    "color": (ops.color, lambda level, sign, _: _enhancement_factor(level, sign)),
    "contrast": (ops.contrast, lambda level, sign, _: _enhancement_factor(level, sign)),
    "brightness": (ops.brightness, lambda level, sign, _: _enhancement_factor(level, sign)),
    "sharpness": (ops.sharpness, lambda level, sign, _: _enhancement_factor(level, sign)),
    "shear_x": (ops.shear_x, lambda level, sign, _: sign * level / MAX_LEVEL * 0.3),
    "shear_y": (ops.shear_y, lambda level, sign, _: sign * level / MAX_LEVEL * 0.3),
    "translate_x": (ops.translate_x, lambda level, sign, size: sign * level / MAX_LEVEL * 0.45 * size[0]),
    "translate_y": (ops.translate_y, lambda level, sign, size: sign * level / MAX_LEVEL * 0.45 * size[1]),
}
_OPERATIONS = tuple(OPERATIONS.values())


@dataclass(frozen=True)
class RandAugmentTimm:
    """Apply `layers` random operations in sequence.

    Levels have a normal distribution with mean `magnitude` and standard deviation `deviation` (timm's m and mstd).
    """

    magnitude: float
    deviation: float = 0.5
    layers: int = 2

    def __post_init__(self) -> None:
        name = "randaugment_timm"
        require(0 <= self.magnitude <= MAX_LEVEL, f"{name}.magnitude={self.magnitude}", f"between 0 and {MAX_LEVEL:g}")
        require(self.deviation >= 0, f"{name}.deviation={self.deviation}", "a standard deviation, at least 0")
        require(1 <= self.layers <= LAYERS, f"{name}.layers={self.layers}", f"between 1 and {LAYERS}")


def randaugment_as_timm(
    image: Image.Image,
    uniforms: Float64[np.ndarray, " uniform"],
    settings: RandAugmentTimm,
    interpolation: AnyInterpolation,
    mean: tuple[float, float, float],
) -> Image.Image:
    """Apply the operations to an image, with its random numbers.

    `interpolation`: "random" is resolved for each operation.
    `mean`: the mean of the normalisation, which is the colour of pixels outside the image.
    """
    red, green, blue = (round(255 * channel) for channel in mean)
    layer_uniforms = uniforms.reshape(LAYERS, LAYER_UNIFORMS)[: settings.layers].tolist()
    for choice, skip, level_quantile, sign, resampling, _ in layer_uniforms:
        if skip < 0.5:
            normal = torch.special.ndtri(torch.tensor(level_quantile, dtype=torch.float64)).item()
            level = min(max(settings.magnitude + settings.deviation * normal, 0.0), MAX_LEVEL)
            operation, amount = _OPERATIONS[int(choice * len(_OPERATIONS))]
            canvas = Canvas(RESAMPLING[pick_interpolation(interpolation, resampling)], (red, green, blue))
            image = operation(image, amount(level, -1 if sign < 0.5 else 1, image.size), canvas)
    return image


def _enhancement_factor(level: float, sign: int) -> float:
    """A factor above or below 1, which leaves the image unchanged."""
    return 1 + sign * level / MAX_LEVEL * 0.9
