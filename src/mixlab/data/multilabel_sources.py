"""The forms of dataset names with several labels per image."""

from functools import partial
from pathlib import Path

from mixlab.data.multilabel import with_all_multilabel_splits
from mixlab.data.readers.multilabel_csv import read_multilabel_csv
from mixlab.data.readers.multilabel_folder import read_multilabel_folder
from mixlab.data.readers.multilabel_table import multilabel_from_tables
from mixlab.data.readers.parquet import read_parquet
from mixlab.data.sources import user_images

_READERS = {
    "csv:FILE": lambda location, *, quiet: read_multilabel_csv(Path(location).expanduser()),
    "folder:PATH": lambda location, *, quiet: read_multilabel_folder(Path(location).expanduser()),
    "parquet:PATTERN": partial(read_parquet, from_tables=multilabel_from_tables),
}

MULTILABEL_KINDS = {
    spelling.partition(":")[0]: user_images(spelling, reader, with_all_multilabel_splits)
    for spelling, reader in _READERS.items()
}
"""The word before the colon -> how the dataset is opened."""
