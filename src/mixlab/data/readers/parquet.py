"""`parquet:PATTERN`: tables of encoded images and their classes, on the disk or at an http(s) address.

Parquet is compressed by groups of rows, so the `datasets` library keeps it as Arrow in its cache, which is read at any
place. A file's part is what its name, or its folder's, says: train, val, test.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.data.dataset import Dataset
from mixlab.data.readers.extras import bars_on_a_terminal, needs_extra
from mixlab.data.readers.shards import absolute_pattern, by_part, local_path, matching
from mixlab.data.readers.table import tabled
from mixlab.errors import UserError

if TYPE_CHECKING:
    import pyarrow.parquet


def read_parquet(pattern: str, *, quiet: bool) -> Dataset:
    name = f"parquet:{absolute_pattern(pattern)}"
    with needs_extra(name):
        import datasets
    splits = {
        split: [local_path(shard) for shard in shards]
        for split, shards in by_part(name, matching(name, absolute_pattern(pattern))).items()
    }
    heads = {file: _head(file) for files in splits.values() for file in files}
    columns = {
        file: [f"{column.name} ({column.type})" for column in head.schema.to_arrow_schema()]
        for file, head in heads.items()
    }
    first, *others = columns
    for file in others:
        if columns[file] != columns[first]:
            raise UserError(
                f"{name} has files of different columns: {first} has {', '.join(columns[first])}, and {file} has "
                f"{', '.join(columns[file])}. Take one of them out of the pattern."
            )
    filled = {split: [str(file) for file in files if heads[file].num_rows] for split, files in splits.items()}
    filled = {split: files for split, files in filled.items() if files}
    with bars_on_a_terminal(quiet=quiet):
        tables = datasets.load_dataset("parquet", data_files=filled) if filled else {}
    return tabled(name, {str(split): table for split, table in tables.items()})


def _head(file: Path) -> "pyarrow.parquet.FileMetaData":
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(file)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{file} is no parquet file, or is damaged: fetch or write it again.") from error
