"""Where datasets come from: one string names a set. `KINDS` has all that such a string can be."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from mixlab.data.dataset import Dataset, SplitAssignment
from mixlab.data.readers.cifar10 import open_cifar10
from mixlab.data.readers.csv_file import read_csv
from mixlab.data.readers.digits import open_digits
from mixlab.data.readers.folder import read_folder
from mixlab.data.readers.hub_dataset import read_hub_dataset
from mixlab.data.readers.imagenet import open_imagenet, open_imagenet_val
from mixlab.data.readers.parquet import read_parquet
from mixlab.data.readers.tar_file import read_tar
from mixlab.data.readers.tfds import read_tfds
from mixlab.data.readers.torchvision_sets import SETS, read_torchvision_set
from mixlab.data.readers.webdataset import read_webdataset
from mixlab.data.splits import as_single_test_split, with_all_splits, with_test_split
from mixlab.errors import UserError, did_you_mean


def open_dataset(name: str, *, quiet: bool = False) -> Dataset:
    """The set with the parts that a training needs. Raises UserError; `quiet` shows no progress of long unpacking."""
    kind, place = _found(name)
    return kind.to_train(place, quiet=quiet)


def open_as_provided(name: str, *, quiet: bool = False) -> Dataset:
    """The set in the parts that it comes in, with nothing cut or refused that a training could not use."""
    kind, place = _found(name)
    return kind.as_found(place, quiet=quiet)


def open_with_assignment(name: str, assignment: SplitAssignment, classes: tuple[str, ...]) -> Dataset:
    """The set in the parts and the classes that a run kept of it."""
    kind, place = _found(name)
    return kind.to_judge(place, quiet=False).with_assignment(assignment).relabelled(classes)


def open_for_evaluation(name: str, classes: tuple[str, ...]) -> Dataset:
    """For a finished model that never saw the set, with labels that are places in its `classes`.

    "test" is all of one's own images, whatever parts they have, and the test part of a set with a fixed name.
    """
    kind, place = _found(name)
    dataset = kind.to_judge(place, quiet=False)
    return replace(dataset, splits={"test": dataset.splits["test"]}).relabelled(classes)


def is_same_source(a: str, b: str) -> bool:
    """Whether two names of data are of one place, however its path is written."""
    return _place(a) == _place(b)


def _place(name: str) -> tuple[str, Path | None]:
    kind, _, place = name.partition(":")
    return kind, Path(place).expanduser().resolve() if place else None


@runtime_checkable
class _Opener(Protocol):
    def __call__(self, place: str, /, *, quiet: bool) -> Dataset:
        """`place` is what stands behind the colon, or empty. Raises UserError."""
        ...


@dataclass(frozen=True)
class Kind:
    """`spelling`: how its names are written, with brackets around what may be left out.

    What `to_train` opens has the three parts of a training. What `to_judge` opens has all images, in parts of which
    "test" is what a model that never saw the set is judged on. What `as_provided` opens has the source's own parts.
    """

    spelling: str
    to_train: _Opener
    to_judge: _Opener
    as_found: _Opener


def _fixed(spelling: str, opened: _Opener) -> Kind:
    """A set whose parts everybody knows."""
    return Kind(spelling, opened, opened, opened)


def _own(spelling: str, read: _Opener) -> Kind:
    """Images that somebody has put together, in the parts that `read` finds."""
    return Kind(
        spelling,
        lambda place, *, quiet: with_all_splits(read(place, quiet=quiet)),
        lambda place, *, quiet: as_single_test_split(read(place, quiet=quiet)),
        read,
    )


def _published(spelling: str, read: _Opener) -> Kind:
    """Images that somebody has published, in the parts that `read` finds."""
    return Kind(
        spelling,
        lambda place, *, quiet: with_all_splits(read(place, quiet=quiet)),
        lambda place, *, quiet: with_test_split(read(place, quiet=quiet)),
        read,
    )


def _torchvision(name: str) -> Kind:
    return _published(
        f"{name}[:PATH]", lambda place, *, quiet: read_torchvision_set(name, _path_or_none(place), quiet=quiet)
    )


def _path(place: str) -> Path:
    return Path(place).expanduser()


def _path_or_none(place: str) -> Path | None:
    return _path(place) if place else None


KINDS = {
    "digits": _fixed("digits", lambda place, *, quiet: open_digits()),
    "cifar10": _fixed("cifar10[:PATH]", lambda place, *, quiet: open_cifar10(_path_or_none(place), quiet=quiet)),
    "imagenet": Kind(
        "imagenet[:PATH]",
        lambda place, *, quiet: open_imagenet(_path_or_none(place)),
        lambda place, *, quiet: open_imagenet_val(_path_or_none(place)),
        lambda place, *, quiet: open_imagenet(_path_or_none(place)),
    ),
    **{name: _torchvision(name) for name in SETS},
    "folder": _own("folder:PATH", lambda place, *, quiet: read_folder(_path(place))),
    "csv": _own("csv:FILE", lambda place, *, quiet: read_csv(_path(place))),
    "tar": _own("tar:FILE", lambda place, *, quiet: read_tar(_path(place), quiet=quiet)),
    "wds": _own("wds:PATTERN", read_webdataset),
    "parquet": _own("parquet:PATTERN", read_parquet),
    "hf": _published("hf:NAME[:SPLIT]", read_hub_dataset),
    "tfds": _published("tfds:NAME[:SPLIT]", read_tfds),
}
"""What stands before the colon -> what it means. Error sentences list these."""


def _found(name: str) -> tuple[Kind, str]:
    """The kind that `name` begins with, and what stands behind the colon."""
    word, colon, place = name.partition(":")
    kind = KINDS.get(word)
    if kind is None:
        is_folder = bool(name) and Path(name).expanduser().is_dir()
        hint = f'For the folder of that name write "folder:{name}".' if is_folder else did_you_mean(word, KINDS)
        known = ", ".join(kind.spelling for kind in KINDS.values())
        raise UserError(f'data "{name}" is not known: it can be one of {known}. {hint}'.rstrip())
    alone = not kind.spelling.startswith(f"{word}:")
    if colon and kind.spelling == word:
        raise UserError(f'data "{name}" names a path, but {word} comes with mixlab and has none: write "{word}".')
    if place or (alone and not colon):
        return kind, place
    way_out = f'"{word}:PATH", or "{word}" alone' if alone else f'"{kind.spelling}"'
    raise UserError(f'data "{name}" lacks what has to stand behind a colon: write {way_out}.')
