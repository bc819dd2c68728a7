"""Default folders of datasets."""

import os
from pathlib import Path

from mixlab.files import cache_folder


def data_dirs() -> list[Path]:
    """The folders to search for a dataset without a path: $MIXLAB_DATA if set, then the user's cache."""
    data_dir = os.environ.get("MIXLAB_DATA")
    return [*([Path(data_dir)] if data_dir else []), cache_folder()]
