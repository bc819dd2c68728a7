"""`folder:PATH`: `train/`, `val/` and `test/` with a folder for each class, or class folders alone.

Folders below a class belong to it.
"""

from pathlib import Path

from mixlab.data.dataset import SPLITS, Dataset, Split
from mixlab.data.readers.folder_scan import scan


def read_folder(path: Path) -> Dataset:
    """The parts that are there."""
    tree = scan(path)
    classes = tuple(sorted({image.label for split in tree.splits.values() for image in split}))
    splits = {name: Split.of(found, classes) for name in SPLITS if (found := tree.splits.get(name))}
    return Dataset(f"folder:{path.absolute()}", classes, splits, tree.notes)
