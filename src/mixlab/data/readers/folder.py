"""`folder:PATH`: `train/`, `val/` and `test/` with a folder for each class, or class folders alone.

Folders below a class belong to it.
"""

from pathlib import Path

from mixlab.data.dataset import PARTS, Dataset, Part
from mixlab.data.readers.folder_scan import scan


def read_folder(path: Path) -> Dataset:
    """The parts that are there."""
    tree = scan(path)
    classes = tuple(sorted({image.label for part in tree.parts.values() for image in part}))
    parts = {name: Part.of(found, classes) for name in PARTS if (found := tree.parts.get(name))}
    return Dataset(f"folder:{path.absolute()}", classes, parts, tree.notes)
