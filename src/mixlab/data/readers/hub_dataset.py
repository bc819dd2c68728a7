"""`hf:NAME[:SPLIT[:stream=N]]`: a set of the Hugging Face hub, or a folder that `datasets` has saved or understands.

NAME is owner/name, owner/name/configuration, or a path. Without a split, its train, validation and test splits are the
parts; one split alone is cut as a folder is.

`stream=N` keeps the first N rows of a split in the user's cache and reads no further: a set that is too large for this
machine can be tried, and what is kept has orders, epochs and resumption as every other set has.
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
from mixlab.data.readers.extras import bars_on_a_terminal, needs_extra
from mixlab.data.readers.table import standard_splits, tabled
from mixlab.errors import UserError, did_you_mean
from mixlab.files import atomic_folder, cache_folder

if TYPE_CHECKING:
    import datasets

_SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves
_STREAM = re.compile(r"(.+):stream=(\d+)")


@dataclass(frozen=True)
class _Wanted:
    """`source`: a path, or a name on the hub; `rows`: how many of the split's first rows, all of them where 0."""

    name: str
    source: str
    configuration: str | None
    split: str
    rows: int

    @property
    def arguments(self) -> dict[str, Any]:
        """What `datasets.load_dataset` is asked for."""
        return {"path": self.source, "name": self.configuration, "split": self.split or None}


def read_hub_dataset(place: str, *, quiet: bool) -> Dataset:
    wanted = _wanted(place)
    with needs_extra(wanted.name):
        import datasets
    with bars_on_a_terminal(quiet=quiet), _explained(wanted):
        if wanted.rows:
            tables = datasets.load_from_disk(str(_first_rows(wanted)))
        elif any((Path(wanted.source) / file).is_file() for file in _SAVED):
            tables = _split_of(wanted, datasets.load_from_disk(wanted.source))
        else:
            tables = datasets.load_dataset(**wanted.arguments)
    if isinstance(tables, datasets.Dataset):
        return tabled(wanted.name, {"train": tables})
    splits, notes = standard_splits(wanted.name, {str(split): table for split, table in tables.items()})
    return tabled(wanted.name, splits, notes)


def _wanted(place: str) -> _Wanted:
    """A path may have no colon."""
    source, _, split = place.partition(":")
    stream = _STREAM.fullmatch(split)
    if "stream" in split.rpartition(":")[2] and (stream is None or not int(stream[2])):
        raise UserError(
            f'hf:{place} is not understood: a stream is written "hf:{source}:train:stream=10000", with a split and how '
            "many of its first rows to keep."
        )
    configuration = None
    path = Path(source).expanduser()
    if path.exists():
        source = str(path.absolute())
    elif source.count("/") >= 2 and (path.parent.exists() or not path.is_absolute()):
        outer, _, configuration = source.rpartition("/")
        source = str(path.parent.absolute()) if path.parent.exists() else outer
    elif path.is_absolute():
        raise UserError(f"hf:{place} is not there: give a name on the hub, as owner/name, or the path of a folder.")
    lasting = ":".join(filter(None, ["/".join(filter(None, [source, configuration])), split]))
    return _Wanted(
        f"hf:{lasting}", source, configuration, stream[1] if stream else split, int(stream[2]) if stream else 0
    )


def _split_of(
    wanted: _Wanted, saved: "datasets.Dataset | datasets.DatasetDict"
) -> "datasets.Dataset | datasets.DatasetDict":
    import datasets

    if not wanted.split:
        return saved
    splits = saved if isinstance(saved, datasets.DatasetDict) else datasets.DatasetDict()
    if wanted.split not in splits:
        raise ValueError(f'Unknown split "{wanted.split}". Should be one of {[str(split) for split in splits]}.')
    return splits[wanted.split]


def _first_rows(wanted: _Wanted) -> Path:
    """The folder in the cache with the first rows, streamed where it is not there yet."""
    import datasets

    facts = json.dumps([wanted.arguments, wanted.rows])
    kept = cache_folder() / "streams" / hashlib.sha256(facts.encode()).hexdigest()[:16]
    if not kept.exists():
        stream = datasets.load_dataset(**wanted.arguments, streaming=True)
        encoded = stream.take(wanted.rows).decode(enable=False)
        with atomic_folder(kept) as temporary:
            passing = temporary / "passing"
            rows = datasets.Dataset.from_generator(encoded.__iter__, features=stream.features, cache_dir=str(passing))
            rows.save_to_disk(str(temporary))
            shutil.rmtree(passing)
    return kept


@contextmanager
def _explained(wanted: _Wanted) -> Iterator[None]:
    """What `datasets` refuses, as a UserError."""
    import datasets.exceptions

    try:
        yield
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(
            f"{wanted.name} is not on the hub, or is private or gated: check the spelling, or run `hf auth login` with "
            "an account that may read it."
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"{wanted.name} can't be fetched from the hub ({_first_line(error)}): fetch it elsewhere, and give its "
            "folder as hf:PATH."
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f"{wanted.name} has no data that `datasets` understands ({_first_line(error)}): give a name on the hub, or "
            "a folder of parquet files or one that save_to_disk has left."
        ) from error
    except (ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{wanted.name} can't be opened: {_first_line(error)}{_hint(wanted, error)}") from error


def _hint(wanted: _Wanted, error: Exception) -> str:
    """The way out of what `datasets` says in several lines."""
    known = re.findall(r"'([^']+)'", str(error).partition("[")[2].partition("]")[0])
    if "onfig" in str(error) and known:
        return f' It has {", ".join(known)}: write "hf:{wanted.source}/{known[0]}".'
    return f" {did_you_mean(wanted.split, known)}".rstrip()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
