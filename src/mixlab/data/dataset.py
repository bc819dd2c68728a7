"""A dataset: classes, and parts of named pictures with labels; `open_dataset` opens one by a single string.

Names: `digits`, `cifar10`, `cifar10:PATH`, `folder:PATH`. The parts are "train", "validation" and "test". Nothing is
decoded before `Part.image` asks for it, and `Dataset.fingerprint` reads every picture once, when it is first asked for.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from mixlab.data.image_file import read_image
from mixlab.errors import UserError

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

    def image(self, index: int) -> UInt8[np.ndarray, "row column 3"]:
        """Raises UnreadablePicture if the file is no whole picture."""
        picture = self.pictures[index]
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
    """`parts` has "train", "validation" and "test"; one opened whole has "test" alone."""

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()

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


def content_digest(picture: Picture) -> bytes:
    """16 bytes that two pictures share only if their bytes are equal."""
    content = picture.read_bytes() if isinstance(picture, Path) else picture.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()


def open_dataset(name: str) -> Dataset:
    # Each source builds on the classes above, so it is imported where it is opened.
    from mixlab.data.digits import open_digits

    if name == "digits":
        return open_digits()
    raise UserError(f'data "{name}" is not known: the known sets are digits, cifar10 and folder:PATH.')
