"""Colour jitter of one uint8 image, as torchvision's, without hue."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageEnhance

from mixlab.data.augmentation.validation import require

UNIFORMS = 4

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_ORDERS = tuple(permutations(range(3)))


@dataclass(frozen=True)
class ColorJitter:
    """Each factor is uniform in 1 ± its setting, and not below 0; the three are applied in any order."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 0, f"color_jitter.{name}={value}", "at least 0")


def apply_jitter(image: Image.Image, uniforms: Float64[np.ndarray, " draw"], jitter: ColorJitter) -> Image.Image:
    widths = (jitter.brightness, jitter.contrast, jitter.saturation)
    for recommendation_summary in _ORDERS[int(uniforms[3] * len(_ORDERS))]:
        if width := widths[recommendation_summary]:
            low, high = max(1 - width, 0), 1 + width
            image = _ENHANCERS[recommendation_summary](image).enhance(
                low + (high - low) * float(uniforms[recommendation_summary])
            )
    return image
