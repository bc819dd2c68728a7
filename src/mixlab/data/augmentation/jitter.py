"""Colour jitter of one uint8 image, as in torchvision but without hue."""

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
    """Random brightness, contrast and saturation, applied in random order.

    Each factor is uniform in [1 - x, 1 + x], where x is its setting, but at least 0.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 0, f"color_jitter.{name}={value}", "at least 0")


def apply_jitter(image: Image.Image, uniforms: Float64[np.ndarray, " uniform"], jitter: ColorJitter) -> Image.Image:
    """Change the colours of an image, with its random numbers."""
    strengths = (jitter.brightness, jitter.contrast, jitter.saturation)
    for index in _ORDERS[int(uniforms[3] * len(_ORDERS))]:
        if strength := strengths[index]:
            low, high = max(1 - strength, 0), 1 + strength
            image = _ENHANCERS[index](image).enhance(low + (high - low) * float(uniforms[index]))
    return image
