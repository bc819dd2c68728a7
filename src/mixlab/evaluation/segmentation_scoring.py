"""Scores of the masks that a model predicts for a split, at the size of the images."""

from dataclasses import dataclass

import numpy as np

from mixlab.data.dataset import Split
from mixlab.data.deep_image import ValueRange
from mixlab.data.image_file import UnreadableImage
from mixlab.data.masks import Masks
from mixlab.errors import UserError
from mixlab.evaluation.class_maps import ClassMapper
from mixlab.evaluation.segmentation_metrics import SegmentationScores, pixel_counts
from mixlab.report.progress import progress


@dataclass(frozen=True, eq=False)
class ScoredSplit:
    """The scores of the images of a split that can be read.

    evaluated   their indices in the split
    unreadable  the reason why an image was skipped, by its name
    """

    scores: SegmentationScores
    evaluated: list[int]
    unreadable: dict[str, str]


def score_split(
    mapper: ClassMapper,
    split: Split,
    classes: tuple[str, ...],
    value_range: ValueRange | None = None,
    *,
    max_unreadable: int = 0,
    title: str,
    quiet: bool,
) -> ScoredSplit:
    """Compare the class maps of all images with their masks.

    value_range     as in `mixlab.data.dataset.decoded`
    max_unreadable  images that may be skipped
    title, quiet    of the progress bar

    Raises UserError if a mask is wrong or no pixel is labelled, and UnreadableImage.
    """
    masks = split.labels
    assert isinstance(masks, Masks)
    counts, evaluated, unreadable = [], [], dict[str, str]()
    with progress(title, total=len(split), quiet=quiet) as advance:
        for index in range(len(split)):
            try:
                predicted = mapper(split.image(index, value_range))
            except UnreadableImage as error:
                unreadable[split.names[index]] = error.reason
                if len(unreadable) > max_unreadable:
                    raise
                continue
            counts.append(pixel_counts(masks.read(index).astype(np.int64), predicted, len(classes)))
            evaluated.append(index)
            advance(1)
    if not any(count[1].any() for count in counts):
        raise UserError(f"No pixel of the {len(counts):,} evaluated images is labelled: correct the masks.")
    return ScoredSplit(SegmentationScores(classes, np.stack(counts)), evaluated, unreadable)
