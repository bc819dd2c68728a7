"""The labels of batches: as they are, or masks that are cropped and resized like their images.

Axes:  image        the images of a batch
       row, column  pixels of the resized images
       uniform      the uniform random numbers of an image in an epoch
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image
from torch import Tensor

from mixlab.data.any_preprocess import AnyPreprocess, require_images
from mixlab.data.augmentation.augment import Augmentation, image_crop_box
from mixlab.data.dataset import Split
from mixlab.data.mask_file import IGNORED, Mask
from mixlab.data.masks import Masks
from mixlab.data.preprocess import Box, Preprocess
from mixlab.errors import UserError

LabelTensor = Int64[Tensor, " image"] | Bool[Tensor, "image _"] | UInt8[Tensor, "image row column"]
"""The labels of a batch: as `mixlab.data.labels.Labels`, or the class indices of all pixels."""


@runtime_checkable
class LabelReader(Protocol):
    def __call__(
        self, indices: Int64[np.ndarray, " image"], uniforms: Float64[np.ndarray, "image uniform"]
    ) -> LabelTensor:
        """The labels of the images at `indices`. `uniforms` decide on the crop of a mask."""
        ...


def label_reader(split: Split, preprocess: AnyPreprocess, augmentation: Augmentation) -> LabelReader:
    """Reads the labels of a split. Raises UserError if a mask is wrong, or if no pixel of all masks is labelled."""
    labels = split.labels
    if isinstance(labels, Masks):
        return _MaskReader(labels, require_images(preprocess), augmentation)
    return lambda indices, uniforms: torch.from_numpy(labels[indices])


class _MaskReader:
    """Every mask is read once before the first step, so that a wrong one ends a training at its start.

    Without a random crop, the resized masks stay in memory.
    """

    def __init__(self, masks: Masks, preprocess: Preprocess, augmentation: Augmentation):
        self._masks, self._preprocess, self._augmentation = masks, preprocess, augmentation
        rows, columns = preprocess.image_size
        self._resized = np.empty((len(masks) if augmentation.crop is None else 0, rows, columns), dtype=np.uint8)
        is_labelled = False
        for index in range(len(masks)):
            mask = masks.read(index)
            is_labelled |= bool((mask != IGNORED).any())
            if augmentation.crop is None:
                self._resized[index] = resized_mask(mask, preprocess.image_size)
        if not is_labelled:
            raise UserError(
                f"No pixel of the {len(masks):,} masks next to {masks.files[0]} is labelled: all have the ignored "
                "value, so correct the masks or the classes."
            )

    def __call__(
        self, indices: Int64[np.ndarray, " image"], uniforms: Float64[np.ndarray, "image uniform"]
    ) -> UInt8[Tensor, "image row column"]:
        if self._augmentation.crop is None:
            return torch.from_numpy(self._resized[indices])
        return torch.from_numpy(np.stack([self._cropped(*pair) for pair in zip(indices, uniforms, strict=True)]))

    def _cropped(
        self, index: int | np.integer, uniforms: Float64[np.ndarray, " uniform"]
    ) -> UInt8[np.ndarray, "row column"]:
        mask = self._masks.read(int(index))
        rows, columns = mask.shape
        box = image_crop_box(self._augmentation, rows, columns, uniforms)
        return resized_mask(mask, self._preprocess.image_size, box)


def resized_mask(
    mask: Mask, size: tuple[int, int], box: Box | None = None
) -> UInt8[np.ndarray, "resized_row resized_column"]:
    """A mask, or its part in `box` (left, upper, right, lower), with `size` (rows, columns); each pixel is the nearest.

    `Preprocess.stretched` does this to the image.
    """
    rows, columns = size
    return np.array(Image.fromarray(mask).resize((columns, rows), Image.Resampling.NEAREST, box=box))
