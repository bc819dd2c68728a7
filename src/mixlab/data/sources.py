"""Where datasets come from: one string names a set, `digits`, `cifar10`, `cifar10:PATH` or `folder:PATH`."""

from dataclasses import replace
from pathlib import Path

from mixlab.data.cifar10 import open_cifar10
from mixlab.data.dataset import Dataset, Split
from mixlab.data.digits import open_digits
from mixlab.data.folder import open_folder, open_whole_folder
from mixlab.errors import UserError, did_you_mean


def open_dataset(name: str, *, quiet: bool = False) -> Dataset:
    """The set with the parts that a training needs. Raises UserError; `quiet` shows no progress of long unpacking."""
    kind, colon, path = name.partition(":")
    if kind == "digits" and not colon:
        return open_digits()
    if kind == "cifar10" and (path or not colon):
        return open_cifar10(Path(path).expanduser() if path else None, quiet=quiet)
    if kind == "folder" and path:
        return open_folder(Path(path).expanduser())
    raise _unknown(name)


def open_split(name: str, split: Split, classes: tuple[str, ...]) -> Dataset:
    """The set in the parts and the classes that a run kept of it."""
    return _whole(name).laid_out(split).relabelled(classes)


def open_unseen(name: str, classes: tuple[str, ...]) -> Dataset:
    """For a finished model that never saw the set, with labels that are places in its `classes`.

    "test" is all of a folder, whatever parts it has, and the test part of a set with a fixed name.
    """
    dataset = _whole(name)
    return replace(dataset, parts={"test": dataset.parts["test"]}).relabelled(classes)


def same_source(a: str, b: str) -> bool:
    """Whether two names of data are of one place, however its path is written."""
    return _place(a) == _place(b)


def _place(name: str) -> tuple[str, Path | None]:
    kind, _, path = name.partition(":")
    return kind, Path(path).expanduser().resolve() if path else None


def _whole(name: str) -> Dataset:
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return open_whole_folder(Path(path).expanduser())
    return open_dataset(name)


def _unknown(name: str) -> UserError:
    kind = name.partition(":")[0]
    if name and Path(name).expanduser().is_dir():
        hint = f'For the folder of that name write "folder:{name}".'
    elif kind == "digits":
        hint = 'The digits come with mixlab and have no path: write "digits".'
    elif kind in ("cifar10", "folder"):
        hint = f'A path is missing behind the colon: write "{kind}:PATH".'
    else:
        hint = did_you_mean(kind, ["digits", "cifar10", "folder"])
    return UserError(
        f'data "{name}" is not known: it can be digits, cifar10, cifar10:PATH or folder:PATH. {hint}'.rstrip()
    )
