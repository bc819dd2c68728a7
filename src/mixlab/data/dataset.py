"""A dataset: classes, and parts of named images with labels. `mixlab.data.sources` opens one by a single string.

Images that lie in files are not read before `Part.image` asks for one or `Dataset.fingerprint` for all.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

from mixlab.data.image_file import Stored, read_image
from mixlab.errors import UserError, did_you_mean


@runtime_checkable
class Sized(Stored, Protocol):
    """An image's file inside something larger: an archive, a table."""

    @property
    def size(self) -> int:
        """Bytes, known without reading them."""
        ...


ImageSource = Path | Sized | np.ndarray
"""A file, read when it is asked for, or uint8 (row, column, RGB) in memory."""

SPLITS = ("train", "validation", "test")
"""The order in which a dataset has its parts."""

SplitAssignment = dict[str, list[str]]
"""The names of each part's images: what a run keeps, as JSON, to find its parts again."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, the name of its class, and its own, which is stable and relative to the dataset.

    `group`: what it shares with images that have to stay on its side of a cut, as a patient's number.
    """

    label: str
    name: str
    image: ImageSource
    group: str = ""


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels and their names, which are stable and relative to the dataset.

    `groups`: one an image, where they are known; what is of one origin stays on one side of every cut.
    """

    names: list[str]
    labels: Int64[np.ndarray, " image"]
    images: Sequence[ImageSource]
    groups: tuple[str, ...] = ()

    @staticmethod
    def of(found: Sequence[Sample], classes: tuple[str, ...]) -> "Split":
        place = {label: index for index, label in enumerate(classes)}
        return Split(
            names=[one.name for one in found],
            labels=np.array([place[one.label] for one in found], dtype=np.int64),
            images=[one.image for one in found],
            groups=tuple(one.group for one in found if one.group),
        )

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int | np.integer) -> UInt8[np.ndarray, "row column 3"]:
        """Raises UnreadableImage if the file is no whole image."""
        image = self.images[int(index)]
        return image if isinstance(image, np.ndarray) else read_image(image)

    def subset(self, indices: Sequence[int] | Int64[np.ndarray, " chosen"]) -> "Split":
        recommendation_summary = np.asarray(indices, dtype=np.int64)
        return Split(
            names=[self.names[i] for i in recommendation_summary],
            labels=self.labels[recommendation_summary],
            images=[self.images[i] for i in recommendation_summary],
            groups=tuple(self.groups[i] for i in recommendation_summary) if self.groups else (),
        )

    def concat(self, other: "Split") -> "Split":
        """This part's images, then the other's: train and validation, where nothing is selected."""
        return Split(
            names=[*self.names, *other.names],
            labels=np.concatenate([self.labels, other.labels]),
            images=[*self.images, *other.images],
            groups=(*self.groups, *other.groups),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """`splits` has "train", "validation" and "test", in this order; one that was opened to be judged, "test" alone.

    `name` opens it again from any working directory.
    `split_by_mixlab`: parts were cut out of what may change, as a folder may, so a run has to keep `assignment`.
    `notes`: sentences about what was done and left out.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    split_by_mixlab: bool = False

    @property
    def assignment(self) -> SplitAssignment:
        return {name: split.names for name, split in self.splits.items()}

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any class, part, name, label or byte of an image."""
        digest = hashlib.blake2b(digest_size=16)
        facts = [[name, split.names, split.labels.tolist()] for name, split in self.splits.items()]
        digest.update(json.dumps([self.classes, facts]).encode())
        for split in self.splits.values():
            for image in split.images:
                digest.update(content_digest(image))
        return digest.hexdigest()

    @cached_property
    def listing_digest(self) -> str:
        """32 hexadecimal digits that change with any class, part, name, label or size of an image's file.

        No image is read, so a set of any size has it soon.
        """
        digest = hashlib.blake2b(json.dumps(self.classes).encode(), digest_size=16)
        for name, split in self.splits.items():
            sizes = [stored_bytes(image) for image in split.images]
            digest.update(json.dumps([name, split.names, split.labels.tolist(), sizes]).encode())
        return digest.hexdigest()

    @property
    def summary(self) -> dict[str, Any]:
        """As JSON: the classes, how many images each part has, and the digest of their listing."""
        images = {name: len(split) for name, split in self.splits.items()}
        return {"classes": list(self.classes), "images": images, "listing": self.listing_digest}

    def merge_validation(self) -> "Dataset":
        """Validation joins the training images: a fixed recipe and the last weights leave nothing to select."""
        train = self.splits["train"]
        if "validation" in self.splits:
            train = train.concat(self.splits["validation"])
        return replace(self, splits={"train": train, "test": self.splits["test"]})

    def relabelled(self, classes: tuple[str, ...]) -> "Dataset":
        """The same images, labelled by their places in a model's `classes`."""
        present = {self.classes[label] for split in self.splits.values() for label in np.unique(split.labels)}
        unknown = sorted(present - set(classes))
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            hint = did_you_mean(unknown[0], classes)
            raise UserError(
                f"{self.name} has classes that the model does not know, {', '.join(unknown[:5])}{more}: rename or "
                f"remove their folders, or take a model that was trained on them. {hint}".rstrip()
            )
        places = np.array([classes.index(label) if label in present else -1 for label in self.classes], dtype=np.int64)
        splits = {name: replace(split, labels=places[split.labels]) for name, split in self.splits.items()}
        return replace(self, classes=classes, splits=splits)

    def with_assignment(self, assignment: SplitAssignment) -> "Dataset":
        """The same images in the parts of a stored split; those that it does not name are left out."""
        everything = reduce(Split.concat, self.splits.values())
        place = {name: index for index, name in enumerate(everything.names)}
        missing = [name for names in assignment.values() for name in names if name not in place]
        if missing:
            raise UserError(
                f"{self.name} lacks {len(missing)} of the images that the run's split names, such as {missing[0]}: "
                "put them back, or train again on what is there."
            )
        splits = {split: everything.subset([place[name] for name in names]) for split, names in assignment.items()}
        new = len(everything) - sum(len(split) for split in splits.values())
        note = (f"Left out because they came after the run's split was made: {new:,} of its images.",) if new else ()
        return replace(self, splits=splits, notes=self.notes + note)


def stored_bytes(image: ImageSource) -> int:
    if isinstance(image, np.ndarray):
        return image.nbytes
    if isinstance(image, Path):
        return image.stat().st_size if image.exists() else 0  # a link may lead nowhere
    return image.size


def content_digest(image: ImageSource) -> bytes:
    """16 bytes that two images share only if their bytes are equal."""
    if isinstance(image, np.ndarray):
        content = repr(image.shape).encode() + image.tobytes()
    else:
        try:
            content = image.read_bytes()
        except OSError:  # it is named, with the reason, where it is read as an image
            content = b""
    return hashlib.blake2b(content, digest_size=16).digest()
