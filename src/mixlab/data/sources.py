"""Opening of datasets by a single string, such as "folder:pets". `KINDS` lists the forms of this string."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from mixlab.data.dataset import Dataset, SplitAssignment
from mixlab.data.name_groups import group_by_name, split_group_option
from mixlab.data.readers.audio import open_spoken_digits, read_audio
from mixlab.data.readers.cifar10 import open_cifar10
from mixlab.data.readers.csv_file import read_csv
from mixlab.data.readers.digits import open_digits
from mixlab.data.readers.folder import read_folder
from mixlab.data.readers.hub_dataset import read_hub_dataset
from mixlab.data.readers.imagenet import open_imagenet, open_imagenet_val
from mixlab.data.readers.imagenet_variants import VARIANTS, open_imagenet_variant
from mixlab.data.readers.parquet import read_parquet
from mixlab.data.readers.tar_file import read_tar
from mixlab.data.readers.tfds import read_tfds
from mixlab.data.readers.torchvision_sets import SETS, read_torchvision_set
from mixlab.data.readers.two_shapes import open_two_shapes
from mixlab.data.readers.webdataset import read_webdataset
from mixlab.data.readers.zip_file import read_zip
from mixlab.data.splits import as_single_test_split, with_all_splits, with_test_split
from mixlab.errors import UserError, did_you_mean


def open_dataset(name: str, kinds: "Mapping[str, Kind] | None" = None, *, quiet: bool = False) -> Dataset:
    """Open a dataset for training, with train, validation and test splits.

    `kinds`: the forms of dataset names of a task; default: `KINDS`, of images with one class.
    `quiet`: show no progress of downloading or unpacking.

    Raises UserError if the dataset can't be opened or can't be used for training.
    """
    kind, location = _parse(name, kinds)
    return kind.for_training(location, quiet=quiet)


def open_as_provided(name: str, *, quiet: bool = False) -> Dataset:
    """Open a dataset with the splits that its source provides, even if it can't be used for training.

    Raises UserError if it can't be opened.
    """
    kind, location = _parse(name)
    return kind.as_provided(location, quiet=quiet)


def open_with_assignment(
    name: str, assignment: SplitAssignment, classes: tuple[str, ...], kinds: "Mapping[str, Kind] | None" = None
) -> Dataset:
    """Open a dataset with the splits and the classes that a run has stored. Raises UserError if images are missing."""
    kind, location = _parse(name, kinds)
    return kind.for_evaluation(location, quiet=False).with_assignment(assignment).relabelled(classes)


def open_for_evaluation(name: str, classes: tuple[str, ...], kinds: "Mapping[str, Kind] | None" = None) -> Dataset:
    """Open a dataset for a model that was trained on other data: "test", and "validation" if the dataset has both.

    For images of your own, "test" has all of them; for a published dataset, it has those of its held-out split.

    `classes`: the classes of the model; the labels are indices into them.

    Raises UserError if an image has another class.
    """
    kind, location = _parse(name, kinds)
    dataset = kind.for_evaluation(location, quiet=False)
    held_out = {name: split for name, split in dataset.splits.items() if name != "train"}
    return replace(dataset, splits=held_out).relabelled(classes)


def is_same_source(a: str, b: str) -> bool:
    """Whether two dataset names refer to the same source, even if the path or the groups are written differently."""
    return _resolve(a) == _resolve(b)


def _resolve(name: str) -> tuple[str, Path | None]:
    kind, _, location = split_group_option(name)[0].partition(":")
    return kind, Path(location).expanduser().resolve() if location else None


@runtime_checkable
class _Opener(Protocol):
    def __call__(self, location: str, /, *, quiet: bool) -> Dataset:
        """Open the dataset at `location`, which is the text after the colon, or empty. Raises UserError."""
        ...


@dataclass(frozen=True)
class Kind:
    """One form of dataset name, and how it is opened.

    `spelling`: the form, with optional parts in brackets.
    `for_training`: opens train, validation and test.
    `for_evaluation`: opens all images; "test" has those that a model trained on other data is evaluated on.
    `as_provided`: opens the splits that the source provides.
    """

    spelling: str
    for_training: _Opener
    for_evaluation: _Opener
    as_provided: _Opener


def _with_standard_splits(spelling: str, opener: _Opener) -> Kind:
    """A published dataset with fixed splits."""
    return Kind(spelling, opener, opener, opener)


def user_images(spelling: str, reader: _Opener, with_splits: Callable[..., Dataset] = with_all_splits) -> Kind:
    """Images of the user, with any splits. A model trained on other data is evaluated on all of them."""
    return Kind(
        spelling,
        lambda location, *, quiet: with_splits(reader(location, quiet=quiet), quiet=quiet),
        lambda location, *, quiet: as_single_test_split(reader(location, quiet=quiet)),
        reader,
    )


def _with_name_groups(reader: _Opener) -> _Opener:
    """A reader of a location that may end in `:group=REGEX`."""

    def read(location: str, /, *, quiet: bool) -> Dataset:
        source, pattern = split_group_option(location)
        dataset = reader(source, quiet=quiet)
        return dataset if pattern is None else group_by_name(dataset, pattern)

    return read


def _published_images(spelling: str, reader: _Opener) -> Kind:
    """A published dataset, with any splits. A model trained on other data is evaluated on the held-out split."""
    return Kind(
        spelling,
        lambda location, *, quiet: with_all_splits(reader(location, quiet=quiet), quiet=quiet),
        lambda location, *, quiet: with_test_split(reader(location, quiet=quiet)),
        reader,
    )


def _torchvision_set(name: str) -> Kind:
    return _published_images(
        f"{name}[:PATH]",
        lambda location, *, quiet: read_torchvision_set(name, _optional_path(location), quiet=quiet),
    )


def _imagenet_variant(name: str) -> Kind:
    """A published test set, which a model can't be trained on."""

    def for_training(location: str, /, *, quiet: bool) -> Dataset:
        raise UserError(
            f"{name} is a test set and has no training images: train on imagenet or on your own images, and evaluate "
            f"the model on {name}."
        )

    def test_split(location: str, /, *, quiet: bool) -> Dataset:
        return open_imagenet_variant(name, _optional_path(location))

    return Kind(f"{name}[:PATH]", for_training, test_split, test_split)


