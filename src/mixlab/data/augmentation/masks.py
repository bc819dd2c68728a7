"""The second stage of augmentation for masks: pixels move as those of the images do.

Axes:  image        an image of a batch
       row, column  its pixels
       uniform      the uniform random numbers of an image in an epoch
"""

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from mixlab.data.augmentation.augment import Augmentation, augment_normalised, rearrange_pixels


def augment_masks(
    masks: UInt8[Tensor, "image row column"],
    uniforms: Float64[np.ndarray, "image uniform"],
    augmentation: Augmentation,
) -> UInt8[Tensor, "image row column"]:
    """Flip, padded crop and affine transform. Erased pixels of an image keep their class."""
    moved = rearrange_pixels(masks[:, None], uniforms, augmentation)
    if augmentation.affine is None:
        return moved[:, 0]
    geometric = Augmentation(affine=augmentation.affine, pad_crop=augmentation.pad_crop)
    return augment_normalised(moved.float(), uniforms, geometric, interpolation="nearest")[:, 0].to(masks.dtype)
