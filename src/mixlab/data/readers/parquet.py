"""`parquet:PATTERN`: tables of encoded images and their classes, as local files or at an http(s) address.

Parquet compresses groups of rows together, so the `datasets` library converts it to Arrow in its cache, which allows
random access. The split of a file (train, val, test) is taken from its name or from that of its folder.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlab.data.dataset import Dataset
from mixlab.data.readers.extras import first_line, needs_extra, progress_bars_on_terminal
from mixlab.data.readers.shards import absolute_pattern, by_split, local_path, matching
from mixlab.data.readers.table import dataset_from_tables
from mixlab.errors import UserError
from mixlab.files import translate_read_errors

if TYPE_CHECKING:
    import pyarrow.parquet


def read_parquet(
    pattern: str, *, quiet: bool, from_tables: Callable[[str, Mapping[str, Any]], Dataset] = dataset_from_tables
) -> Dataset:
    """Read all files that match the pattern, and convert their tables with `from_tables`.

    Raises UserError if a file is missing or damaged, or if columns differ.
    """
    name = f"parquet:{absolute_pattern(pattern)}"
    with needs_extra(name):
        import datasets
    splits = {
        split: [local_path(shard) for shard in shards]
        for split, shards in by_split(name, matching(name, absolute_pattern(pattern))).items()
    }
    metadata = {file: _metadata(file) for files in splits.values() for file in files}
    columns = {
        file: [f"{column.name} ({column.type})" for column in header.schema.to_arrow_schema()]
        for file, header in metadata.items()
    }
    for file, header in metadata.items():
        if doubled := [column for column, count in Counter(header.schema.to_arrow_schema().names).items() if count > 1]:
            raise UserError(
                f'{file} has several columns called "{doubled[0]}": rename or remove all but one and write it again.'
            )
    first, *others = columns
    for file in others:
        if columns[file] != columns[first]:
            raise UserError(
                f"{name} has files with different columns: {first} has {', '.join(columns[first])}, and {file} has "
                f"{', '.join(columns[file])}. Exclude one of them from the pattern."
            )
    non_empty = {split: [str(file) for file in files if metadata[file].num_rows] for split, files in splits.items()}
    non_empty = {split: files for split, files in non_empty.items() if files}
    with progress_bars_on_terminal(quiet=quiet), _translate_errors(name):
        tables = datasets.load_dataset("parquet", data_files=non_empty) if non_empty else {}
    return from_tables(name, {str(split): table for split, table in tables.items()})


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Turn errors of the `datasets` library into UserErrors."""
    import datasets.exceptions

    try:
        yield
    except (ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(
            f"{name} can't be loaded by the `datasets` library ({first_line(error)}): keep only the columns of the "
            "images and classes, or write the files again."
        ) from error


def _metadata(file: Path) -> "pyarrow.parquet.FileMetaData":
    import pyarrow
    import pyarrow.parquet

    try:
        with translate_read_errors(file), file.open("rb") as opened:
            return pyarrow.parquet.read_metadata(opened)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{file} is not a parquet file or is damaged: download or write it again.") from error
