"""Datasets of torchvision, by a name in lower case such as `cifar100`, or NAME:PATH.

They are searched for, in torchvision's layout, in PATH if given, otherwise in $MIXLAB_DATA and the user's cache: in the
folder itself or in its subfolder NAME. Without PATH, torchvision downloads a missing dataset into the cache.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset, Split
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.extras import progress_bars_on_terminal
from mixlab.errors import UserError
from mixlab.files import atomic_folder, cache_folder

_SplitArguments = Mapping[str, Mapping[str, Any]]
_TRAIN_FLAG: _SplitArguments = {"train": {"train": True}, "test": {"train": False}}
_TWO_SPLITS: _SplitArguments = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE_SPLITS: _SplitArguments = {
    "train": {"split": "train"},
    "validation": {"split": "val"},
    "test": {"split": "test"},
}


def _decoded_rows(dataset: Any) -> Iterator[tuple[Any, int]]:
    return (dataset[index] for index in range(len(dataset)))


@dataclass(frozen=True)
class _Set:
    """How to load a dataset with torchvision.

    `type`: the name of torchvision's class.
    `splits`: the arguments for each split.
    `options`: the arguments for all splits.
    `rows`: a function from the torchvision dataset to its images and labels.
    """

    type: str
    splits: _SplitArguments
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: Callable[[Any], Iterator[tuple[Any, int]]] = _decoded_rows


_AS_FILES = {"loader": Path}
"""Return the path of an image instead of decoding it, so that it is read later."""

SETS = {
    "cifar100": _Set("CIFAR100", _TRAIN_FLAG),
    "mnist": _Set("MNIST", _TRAIN_FLAG),
    "fashion_mnist": _Set("FashionMNIST", _TRAIN_FLAG),
    "kmnist": _Set("KMNIST", _TRAIN_FLAG),
    "svhn": _Set("SVHN", _TWO_SPLITS),
    "stl10": _Set("STL10", _TWO_SPLITS),
    "flowers102": _Set("Flowers102", _THREE_SPLITS, _AS_FILES),
    "pets": _Set(
        "OxfordIIITPet",
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
        rows=lambda dataset: zip(dataset._images, dataset._labels, strict=True),  # it has no loader argument
    ),
    "food101": _Set("Food101", _TWO_SPLITS, _AS_FILES),
    "dtd": _Set("DTD", _THREE_SPLITS, _AS_FILES),
    "aircraft": _Set("FGVCAircraft", _THREE_SPLITS, _AS_FILES),
    "cars": _Set("StanfordCars", _TWO_SPLITS, _AS_FILES),
    "imagenette": _Set("Imagenette", {"train": {"split": "train"}, "validation": {"split": "val"}}, _AS_FILES),
    "eurosat": _Set("EuroSAT", {"train": {}}, _AS_FILES),
    "sun397": _Set("SUN397", {"train": {}}, _AS_FILES),
}


def read_torchvision_set(name: str, path: Path | None, *, quiet: bool) -> Dataset:
    """Load `name`, a key of SETS, with the splits that torchvision provides. Download it if `path` is None.

    Raises UserError if it is not in `path`, or can't be downloaded.
    """
    root = _find(name, path) or _download(name, path, quiet=quiet)
    loaded = {split: _load(name, root, split) for split in SETS[name].splits}
    labels = {
        split: [(image, int(label)) for image, label in SETS[name].rows(dataset)] for split, dataset in loaded.items()
    }
    highest = max(label for rows in labels.values() for _, label in rows)
    class_names = getattr(loaded["train"], "classes", range(highest + 1))
    classes = tuple(names[0] if isinstance(names, tuple) else str(names) for names in class_names)  # the first synonym
    splits = {split: _split(root, split, rows) for split, rows in labels.items()}
    return Dataset(f"{name}:{path.absolute()}" if path else name, classes, splits)


def _split(root: Path, split: str, rows: list[tuple[Any, int]]) -> Split:
    return Split(
        names=[
            image.relative_to(root).as_posix() if isinstance(image, Path) else f"{split}/{index:05d}"
            for index, (image, _) in enumerate(rows)
        ],
        labels=np.array([label for _, label in rows], dtype=np.int64),
        images=[image if isinstance(image, Path) else np.array(image.convert("RGB")) for image, _ in rows],
    )


def _load(name: str, root: Path, split: str, **options: bool) -> Any:
    from torchvision import datasets

    settings = SETS[name]
    return getattr(datasets, settings.type)(root, **settings.splits[split], **settings.options, **options)


def _find(name: str, path: Path | None) -> Path | None:
    """The folder that has all splits, or None."""
    for folder in [path] if path else data_dirs():
        for root in (folder, folder / name):
            if root.is_dir() and _is_complete(name, root):
                return root
    return None


def _is_complete(name: str, root: Path) -> bool:
    try:
        for split in SETS[name].splits:
            _load(name, root, split)
    except (RuntimeError, OSError):  # "Dataset not found or corrupted", or a missing file
        return False
    return True


def _download(name: str, path: Path | None, *, quiet: bool) -> Path:
    if path:
        raise UserError(
            f"{name}:{path} does not contain a complete {SETS[name].type} in torchvision's layout: give the root "
            f'folder of torchvision, or write "{name}" to download it.'
        )
    if Path(name).is_dir():
        raise UserError(
            f'"{name}" is ambiguous: it is a dataset of torchvision, not downloaded yet, and a folder in the working '
            f'directory. Write "folder:{name}" for the images in the folder, or "{name}:{name}" if it contains the '
            "dataset."
        )
    root = cache_folder() / name
    try:
        with atomic_folder(root) as temporary, progress_bars_on_terminal(quiet=quiet):
            for split in SETS[name].splits:
                _load(name, temporary, split, download=True)
    except UserError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{name} is not in {' or '.join(map(str, data_dirs()))}, and torchvision can't download it "
            f"({error}): download it by hand, arrange it in torchvision's layout, and give its folder as {name}:PATH."
        ) from error
    return root
