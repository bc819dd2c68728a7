"""Random erasing (Zhong et al. 2017, https://arxiv.org/abs/1708.04896) of a whole batch of normalised images.

Axes:  image, channel, row, column  of the batch
       draw                           uniform numbers that belong to an image in an epoch: whether, the attempts'
                                      shapes, the place, the noise
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mixlab.data.augmentation.crop import SHAPES, sample_shapes
from mixlab.data.augmentation.validation import require

UNIFORMS = SHAPES + 4


@dataclass(frozen=True)
class RandomErasing:
    """One rectangle in `probability` of the images: its share of the area, and its height : width.

    "noise" is normal with mean 0 and deviation 1 in each pixel and channel, timm's mode "pixel"; "zero" is the mean
    colour, torchvision's default.
    """

    probability: float
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    fill: Literal["noise", "zero"] = "noise"

    def __post_init__(self) -> None:
        name = "random_erasing"
        require(0 <= self.probability <= 1, f"{name}.probability={self.probability}", "between 0 and 1")
        low, high = self.area
        require(0 < low <= high < 1, f"{name}.area={self.area}", "(low, high) with 0 < low <= high < 1")
        low, high = self.ratio
        require(0 < low <= high, f"{name}.ratio={self.ratio}", "(low, high) with 0 < low <= high")


def erase(
    images: Float[Tensor, "image channel row column"],
    uniforms: Float64[np.ndarray, "image draw"],
    erasing: RandomErasing,
) -> Float[Tensor, "image channel row column"]:
    rows, columns = images.shape[-2:]
    boxes = _boxes(erasing, rows, columns, uniforms)
    recommendation_summary = np.flatnonzero((uniforms[:, 0] < erasing.probability) & (boxes[:, 1] > boxes[:, 0]))
    if not len(recommendation_summary):
        return images
    where = torch.from_numpy(recommendation_summary).to(images.device)
    top, bottom, left, right = (
        torch.from_numpy(boxes[recommendation_summary]).to(images.device).T[:, :, None, None, None]
    )
    row = torch.arange(rows, device=images.device)[:, None]
    column = torch.arange(columns, device=images.device)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    before = images[where]
    if erasing.fill == "noise":
        seeds = torch.from_numpy((uniforms[recommendation_summary, -1] * 2.0**53).astype(np.int64)).to(images.device)
        filling = _noise(seeds, before)
    else:
        filling = torch.zeros_like(before)
    return images.index_copy(0, where, torch.where(inside, filling, before))


def _boxes(
    erasing: RandomErasing, rows: int, columns: int, uniforms: Float64[np.ndarray, "image draw"]
) -> Int64[np.ndarray, "image 4"]:
    """Top, bottom, left and right of the first attempt that leaves something of both sides; nothing, if none does."""
    area, ratio = sample_shapes(erasing.area, erasing.ratio, uniforms[:, 1 : 1 + SHAPES])
    area *= rows * columns
    heights, widths = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (heights < rows) & (widths < columns)
    first = np.arange(len(uniforms)), fits.argmax(axis=1)
    height, width = heights[first] * fits[first], widths[first] * fits[first]
    top = np.floor(uniforms[:, -3] * (rows - height + 1))
    left = np.floor(uniforms[:, -2] * (columns - width + 1))
    return np.stack([top, top + height, left, left + width], axis=1).astype(np.int64)


def _noise(
    seeds: Int64[Tensor, " image"], like: Float[Tensor, "image channel row column"]
) -> Float[Tensor, "image channel row column"]:
    """Normal numbers that an image's seed and the place decide, the same on every device and in every batch.

    SplitMix64 (Steele et al. 2014) hashes the place, and 16 of its bits choose one of as many quantiles of the normal
    distribution: torch's own generators would know the batch and the device.
    """
    place = torch.arange(like[0].numel(), device=like.device).reshape(like.shape[1:])
    hashed = _mixed(seeds[:, None, None, None] * _signed(0xD1342543DE82EF95) + place * _signed(0x9E3779B97F4A7C15))
    return _quantiles(like.dtype, like.device)[hashed & 0xFFFF]


def _mixed(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """SplitMix64's finaliser; masks make the shifts of signed numbers those of unsigned ones."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * _signed(0x94D049BB133111EB)
    return x ^ (x >> 31 & 0x1FFFFFFFF)


def _signed(word: int) -> int:
    """The int64 with the bits of that unsigned 64-bit word."""
    return word - 2**64 if word >= 2**63 else word


@cache
def _quantiles(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "65536"]:
    return torch.special.ndtri((torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16).to(dtype).to(device)
