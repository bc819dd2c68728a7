"""Where a set with a fixed name is looked for."""

import os
from pathlib import Path

from mixlab.files import cache_folder


def data_dirs() -> list[Path]:
    """$MIXLAB_DATA, then the user's cache."""
    named = os.environ.get("MIXLAB_DATA")
    return [*([Path(named)] if named else []), cache_folder()]
