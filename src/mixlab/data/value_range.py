"""One value range for all images of a dataset with more than 8 bits (`mixlab.data.deep_image`)."""

from dataclasses import replace

import numpy as np

from mixlab.data.any_preprocess import AnyPreprocess
from mixlab.data.dataset import Split
from mixlab.data.deep_image import ValueRange, union
from mixlab.data.image_file import UnreadableImage, deep_values
from mixlab.data.preprocess import Preprocess
from mixlab.data.text.preprocess import TextPreprocess

SAMPLE = 64  # images


def range_notes(preprocess: AnyPreprocess) -> tuple[str, ...]:
    """A sentence about the value range, if there is one."""
    if isinstance(preprocess, TextPreprocess) or preprocess.value_range is None:
        return ()
    black, white = preprocess.value_range
    return (f"Value range of grey images with more than 8 bits: {black:g} is black and {white:g} is white.",)


def with_common_range(preprocess: Preprocess, split: Split) -> Preprocess:
    """`preprocess` with one value range for the images of `split` that have more than 8 bits, unless it has one."""
    if preprocess.value_range is not None:
        return preprocess
    return replace(preprocess, value_range=common_range(split))


def common_range(split: Split) -> ValueRange | None:
    """The smallest range that contains the default ranges of a sample of the images.

    None if all have 8 bits, or if they have only one value, which is neither black nor white.

    The sample is every n-th image, so that it is the same in every process. Files that can't be read are left out.
    """
    ranges = []
    for index in np.unique(np.linspace(0, len(split) - 1, min(SAMPLE, len(split))).astype(int)):
        image = split.images[index]
        if isinstance(image, np.ndarray):
            continue
        try:
            values = deep_values(image.read_bytes())
        except (OSError, UnreadableImage):  # reported when the images are decoded
            continue
        if values is not None:
            ranges.append(values.value_range)
    black, white = union(ranges) if ranges else (0, 0)
    return (black, white) if black < white else None
