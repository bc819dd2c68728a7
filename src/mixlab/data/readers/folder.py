"""`folder:PATH`: one folder per class, either directly in PATH or inside the folders of splits, such as `train/`.

Folders inside a class folder belong to that class.
"""

from pathlib import Path

from mixlab.data.dataset import SPLITS, Dataset, Split
from mixlab.data.readers.folder_scan import scan


def read_folder(path: Path) -> Dataset:
    """Read a folder with the splits that it has. Raises UserError as `scan` does."""
    contents = scan(path)
    classes = tuple(sorted({image.label for split in contents.splits.values() for image in split}))
    splits = {name: Split.from_samples(samples, classes) for name in SPLITS if (samples := contents.splits.get(name))}
    return Dataset(f"folder:{path.absolute()}", classes, splits, contents.notes)
