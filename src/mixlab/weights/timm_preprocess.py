"""How timm's evaluation transform is told to preprocess images like a `Preprocess`.

timm resizes to image_size / crop_pct, rounded down, where mixlab rounds to the nearest pixel; and it keeps the aspect
ratio with a longer side that is rounded down as well. Both resize with Pillow and crop the same central pixels.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mixlab.data.preprocess import Preprocess

_DIGITS = 10**4  # of crop_pct


@dataclass(frozen=True)
class TimmPreprocess:
    """The entries of timm's pretrained_cfg for a `Preprocess`."""

    preprocess: Preprocess

    @property
    def missing(self) -> str | None:
        """What timm's config can't express, as a sentence; None if it can describe the preprocessing."""
        if self.preprocess.transform is not None:
            return "timm's config has no permutation of patches or pixels."
        if self.preprocess.spectrogram is not None:
            return "timm reads images, not sounds."
        if self.preprocess.value_range is not None:
            return "timm does not scale images with more than 8 bits to a common range."
        return None

    @property
    def same_pixels(self) -> bool:
        """Whether timm gives the model the same pixels as mixlab for decoded images of every size.

        Otherwise the sides of a resized image can differ by a pixel before it is cropped, in narrow images by more.
        """
        if self.preprocess.resize == "stretch":
            return True
        halves = (abs(side % 1 - 0.5) < 1e-6 for side in self._scaled)  # mixlab rounds them up or down, by the image
        return self.preprocess.resize == "stretch_and_crop" and self._is_scaled_by(self.crop_pct) and not any(halves)

    @cached_property
    def crop_pct(self) -> float:
        """The crop fraction, or one a little smaller for which timm resizes to as many pixels as mixlab."""
        if self.preprocess.resize == "stretch":
            return 1.0
        if self._is_scaled_by(self.preprocess.crop_fraction):
            return self.preprocess.crop_fraction
        fraction = min(
            side / round(scaled) for side, scaled in zip(self.preprocess.image_size, self._scaled, strict=True)
        )
        smaller = math.floor(fraction * _DIGITS - 1e-6) / _DIGITS
        return smaller if self._is_scaled_by(smaller) else self.preprocess.crop_fraction

    @property
    def entries(self) -> dict[str, Any]:
        """Everything but the input size."""
        return {
            "interpolation": self.preprocess.interpolation,
            "crop_pct": self.crop_pct,
            "crop_mode": "center" if self.preprocess.resize == "shorter_side" else "squash",
            "mean": list(self.preprocess.mean),
            "std": list(self.preprocess.std),
        }

    @property
    def _scaled(self) -> tuple[float, ...]:
        """The sides to which mixlab resizes, before they are rounded."""
        return tuple(side / self.preprocess.crop_fraction for side in self.preprocess.image_size)

    def _is_scaled_by(self, crop_pct: float) -> bool:
        """Whether timm resizes to as many pixels as mixlab with this `crop_pct`."""
        sides = zip(self.preprocess.image_size, self._scaled, strict=True)
        return all(math.floor(side / crop_pct) == round(scaled) for side, scaled in sides)
