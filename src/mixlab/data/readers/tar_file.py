"""`tar:FILE`: an archive of a folder as described in `mixlab.data.readers.folder`, with or without outer folders."""

from pathlib import Path

from mixlab.data.dataset import Dataset
from mixlab.data.readers.archive import members
from mixlab.data.readers.packed_folder import read_packed_folder


def read_tar(path: Path, *, quiet: bool) -> Dataset:
    """Read an archive with the splits that it has.

    Raises UserError if it is not a tar archive or has no images in class folders.
    """
    return read_packed_folder("tar", path, [(member.file.name, member.file) for member in members(path, quiet=quiet)])
