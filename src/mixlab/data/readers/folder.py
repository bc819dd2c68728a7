"""`folder:PATH`: one folder per class, either directly in PATH or inside the folders of splits, such as `train/`.

Folders inside a class folder belong to that class.
"""

from pathlib import Path

from mixlab.data.dataset import Dataset
from mixlab.data.readers.folder_scan import scan
from mixlab.data.splits import as_provided


def read_folder(path: Path) -> Dataset:
    """Read a folder with the splits that it has. Raises UserError as `scan` does."""
    contents = scan(path)
    return as_provided(f"folder:{path.absolute()}", contents.splits, contents.notes)