def _path(location: str) -> Path:
    return Path(location).expanduser()


def _optional_path(location: str) -> Path | None:
    return _path(location) if location else None


KINDS = {
    "digits": _with_standard_splits("digits", lambda location, *, quiet: open_digits()),
    "cifar10": _with_standard_splits(
        "cifar10[:PATH]", lambda location, *, quiet: open_cifar10(_optional_path(location), quiet=quiet)
    ),
    "two-shapes": _with_standard_splits("two-shapes[:SEED]", lambda location, *, quiet: open_two_shapes(location)),
    "imagenet": Kind(
        "imagenet[:PATH]",
        lambda location, *, quiet: open_imagenet(_optional_path(location)),
        lambda location, *, quiet: open_imagenet_val(_optional_path(location)),
        lambda location, *, quiet: open_imagenet(_optional_path(location)),
    ),
    **{name: _imagenet_variant(name) for name in VARIANTS},
    **{name: _torchvision_set(name) for name in SETS},
    "folder": user_images("folder:PATH", _with_name_groups(lambda location, *, quiet: read_folder(_path(location)))),
    "audio": user_images("audio:PATH", lambda location, *, quiet: read_audio(location)),
    "spoken-digits": _published_images(
        "spoken-digits[:PATH][:test=REGEX]", lambda location, *, quiet: open_spoken_digits(location)
    ),
    "csv": user_images("csv:FILE", lambda location, *, quiet: read_csv(_path(location))),
    "tar": user_images(
        "tar:FILE", _with_name_groups(lambda location, *, quiet: read_tar(_path(location), quiet=quiet))
    ),
    "zip": user_images("zip:FILE", _with_name_groups(lambda location, *, quiet: read_zip(_path(location)))),
    "wds": user_images("wds:PATTERN", _with_name_groups(read_webdataset)),
    "parquet": user_images("parquet:PATTERN", read_parquet),
    "hf": _published_images("hf:NAME[:SPLIT]", read_hub_dataset),
    "tfds": _published_images("tfds:NAME[:SPLIT]", read_tfds),
}
"""The word before the colon -> how the dataset is opened. Error messages list these in order."""

SOUND_KINDS = ("audio", "spoken-digits")
"""Those of `KINDS` that are sounds."""


def _parse(name: str, kinds: Mapping[str, Kind] | None = None) -> tuple[Kind, str]:
    """The kind of a dataset name, and its location, which is the text after the colon. Raises UserError."""
    word, colon, location = name.partition(":")
    kinds = KINDS if kinds is None else kinds
    kind = kinds.get(word)
    if kind is None and word in KINDS:
        readable = ", ".join(kind.spelling for kind in kinds.values())
        raise UserError(f'data "{name}" has one class per image, but the task needs others: give one of {readable}.')
    if kind is None and word in ("text", "trec", "mr", "banking77", "clinc150"):
        raise UserError(
            f'data "{name}" has texts, but images are needed: with --task text, mixlab train and compare read them.'
        )
    if kind is None:
        is_folder = bool(name) and Path(name).expanduser().is_dir()
        hint = f'For the folder of that name, write "folder:{name}".' if is_folder else did_you_mean(word, kinds)
        known = ", ".join(kind.spelling for kind in kinds.values())
        raise UserError(f'data "{name}" is unknown: it must be one of {known}. {hint}'.rstrip())
    location_is_optional = not kind.spelling.startswith(f"{word}:")
    if colon and kind.spelling == word:
        raise UserError(f'data "{name}" has a path, but {word} is included in mixlab and has none: write "{word}".')
    if split_group_option(location)[0] or (location_is_optional and not colon):
        return kind, location
    way_out = f'"{word}:PATH" or "{word}"' if location_is_optional else f'"{kind.spelling}"'
    raise UserError(f'data "{name}" is incomplete: write {way_out}.')
