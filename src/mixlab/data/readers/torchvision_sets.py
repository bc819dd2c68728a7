"""Sets that torchvision knows, by its name in lower case: `cifar100 flowers102 pets food101 ...`, or NAME:PATH.

They are looked for in PATH if given, else in $MIXLAB_DATA and the user's cache, as torchvision lays them out, in the
folder or in one of the set's name in it; without PATH, torchvision fetches into the cache what is in none of them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset, Split
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.extras import bars_on_a_terminal
from mixlab.errors import UserError
from mixlab.files import atomic_folder, cache_folder

_ByPart = Mapping[str, Mapping[str, Any]]
_TRAIN_OR_NOT: _ByPart = {"train": {"train": True}, "test": {"train": False}}
_TWO: _ByPart = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: _ByPart = {"train": {"split": "train"}, "validation": {"split": "val"}, "test": {"split": "test"}}


def _loaded(dataset: Any) -> Iterator[tuple[Any, int]]:
    return (dataset[index] for index in range(len(dataset)))


@dataclass(frozen=True)
class _Set:
    """`splits`: what torchvision's class is asked for; `options`: what all parts share; `rows`: images and labels."""

    type: str
    splits: _ByPart
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: Callable[[Any], Iterator[tuple[Any, int]]] = _loaded


_AS_FILES = {"loader": Path}
"""Instead of decoding a file, name it: it is read when it is asked for."""

SETS = {
    "cifar100": _Set("CIFAR100", _TRAIN_OR_NOT),
    "mnist": _Set("MNIST", _TRAIN_OR_NOT),
    "fashion_mnist": _Set("FashionMNIST", _TRAIN_OR_NOT),
    "kmnist": _Set("KMNIST", _TRAIN_OR_NOT),
    "svhn": _Set("SVHN", _TWO),
    "stl10": _Set("STL10", _TWO),
    "flowers102": _Set("Flowers102", _THREE, _AS_FILES),
    "pets": _Set(
        "OxfordIIITPet",
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
        rows=lambda dataset: zip(dataset._images, dataset._labels, strict=True),  # it takes no loader
    ),
    "food101": _Set("Food101", _TWO, _AS_FILES),
    "dtd": _Set("DTD", _THREE, _AS_FILES),
    "aircraft": _Set("FGVCAircraft", _THREE, _AS_FILES),
    "cars": _Set("StanfordCars", _TWO, _AS_FILES),
    "imagenette": _Set("Imagenette", {"train": {"split": "train"}, "validation": {"split": "val"}}, _AS_FILES),
    "eurosat": _Set("EuroSAT", {"train": {}}, _AS_FILES),
    "sun397": _Set("SUN397", {"train": {}}, _AS_FILES),
}


def read_torchvision_set(name: str, path: Path | None, *, quiet: bool) -> Dataset:
    """The parts that torchvision has of `name`, one of SETS. Raises UserError."""
    root = _found(name, path) or _fetched(name, path, quiet=quiet)
    opened = {split: _opened(name, root, split) for split in SETS[name].splits}
    labels = {split: [(image, int(label)) for image, label in SETS[name].rows(each)] for split, each in opened.items()}
    highest = max(label for rows in labels.values() for _, label in rows)
    written = getattr(opened["train"], "classes", range(highest + 1))
    classes = tuple(each[0] if isinstance(each, tuple) else str(each) for each in written)  # one of several names
    splits = {split: _part(root, split, rows) for split, rows in labels.items()}
    return Dataset(f"{name}:{path.absolute()}" if path else name, classes, splits)


def _part(root: Path, split: str, rows: list[tuple[Any, int]]) -> Split:
    return Split(
        names=[
            image.relative_to(root).as_posix() if isinstance(image, Path) else f"{split}/{index:05d}"
            for index, (image, _) in enumerate(rows)
        ],
        labels=np.array([label for _, label in rows], dtype=np.int64),
        images=[image if isinstance(image, Path) else np.array(image.convert("RGB")) for image, _ in rows],
    )


def _opened(name: str, root: Path, split: str, **how: bool) -> Any:
    from torchvision import datasets

    wanted = SETS[name]
    return getattr(datasets, wanted.type)(root, **wanted.splits[split], **wanted.options, **how)


def _found(name: str, path: Path | None) -> Path | None:
    """The folder that has all parts."""
    for place in [path] if path else data_dirs():
        for root in (place, place / name):
            if root.is_dir() and _is_whole(name, root):
                return root
    return None


def _is_whole(name: str, root: Path) -> bool:
    try:
        for split in SETS[name].splits:
            _opened(name, root, split)
    except (RuntimeError, OSError):  # "Dataset not found or corrupted", or the first file that is not there
        return False
    return True


def _fetched(name: str, path: Path | None, *, quiet: bool) -> Path:
    if path:
        raise UserError(
            f"{name}:{path} has no whole {SETS[name].type} as torchvision lays it out: give the folder that "
            f'torchvision calls root, or write "{name}" to have it fetched.'
        )
    if Path(name).is_dir():
        raise UserError(
            f'"{name}" is a set of torchvision that would have to be fetched, and a folder here: write "folder:{name}" '
            f'for the images in the folder, or "{name}:{name}" if the set lies in it.'
        )
    root = cache_folder() / name
    try:
        with atomic_folder(root) as passing, bars_on_a_terminal(quiet=quiet):
            for split in SETS[name].splits:
                _opened(name, passing, split, download=True)
    except UserError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{name} is not in {' or '.join(map(str, data_dirs()))}, and torchvision can't fetch it ({error}): get "
            f"it by hand, laid out as torchvision does, and give its folder as {name}:PATH."
        ) from error
    return root
