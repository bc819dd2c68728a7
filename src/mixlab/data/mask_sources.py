"""The form of dataset names with a mask per image, and the splits of such datasets."""

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.data.readers.mask_folder import read_masks
from mixlab.data.sources import Kind
from mixlab.data.splits import as_single_test_split, divide_by_strata, require_train


def with_all_mask_splits(dataset: Dataset, *, quiet: bool = False) -> Dataset:
    """Ensure that there are three splits, as `with_all_splits` does for images with one class, without strata.

    Raises UserError if train is missing, or has too few images to hold some out.
    """
    require_train(dataset)
    if len(dataset.splits) == 3:
        return dataset
    strata = np.zeros(len(dataset.splits["train"]), dtype=np.int64)
    return divide_by_strata(dataset, strata, quiet=quiet)


MASK_KINDS = {
    "masks": Kind(
        "masks:PATH",
        lambda location, *, quiet: with_all_mask_splits(read_masks(location), quiet=quiet),
        lambda location, *, quiet: as_single_test_split(read_masks(location)),
        lambda location, *, quiet: read_masks(location),
    )
}
"""The word before the colon -> how the dataset is opened."""
