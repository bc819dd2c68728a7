"""Random erasing (Zhong et al. 2017, https://arxiv.org/abs/1708.04896) of a batch of normalised images.

Axes:  image, channel, row, column  of the batch
       uniform                        the uniform random numbers of an image in an epoch: whether to erase, the
                                      shapes of the attempts, the position, the noise
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
    """Replace one random rectangle of an image.

    `probability`: the probability that an image is changed.
    `area`: the fraction of the image's area is uniform in (low, high).
    `ratio`: the logarithm of height / width is uniform between those of (low, high).
    `fill`: "noise" is standard normal in each pixel and channel (timm's mode "pixel"); "zero" is the mean colour
        (torchvision's default).
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
    uniforms: Float64[np.ndarray, "image uniform"],
    erasing: RandomErasing,
) -> Float[Tensor, "image channel row column"]:
    """Erase a rectangle of each selected image, with the random numbers of that image."""
    rows, columns = images.shape[-2:]
    boxes = _boxes(erasing, rows, columns, uniforms)
    selected = np.flatnonzero((uniforms[:, 0] < erasing.probability) & (boxes[:, 1] > boxes[:, 0]))
    if not len(selected):
        return images
    indices = torch.from_numpy(selected).to(images.device)
    top, bottom, left, right = torch.from_numpy(boxes[selected]).to(images.device).T[:, :, None, None, None]
    row = torch.arange(rows, device=images.device)[:, None]
    column = torch.arange(columns, device=images.device)
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    original = images[indices]
    if erasing.fill == "noise":
        seeds = torch.from_numpy((uniforms[selected, -1] * 2.0**53).astype(np.int64)).to(images.device)
        filling = _noise(seeds, original)
    else:
        filling = torch.zeros_like(original)
    return images.index_copy(0, indices, torch.where(inside, filling, original))


def _boxes(
    erasing: RandomErasing, rows: int, columns: int, uniforms: Float64[np.ndarray, "image uniform"]
) -> Int64[np.ndarray, "image 4"]:
    """Top, bottom, left and right of the first attempt smaller than the image in both axes; empty if there is none."""
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
    """Standard normal noise that depends only on the seed of the image and the position, not on device or batch.

    SplitMix64 (Steele et al. 2014) hashes the position, and 16 bits of the hash select one of 65,536 quantiles of the
    normal distribution. The result of torch's own generators would depend on the batch and the device.
    """
    position = torch.arange(like[0].numel(), device=like.device).reshape(like.shape[1:])
    hashed = _splitmix64(
        seeds[:, None, None, None] * _signed(0xD1342543DE82EF95) + position * _signed(0x9E3779B97F4A7C15)
    )
    return _quantiles(like.dtype, like.device)[hashed & 0xFFFF]


def _splitmix64(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The finaliser of SplitMix64. Masks turn arithmetic shifts of signed numbers into logical shifts."""
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * _signed(0x94D049BB133111EB)
    return x ^ (x >> 31 & 0x1FFFFFFFF)


def _signed(word: int) -> int:
    """The int64 with the same bits as the unsigned 64-bit `word`."""
    return word - 2**64 if word >= 2**63 else word


@cache
def _quantiles(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "65536"]:
    return torch.special.ndtri((torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16).to(dtype).to(device)
