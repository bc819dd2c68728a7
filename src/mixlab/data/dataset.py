"""A dataset: classes, and parts of named pictures with labels; `open_dataset` opens one by a single string.

Names: `digits`, `cifar10`, `cifar10:PATH`, `folder:PATH`. A folder's pictures are not read before `Part.image` asks for
one or `Dataset.fingerprint` for all.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from mixlab.data.image_file import read_image
from mixlab.errors import UserError, did_you_mean

Picture = Path | np.ndarray
"""A file, read when it is asked for, or uint8 (row, column, RGB) in memory."""

Split = dict[str, list[str]]
"""The names of each part's pictures: what a run keeps, as JSON, to find its parts again."""


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures with their labels and their names, which are stable and relative to the dataset."""

    names: list[str]
    labels: Int64[np.ndarray, " picture"]
    pictures: Sequence[Picture]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int | np.integer) -> UInt8[np.ndarray, "row column 3"]:
        """Raises UnreadablePicture if the file is no whole picture."""
        picture = self.pictures[int(index)]
        return read_image(picture) if isinstance(picture, Path) else picture

    def subset(self, indices: Sequence[int] | Int64[np.ndarray, " chosen"]) -> "Part":
        chosen = np.asarray(indices, dtype=np.int64)
        return Part(
            names=[self.names[i] for i in chosen],
            labels=self.labels[chosen],
            pictures=[self.pictures[i] for i in chosen],
        )

    def joined(self, other: "Part") -> "Part":
        """This part's pictures, then the other's: train and validation, where nothing is selected."""
        return Part(
            names=[*self.names, *other.names],
            labels=np.concatenate([self.labels, other.labels]),
            pictures=[*self.pictures, *other.pictures],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """`parts` has "train", "validation" and "test", in this order; one that was opened to be judged, "test" alone.

    `name` opens it again from any working directory.
    `cut_here`: parts were cut out of a folder, which may change, so a run has to keep `split`.
    `notes`: sentences about what was done and left out.
    """

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()
    cut_here: bool = False

    @property
    def split(self) -> Split:
        return {name: part.names for name, part in self.parts.items()}

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any class, part, name, label or byte of a picture."""
        digest = hashlib.blake2b(digest_size=16)
        facts = [[name, part.names, part.labels.tolist()] for name, part in self.parts.items()]
        digest.update(json.dumps([self.classes, facts]).encode())
        for part in self.parts.values():
            for picture in part.pictures:
                digest.update(content_digest(picture))
        return digest.hexdigest()

    def relabelled(self, classes: tuple[str, ...]) -> "Dataset":
        """The same pictures, labelled by their places in a model's `classes`."""
        present = {self.classes[label] for part in self.parts.values() for label in np.unique(part.labels)}
        unknown = sorted(present - set(classes))
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            hint = did_you_mean(unknown[0], classes)
            raise UserError(
                f"{self.name} has classes that the model does not know, {', '.join(unknown[:5])}{more}: rename or "
                f"remove their folders, or take a model that was trained on them. {hint}".rstrip()
            )
        places = np.array([classes.index(label) if label in present else -1 for label in self.classes], dtype=np.int64)
        parts = {name: replace(part, labels=places[part.labels]) for name, part in self.parts.items()}
        return replace(self, classes=classes, parts=parts)

    def laid_out(self, split: Split) -> "Dataset":
        """The same pictures in the parts of a stored split; those that it does not name are left out."""
        everything = reduce(Part.joined, self.parts.values())
        place = {name: index for index, name in enumerate(everything.names)}
        missing = [name for names in split.values() for name in names if name not in place]
        if missing:
            raise UserError(
                f"{self.name} lacks {len(missing)} of the pictures that the run's split names, such as {missing[0]}: "
                "put them back, or train again on what is there."
            )
        parts = {part: everything.subset([place[name] for name in names]) for part, names in split.items()}
        new = len(everything) - sum(len(part) for part in parts.values())
        note = (f"Left out because they came after the run's split was made: {new:,} of its pictures.",) if new else ()
        return replace(self, parts=parts, notes=self.notes + note)


def content_digest(picture: Picture) -> bytes:
    """16 bytes that two pictures share only if their bytes are equal."""
    if isinstance(picture, np.ndarray):
        content = repr(picture.shape).encode() + picture.tobytes()
    else:
        try:
            content = picture.read_bytes()
        except OSError:  # it is named, with the reason, where it is read as a picture
            content = b""
    return hashlib.blake2b(content, digest_size=16).digest()


def open_dataset(name: str, *, quiet: bool = False) -> Dataset:
    """The set with the parts that a training needs. Raises UserError; `quiet` shows no progress of long unpacking."""
    # Each source builds on the classes above, so it is imported where it is opened.
    kind, colon, path = name.partition(":")
    if kind == "digits" and not colon:
        from mixlab.data.digits import open_digits

        return open_digits()
    if kind == "cifar10" and (path or not colon):
        from mixlab.data.cifar10 import open_cifar10

        return open_cifar10(Path(path).expanduser() if path else None, quiet=quiet)
    if kind == "folder" and path:
        from mixlab.data.folder import open_folder

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
        from mixlab.data.folder import open_whole_folder

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
