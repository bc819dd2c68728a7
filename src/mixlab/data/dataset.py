"""Datasets: classes, and splits of named images with labels. `mixlab.data.sources` opens one from a single string.

Image files are read lazily: by `Split.image` one at a time, or by `Dataset.fingerprint` all at once.
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

from mixlab.data.audio.sound_file import Sound
from mixlab.data.audio.spectrogram import Spectrogram, read_spectrogram
from mixlab.data.deep_image import ValueRange
from mixlab.data.image_file import ReadableFile, UnreadableImage, read_image
from mixlab.data.labels import Labels, contents, joined, listing, present_classes, with_other_classes
from mixlab.data.rng import epoch_order
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import pluralize


@runtime_checkable
class ContainedFile(ReadableFile, Protocol):
    """An image file inside a container such as an archive or a table."""

    @property
    def size(self) -> int:
        """Size in bytes, known without reading the file."""
        ...


ImageSource = Path | ContainedFile | np.ndarray
"""An image file, which is read on access, or a uint8 array (row, column, RGB) in memory."""

EMPTY_DIGEST = hashlib.blake2b(b"", digest_size=16).digest()
"""The `content_digest` of a file that is empty or can't be read."""

Decoding = ValueRange | Spectrogram | None
"""What decides the pixels of a file: the value range of `read_image`, or the spectrogram of a sound."""

SPLITS = ("train", "validation", "test")
"""The names of the splits, in the order in which a dataset stores them."""

