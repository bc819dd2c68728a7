"""`hf:NAME[:SPLIT[:stream=N]]`: a dataset of the Hugging Face hub, or a folder that the `datasets` library can load.

NAME is owner/name, owner/name/configuration or a path. Without SPLIT, the dataset's train, validation and test splits
are used. A single split is divided like a folder without splits.

`stream=N` stores the first N rows of a split in the user's cache and downloads no more, so that you can try a dataset
that is too large for this machine. The stored rows are shuffled and resumed like any other dataset.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlab.data.dataset import Dataset
from mixlab.data.readers.extras import first_line, needs_extra, progress_bars_on_terminal
from mixlab.data.readers.table import dataset_from_tables, standard_splits
from mixlab.errors import UserError, did_you_mean
from mixlab.files import atomic_folder, cache_folder

if TYPE_CHECKING:
    import datasets

_SAVED_FILES = ("dataset_dict.json", "state.json")  # written by `save_to_disk`
_STREAM = re.compile(r"(.+):stream=(\d+)")


@dataclass(frozen=True)
class _Request:
    """A parsed dataset name.

    `name`: the string that opens it from any working directory.
    `source`: a path, or a name on the hub.
    `split`: empty for all splits.
    `rows`: the number of first rows to stream; 0 to load all rows.
    """

    name: str
    source: str
    configuration: str | None
    split: str
    rows: int

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `datasets.load_dataset`."""
        return {"path": self.source, "name": self.configuration, "split": self.split or None}


def read_hub_dataset(location: str, *, quiet: bool) -> Dataset:
    """Load the dataset NAME[:SPLIT[:stream=N]].

    Raises UserError if it can't be loaded or has no column of images or of classes.
    """
    request = _parse(location)
    with needs_extra(request.name):
        import datasets
    with progress_bars_on_terminal(quiet=quiet), _translate_errors(request):
        if request.rows:
            tables = datasets.load_from_disk(str(_first_rows(request)))
        elif any((Path(request.source) / file).is_file() for file in _SAVED_FILES):
            tables = _select_split(request, datasets.load_from_disk(request.source))
        else:
            tables = datasets.load_dataset(**request.arguments)
    if isinstance(tables, datasets.Dataset):
        return dataset_from_tables(request.name, {"train": tables})
    splits, notes = standard_splits(request.name, {str(split): table for split, table in tables.items()})
    return dataset_from_tables(request.name, splits, notes)


def _parse(location: str) -> _Request:
    """Parse the text after "hf:". A path can't contain a colon."""
    source, _, split = location.partition(":")
    stream = _STREAM.fullmatch(split)
    if "stream" in split.rpartition(":")[2] and (stream is None or not int(stream[2])):
        raise UserError(
            f'hf:{location} is not a valid stream: write "hf:{source}:train:stream=10000", with a split and the number '
            "of its first rows to use."
        )
    configuration = None
    path = Path(source).expanduser()
    if path.exists():
        source = str(path.absolute())
    elif source.count("/") >= 2 and (path.parent.exists() or not path.is_absolute()):
        outer, _, configuration = source.rpartition("/")
        source = str(path.parent.absolute()) if path.parent.exists() else outer
    elif path.is_absolute():
        raise UserError(
            f"hf:{location} does not exist: give a name on the hub such as owner/name, or the path of a folder."
        )
    absolute_name = ":".join(filter(None, ["/".join(filter(None, [source, configuration])), split]))
    return _Request(
        f"hf:{absolute_name}", source, configuration, stream[1] if stream else split, int(stream[2]) if stream else 0
    )


def _select_split(
    request: _Request, saved: "datasets.Dataset | datasets.DatasetDict"
) -> "datasets.Dataset | datasets.DatasetDict":
    import datasets

    if not request.split:
        return saved
    splits = saved if isinstance(saved, datasets.DatasetDict) else datasets.DatasetDict()
    if request.split not in splits:
        raise ValueError(f'Unknown split "{request.split}". Should be one of {[str(split) for split in splits]}.')
    return splits[request.split]


def _first_rows(request: _Request) -> Path:
    """The folder in the cache with the first rows, which are streamed if it does not exist."""
    import datasets

    key = json.dumps([request.arguments, request.rows])
    cached = cache_folder() / "streams" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not cached.exists():
        stream = datasets.load_dataset(**request.arguments, streaming=True)
        encoded = stream.take(request.rows).decode(enable=False)
        with atomic_folder(cached) as temporary:
            arrow_cache = temporary / "arrow_cache"
            rows = datasets.Dataset.from_generator(
                encoded.__iter__, features=stream.features, cache_dir=str(arrow_cache)
            )
            rows.save_to_disk(str(temporary))
            shutil.rmtree(arrow_cache)
    return cached


@contextmanager
def _translate_errors(request: _Request) -> Iterator[None]:
    """Turn errors of the `datasets` library into UserErrors."""
    import datasets.exceptions

    try:
        yield
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(
            f"{request.name} is not on the hub, or it is private or gated: check the spelling, or run `hf auth login` "
            "with an account that has access."
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"{request.name} can't be downloaded from the hub ({first_line(error)}): download it on another machine, "
            "and give its folder as hf:PATH."
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f"{request.name} has no data that `datasets` can load ({first_line(error)}): give a name on the hub, a "
            "folder of parquet files or a folder written by save_to_disk."
        ) from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetGenerationError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{request.name} can't be opened: {first_line(error)}{_hint(request, error)}") from error


def _hint(request: _Request, error: Exception) -> str:
    """A suggestion, from the names that the error message lists."""
    known = re.findall(r"'([^']+)'", str(error).partition("[")[2].partition("]")[0])
    if "onfig" in str(error) and known:
        return f' It has {", ".join(known)}: write "hf:{request.source}/{known[0]}".'
    return f" {did_you_mean(request.split, known)}".rstrip()
