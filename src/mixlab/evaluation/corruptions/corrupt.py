"""The 15 corruptions of ImageNet-C and CIFAR-10-C, at five severities.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
https://arxiv.org/abs/1903.12261. The formulas are those of the scripts that made the published images (ImageNet-C/
create_c in hendrycks/robustness). Differences from the published images:

- frost has a computed texture instead of photographs, see `weather.frost`
- motion_blur and snow use the formula of ImageMagick's motion blur, not the program
- ImageNet-C was saved as JPEG of quality 85 after the corruption; here it is not
- the random numbers are others
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from mixlab.errors import UserError, did_you_mean
from mixlab.evaluation.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from mixlab.evaluation.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from mixlab.evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from mixlab.evaluation.corruptions.strengths import IMAGENET_C, strengths_for
from mixlab.evaluation.corruptions.weather import brightness, fog, frost, snow

KINDS = tuple(IMAGENET_C)
"""The names of the corruptions, in the order of the paper."""

SEVERITIES = (1, 2, 3, 4, 5)

MIN_SIDE = 32
"""The shortest side of an image in pixels, because the lengths of the corruptions are absolute."""

_RANDOM: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise),
        *(glass_blur, motion_blur, snow, frost, fog, elastic_transform),
    )
}
_DETERMINISTIC: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (defocus_blur, zoom_blur, brightness, contrast, pixelate, jpeg_compression)
}


def check_corruption(kind: str, severity: int) -> None:
    """Raise UserError for an unknown kind or a severity other than 1 to 5."""
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        raise UserError(f'corruption "{kind}" is unknown: it must be one of {", ".join(KINDS)}. {hint}'.rstrip())
    if severity not in SEVERITIES:
        raise UserError(f"severity {severity} of {kind} is out of range: it must be 1, 2, 3, 4 or 5.")


def corrupt(
    image: UInt8[np.ndarray, "row column 3"], kind: str, severity: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "row column 3"]:
    """Corrupt an image at the size at which a model sees it.

    kind      of `KINDS`
    severity  1 to 5; the strengths are those of ImageNet-C if the shorter side has more than 84 pixels, otherwise those
              of CIFAR-10-C
    rng       random numbers, of which some kinds use none

    Values are truncated to whole numbers, as in the published scripts. Raises UserError for an unknown kind or
    severity, and for an image with a side below 32 pixels.
    """
    check_corruption(kind, severity)
    rows, columns, _ = image.shape
    if min(rows, columns) < MIN_SIDE:
        raise UserError(
            f"An image of {rows}x{columns} pixels is too small for the corruptions, which are defined from "
            f"{MIN_SIDE} pixels on: evaluate a model with a larger image size."
        )
    strength = strengths_for(rows, columns)[kind][severity - 1]
    corrupted = _RANDOM[kind](image, *strength, rng) if kind in _RANDOM else _DETERMINISTIC[kind](image, *strength)
    return np.clip(corrupted, 0, 255).astype(np.uint8)
