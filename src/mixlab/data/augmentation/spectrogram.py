"""Augmentation of spectrograms: SpecAugment, and a shift in time.

SpecAugment: Park et al. 2019, https://arxiv.org/abs/1904.08779, without time warping.

Axes:  image, channel, row, column  of the batch: rows are mel bands and columns are frames
       uniform                      the uniform random numbers of an image in an epoch
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor

from mixlab.data.augmentation.validation import require

_MAX_MASKS = 2
"""Of each axis, as in the policies of the paper."""

UNIFORMS = 4 * _MAX_MASKS


@dataclass(frozen=True)
class SpecAugment:
    """Replace some mel bands and frames by the mean of the image.

    `frequency_masks`, `time_masks`: the number of masks over rows and over columns, at most 2 each; they may overlap.
    `frequency_width`, `time_width`: the width of a mask is uniform from 0 to this fraction of the rows or columns.
    """

    frequency_masks: int = 2
    frequency_width: float = 0.2
    time_masks: int = 2
    time_width: float = 0.2

    def __post_init__(self) -> None:
        for axis in ("frequency", "time"):
            masks, width = getattr(self, f"{axis}_masks"), getattr(self, f"{axis}_width")
            require(0 <= masks <= _MAX_MASKS, f"spec_augment.{axis}_masks={masks}", f"from 0 to {_MAX_MASKS}")
            require(0 < width <= 1, f"spec_augment.{axis}_width={width}", "above 0 and at most 1")


def mask_bands_and_frames(
    images: Float[Tensor, "image channel row column"],
    uniforms: Float64[np.ndarray, "image uniform"],
    settings: SpecAugment,
) -> Float[Tensor, "image channel row column"]:
    """Mask a batch of normalised images."""
    rows, columns = images.shape[-2:]
    of_rows, of_columns = np.split(uniforms, 2, axis=1)
    masked_rows = _masked(of_rows, settings.frequency_masks, settings.frequency_width, rows)
    masked_columns = _masked(of_columns, settings.time_masks, settings.time_width, columns)
    masked = torch.from_numpy(masked_rows[:, :, None] | masked_columns[:, None, :]).to(images.device)
    return torch.where(masked[:, None], images.mean(dim=(2, 3), keepdim=True), images)


def _masked(
    uniforms: Float64[np.ndarray, "image uniform"], masks: int, width: float, size: int
) -> Bool[np.ndarray, "image {size}"]:
    """Which places of an axis are masked: each mask has two random numbers, for its width and its start."""
    widths = np.floor(uniforms[:, 0 : 2 * masks : 2] * (width * size + 1))
    starts = np.floor(uniforms[:, 1 : 2 * masks : 2] * (size - widths + 1))
    places = np.arange(size)[None, :, None]
    return np.any((places >= starts[:, None]) & (places < (starts + widths)[:, None]), axis=2)


def shift_in_time(
    images: Shaped[Tensor, "image channel row column"], uniforms: Float64[np.ndarray, " image"], fraction: float
) -> Shaped[Tensor, "image channel row column"]:
    """Shift images before normalisation by up to `fraction` of the columns to either side, and fill with silence."""
    columns = images.shape[3]
    most = round(fraction * columns)
    starts = torch.from_numpy(np.floor(uniforms * (2 * most + 1)).astype(np.int64)).to(images.device)
    silence = images.new_zeros((*images.shape[:3], most))
    windows = torch.cat([silence, images, silence], dim=3).unfold(3, columns, 1)
    return windows[torch.arange(len(images), device=images.device), :, :, starts]
