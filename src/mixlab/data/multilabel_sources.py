"""The forms of dataset names with several labels per image."""

from pathlib import Path

from mixlab.data.multilabel import with_all_multilabel_splits
from mixlab.data.readers.multilabel_csv import read_multilabel_csv
from mixlab.data.readers.multilabel_folder import read_multilabel_folder
from mixlab.data.readers.multilabel_table import multilabel_from_tables
from mixlab.data.readers.parquet import read_parquet
from mixlab.data.sources import user_images

MULTILABEL_KINDS = {
    "csv": user_images(
        "csv:FILE",
        lambda location, *, quiet: read_multilabel_csv(Path(location).expanduser()),
        with_all_multilabel_splits,
    ),
    "folder": user_images(
        "folder:PATH",
        lambda location, *, quiet: read_multilabel_folder(Path(location).expanduser()),
        with_all_multilabel_splits,
    ),
    "parquet": user_images(
        "parquet:PATTERN",
        lambda location, *, quiet: read_parquet(location, quiet=quiet, from_tables=multilabel_from_tables),
        with_all_multilabel_splits,
    ),
}
"""The word before the colon -> how the dataset is opened."""
