"""scikit-learn's 1,797 handwritten digits, 8x8 pixels, split by position instead of at random.

The labels restart at 1157, 1287, 1415 ...: the later blocks, probably mostly by other writers (the documentation does
not say), are held out. This is harder than a shuffled split, which has images of the same writer in train and test.
E. Alpaydin, C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI, https://doi.org/10.24432/C50P49.
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mixlab.data.dataset import Dataset, Split

_RANGES = {"train": slice(0, 1157), "validation": slice(1157, 1287), "test": slice(1287, 1797)}


def open_digits() -> Dataset:
    """The dataset, with all images in memory."""
    scikit_learn = find_spec("sklearn")
    assert scikit_learn is not None and scikit_learn.submodule_search_locations
    # The file is read directly: importing `load_digits` takes a second in every training process.
    path = Path(scikit_learn.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    ink, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64]
    grey = np.round(ink * (255 / 16)).astype(np.uint8)  # 16 is full ink
    images = np.repeat(grey[..., None], 3, axis=-1)
    names = [f"digits/{position:04d}" for position in range(len(labels))]
    splits = {
        split: Split(names=names[rows], labels=labels[rows], images=list(images[rows]))
        for split, rows in _RANGES.items()
    }
    return Dataset(name="digits", classes=tuple("0123456789"), splits=splits)
