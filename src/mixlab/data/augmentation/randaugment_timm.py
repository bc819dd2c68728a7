"""RandAugment as timm has it, by which ConvMixer and DaViT train on ImageNet: `rand-m9-mstd0.5-inc1`.

Each of `layers` operations out of 15 happens with probability 1/2, at a level drawn for it from a normal distribution
and cut to [0, 10]; the set is the increasing one, in which a higher level never does less.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image
from scipy.special import ndtri

from mixlab.data.augmentation import image_operations as do
from mixlab.data.augmentation.crop import AnyInterpolation, pick_interpolation
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, Amount, Canvas, Operation
from mixlab.data.augmentation.validation import require
from mixlab.data.preprocess import RESAMPLING

HIGHEST = 10.0

OPERATIONS: dict[str, tuple[Operation, Amount]] = {
    "autocontrast": (do.autocontrast, do.nothing),
    "equalize": (do.equalize, do.nothing),
    "invert": (do.invert, do.nothing),
    "rotate": (do.rotate, lambda level, sign, _: sign * level / HIGHEST * 30),
    "posterize": (do.posterize, lambda level, _sign, _: 4 - int(level / HIGHEST * 4)),
    "solarize": (do.solarize, lambda level, _sign, _: 256 - int(level / HIGHEST * 256)),
    "solarize_add": (do.solarize_add, lambda level, _sign, _: int(level / HIGHEST * 110)),
    "color": (do.color, lambda level, sign, _: _enhancement(level, sign)),
    "contrast": (do.contrast, lambda level, sign, _: _enhancement(level, sign)),
    "brightness": (do.brightness, lambda level, sign, _: _enhancement(level, sign)),
    "sharpness": (do.sharpness, lambda level, sign, _: _enhancement(level, sign)),
    "shear_x": (do.shear_x, lambda level, sign, _: sign * level / HIGHEST * 0.3),
    "shear_y": (do.shear_y, lambda level, sign, _: sign * level / HIGHEST * 0.3),
    "translate_x": (do.translate_x, lambda level, sign, size: sign * level / HIGHEST * 0.45 * size[0]),
    "translate_y": (do.translate_y, lambda level, sign, size: sign * level / HIGHEST * 0.45 * size[1]),
}
_OPERATIONS = tuple(OPERATIONS.values())


@dataclass(frozen=True)
class RandAugmentTimm:
    """Levels are normal about `magnitude` with the standard deviation `deviation`: timm's m and mstd."""

    magnitude: float
    deviation: float = 0.5
    layers: int = 2

    def __post_init__(self) -> None:
        name = "randaugment_timm"
        require(0 <= self.magnitude <= HIGHEST, f"{name}.magnitude={self.magnitude}", f"between 0 and {HIGHEST:g}")
        require(self.deviation >= 0, f"{name}.deviation={self.deviation}", "a standard deviation, at least 0")
        require(1 <= self.layers <= LAYERS, f"{name}.layers={self.layers}", f"between 1 and {LAYERS}")


def randaugment_as_timm(
    image: Image.Image,
    uniforms: Float64[np.ndarray, " draw"],
    settings: RandAugmentTimm,
    interpolation: AnyInterpolation,
    mean: tuple[float, float, float],
) -> Image.Image:
    """`mean` of the normalisation is the colour that comes in; "random" interpolation is drawn for each operation."""
    red, green, blue = (round(255 * channel) for channel in mean)
    for recommendation_summary, chance, level_draw, sign, first, _ in uniforms.reshape(LAYERS, LAYER_UNIFORMS)[
        : settings.layers
    ].tolist():
        if chance < 0.5:
            level = min(max(settings.magnitude + settings.deviation * float(ndtri(level_draw)), 0.0), HIGHEST)
            operation, amount = _OPERATIONS[int(recommendation_summary * len(_OPERATIONS))]
            canvas = Canvas(RESAMPLING[pick_interpolation(interpolation, first)], (red, green, blue))
            image = operation(image, amount(level, -1 if sign < 0.5 else 1, image.size), canvas)
    return image


def _enhancement(level: float, sign: int) -> float:
    """Away from 1, which changes nothing, to both sides."""
    return 1 + sign * level / HIGHEST * 0.9