SplitAssignment = dict[str, list[str]]
"""The image names of each split. A run stores it as JSON, so that the same splits can be restored later."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    `label`: the name of its class.
    `name`: a stable name of the image, relative to the dataset.
    `group`: images of the same group, such as those of one patient, are never separated by a split; empty if unknown.
    """

    label: str
    name: str
    image: ImageSource
    group: str = ""


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, with their labels and names.

    `names`: stable names of the images, relative to the dataset.
    `labels`: indices into the dataset's classes, or with several labels per image, one row of booleans per image, or
        the masks of the images.
    `groups`: one group per image, empty if unknown. Images of the same group are never separated by a split.
    """

    names: list[str]
    labels: Labels
    images: Sequence[ImageSource]
    groups: tuple[str, ...] = ()

    @staticmethod
    def from_samples(samples: Sequence[Sample], classes: tuple[str, ...]) -> "Split":
        """Convert samples to a split. All of their labels must be in `classes`."""
        class_index = {label: index for index, label in enumerate(classes)}
        return Split(
            names=[sample.name for sample in samples],
            labels=np.array([class_index[sample.label] for sample in samples], dtype=np.int64),
            images=[sample.image for sample in samples],
            groups=tuple(sample.group for sample in samples if sample.group),
        )

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int | np.integer, decoding: Decoding = None) -> UInt8[np.ndarray, "row column 3"]:
        """Read one image as RGB.

        Raises UnreadableImage if its file can't be decoded.
        """
        return decoded(self.images[int(index)], decoding)

    def subset(self, indices: Sequence[int] | Int64[np.ndarray, " selected"]) -> "Split":
        """The images at `indices`, in that order."""
        selected = np.asarray(indices, dtype=np.int64)
        return Split(
            names=[self.names[i] for i in selected],
            labels=self.labels[selected],
            images=[self.images[i] for i in selected],
            groups=tuple(self.groups[i] for i in selected) if self.groups else (),
        )

    def sample_indices(self, maximum: int) -> Int64[np.ndarray, " selected"]:
        """Sorted indices of at most `maximum` images, chosen at random, always the same ones."""
        return np.sort(epoch_order(0, 0, len(self))[:maximum])

    def concat(self, other: "Split") -> "Split":
        """The images of this split, followed by those of `other`."""
        return Split(
            names=[*self.names, *other.names],
            labels=joined(self.labels, other.labels),
            images=[*self.images, *other.images],
            groups=(*self.groups, *other.groups),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Classes and splits.

    `name`: the string that opens this dataset again, from any working directory.
    `splits`: "train", "validation" and "test", in this order; "test" alone if opened for evaluation only.
    `notes`: sentences for the user about images that were held out or skipped.
    `split_by_mixlab`: whether mixlab made the splits from a source that may change, such as a folder. A run must then
        store `assignment` to restore them.
    `noun`: what a sample is, for sentences: "image", "sound" or "text". A sound is an image after decoding.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    split_by_mixlab: bool = False
    noun: str = "image"

    @property
    def assignment(self) -> SplitAssignment:
        """The image names of each split."""
        return {name: split.names for name, split in self.splits.items()}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the classes, splits, names, labels and the bytes of all images: 32 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=16)
        labelled = [[name, split.names, contents(split.labels)] for name, split in self.splits.items()]
        digest.update(json.dumps([self.classes, labelled]).encode())
        for split in self.splits.values():
            for image in split.images:
                digest.update(content_digest(image))
        return digest.hexdigest()

    @cached_property
    def listing_digest(self) -> str:
        """A hash of the classes, splits, names, labels and file sizes: 32 hexadecimal digits.

        No image is read, so it is fast for datasets of any size.
        """
        digest = hashlib.blake2b(json.dumps(self.classes).encode(), digest_size=16)
        for name, split in self.splits.items():
            sizes = [stored_bytes(image) for image in split.images]
            digest.update(json.dumps([name, split.names, listing(split.labels), sizes]).encode())
        return digest.hexdigest()

    @property
    def summary(self) -> dict[str, Any]:
        """The classes, the number of images of each split and `listing_digest`, as JSON values."""
        images = {name: len(split) for name, split in self.splits.items()}
        return {"classes": list(self.classes), "images": images, "listing": self.listing_digest}

    def merge_validation(self) -> "Dataset":
        """Add the validation images to the training images, for a training that selects nothing on validation.

        The result is always the same object.
        """
        return self._merged

    @cached_property
    def _merged(self) -> "Dataset":
        train = self.splits["train"]
        if "validation" in self.splits:
            train = train.concat(self.splits["validation"])
        return replace(self, splits={"train": train, "test": self.splits["test"]})

    def relabelled(self, classes: tuple[str, ...]) -> "Dataset":
        """The same images, with labels that are indices into a model's `classes`.

        Raises UserError if an image has a class that is not among them.
        """
        present = {self.classes[label] for split in self.splits.values() for label in present_classes(split.labels)}
        unknown = sorted(present - set(classes))
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            hint = did_you_mean(unknown[0], classes)
            raise UserError(
                f"{self.name} has classes that the model was not trained on: {', '.join(unknown[:5])}{more}. Rename or "
                f"remove them, or choose a model that was trained on these classes. {hint}".rstrip()
            )
        new_index = np.array(
            [classes.index(label) if label in present else -1 for label in self.classes], dtype=np.int64
        )
        splits = {
            name: replace(split, labels=with_other_classes(split.labels, new_index, len(classes)))
            for name, split in self.splits.items()
        }
        return replace(self, classes=classes, splits=splits)

    def with_assignment(self, assignment: SplitAssignment) -> "Dataset":
        """Restore the splits of a stored assignment. Images that it does not name are skipped.

        Raises UserError if an image that it names is missing.
        """
        everything = reduce(Split.concat, self.splits.values())
        index_of = {name: index for index, name in enumerate(everything.names)}
        missing = [name for names in assignment.values() for name in names if name not in index_of]
        if missing:
            raise UserError(
                f"{self.name} lacks {len(missing)} of the {self.noun}s in the run's stored split, such as "
                f"{missing[0]}: restore them, or train again on the current {self.noun}s."
            )
        splits = {split: everything.subset([index_of[name] for name in names]) for split, names in assignment.items()}
        new = len(everything) - sum(len(split) for split in splits.values())
        note = (
            (f"Skipped because they were added after the run's split was made: {pluralize(new, self.noun)}.",)
            if new
            else ()
        )
        return replace(self, splits=splits, notes=self.notes + note)


def decoded(image: ImageSource, decoding: Decoding = None) -> UInt8[np.ndarray, "row column 3"]:
    """The pixels of an image. Raises UnreadableImage, also for a sound without the settings of a spectrogram."""
    if isinstance(image, np.ndarray):
        return image
    if isinstance(decoding, Spectrogram):
        return read_spectrogram(image, decoding)
    if isinstance(image, Sound):
        raise UnreadableImage(str(image), "it is a sound, but the model is for images")
    return read_image(image, decoding)


def stored_bytes(image: ImageSource) -> int:
    """Size in bytes of an image's file, or of its array; 0 for a file that does not exist or can't be accessed."""
    if isinstance(image, np.ndarray):
        return image.nbytes
    if isinstance(image, Path):
        try:
            return image.stat().st_size
        except OSError:  # for example a broken symbolic link
            return 0
    return image.size


def content_digest(image: ImageSource) -> bytes:
    """16 bytes that are equal for two images only if their bytes are equal, or if neither can be read."""
    if isinstance(image, np.ndarray):
        content = repr(image.shape).encode() + image.tobytes()
    else:
        try:
            content = image.read_bytes()
        except OSError:  # reported later, when the file is decoded
            content = b""
    return hashlib.blake2b(content, digest_size=16).digest()
