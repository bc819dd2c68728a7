"""Checks of a dataset before training. Every image is read once, by several processes.

check = check_images(open_as_provided("folder:pets"), workers=4, quiet=False)
check.unreadable, check.groups, check.counts("train")
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import chain
from multiprocessing import get_context
from signal import SIG_IGN, SIGINT, signal

import numpy as np
from jaxtyping import Int64, UInt8

from mixlab.data.dataset import Dataset, ImageSource, content_digest
from mixlab.data.image_file import (
    DeepValues,
    UnreadableImage,
    deep_values,
    image_kinds,
    read_image,
    reason_for_no_content,
)
from mixlab.data.inspection.near_duplicates import ImageHash, Pair, connected_groups, near_duplicates, perceptual_hash
from mixlab.data.splits import require_trainable
from mixlab.errors import UserError
from mixlab.report.progress import progress

_MIN_IMAGES_PER_PROCESS = 500
"""Fewer images are read faster than another process can start."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageInfo:
    """Facts about a readable image.

    `rows`, `columns`: the size in pixels, after the EXIF orientation was applied.
    `kinds`: unusual properties of its file, such as "CMYK".
    `digest`: the hash of its bytes.
    `deep`: its values if it has more than 8 bits, else None.
    """

    rows: int
    columns: int
    kinds: tuple[str, ...]
    digest: bytes
    hash: ImageHash
    deep: DeepValues | None


@dataclass(frozen=True, slots=True)
class Member:
    """An image of the dataset: its split, index in the split, name and class."""

    split: str
    index: int
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Copies of one image, in the order of the dataset.

    `exact`: whether all have equal bytes; otherwise some are near duplicates.
    """

    members: tuple[Member, ...]
    exact: bool

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of its images."""
        return tuple(dict.fromkeys(member.split for member in self.members))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of its images."""
        return tuple(dict.fromkeys(member.label for member in self.members))


@dataclass(frozen=True, eq=False)
class Check:
    """The result of a check.

    `members`: all images, split by split.
    `infos`: for each of them, the facts, or the reason why it can't be read.
    `pairs`: near duplicates, as indices into `members`. Images with equal bytes are represented by the first.
    """

    dataset: Dataset
    members: Sequence[Member]
    infos: Sequence[ImageInfo | str]
    pairs: Sequence[Pair]

    @cached_property
    def unreadable(self) -> list[tuple[Member, str]]:
        """The images that can't be read, with the reason."""
        return [(member, info) for member, info in self._members_and_infos if isinstance(info, str)]

    @cached_property
    def blank(self) -> list[Member]:
        """The images with a single colour."""
        return [
            member for member, info in self._members_and_infos if isinstance(info, ImageInfo) and info.hash.bits is None
        ]

    @cached_property
    def groups(self) -> list[DuplicateGroup]:
        """Groups of copies: first those in several splits, then those in several classes, then the largest."""
        near = {index for pair in self.pairs for index in (pair.first, pair.second)}
        equal = [(first, index) for (first, _), *others in _group_by_digest(self.infos) for index, _ in others]
        components = connected_groups([*equal, *((pair.first, pair.second) for pair in self.pairs)], len(self.members))
        groups = [
            DuplicateGroup(tuple(self.members[index] for index in indices), exact=near.isdisjoint(indices))
            for indices in components
        ]
        return sorted(groups, key=lambda group: (-len(group.splits), -len(group.labels), -len(group.members)))

    @property
    def across_splits(self) -> list[DuplicateGroup]:
        """The groups in more than one split."""
        return [group for group in self.groups if len(group.splits) > 1]

    @property
    def across_classes(self) -> list[DuplicateGroup]:
        """The groups in more than one class."""
        return [group for group in self.groups if len(group.labels) > 1]

    @cached_property
    def kinds(self) -> Counter[str]:
        """The number of images of each unusual kind."""
        return Counter(kind for info in self._readable for kind in info.kinds)

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "image 2"]:
        """Rows and columns of each readable image."""
        return np.array([(info.rows, info.columns) for info in self._readable], dtype=np.int64).reshape(-1, 2)

    @cached_property
    def deep(self) -> list[DeepValues]:
        """The values of the images with more than 8 bits."""
        return [info.deep for info in self._readable if info.deep is not None]

    def counts(self, split: str) -> dict[str, int]:
        """The number of images of each class in a split, including unreadable ones."""
        counts = np.bincount(self.dataset.splits[split].labels, minlength=len(self.dataset.classes))
        return dict(zip(self.dataset.classes, counts.tolist(), strict=True))

    @cached_property
    def training_error(self) -> str:
        """The reason why no model can be trained on the dataset; empty if one can."""
        try:
            require_trainable(self.dataset)
        except UserError as error:
            return str(error)
        return ""

    @property
    def _members_and_infos(self) -> Iterator[tuple[Member, ImageInfo | str]]:
        return zip(self.members, self.infos, strict=True)

    @property
    def _readable(self) -> Iterator[ImageInfo]:
        return (info for info in self.infos if isinstance(info, ImageInfo))


def check_images(dataset: Dataset, *, workers: int, quiet: bool) -> Check:
    """Read and compare all images.

    `workers`: the maximum number of processes; fewer are started for few images.
    `quiet`: show no progress.

    Raises UserError if a process is killed.
    """
    members = [
        Member(name, index, split.names[index], dataset.classes[split.labels[index]])
        for name, split in dataset.splits.items()
        for index in range(len(split))
    ]
    images = chain.from_iterable(split.images for split in dataset.splits.values())
    infos: list[ImageInfo | str] = []
    with (
        progress("check images", total=len(members), quiet=quiet) as advance,
        _processes(workers, len(members)) as parallel_map,
    ):
        for info in parallel_map(_read_info, images):
            infos.append(info)
            advance()
    return Check(dataset, members, infos, _near_pairs(infos))


_ParallelMap = Callable[[Callable[[ImageSource], ImageInfo | str], Iterable[ImageSource]], Iterable[ImageInfo | str]]


@contextmanager
def _processes(workers: int, images: int) -> Iterator[_ParallelMap]:
    """A parallel `map` over at most `workers` processes, or the built-in one if there are too few images."""
    workers = min(workers, images // _MIN_IMAGES_PER_PROCESS)
    if workers < 2:
        yield map
        return
    # Workers ignore Ctrl-C: this process handles it and cancels the images that are not read yet.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=signal, initargs=(SIGINT, SIG_IGN))
    try:
        yield partial(pool.map, chunksize=32)
    except BrokenProcessPool as error:
        raise UserError(
            "A process that read images was killed, probably because memory ran out: use fewer processes, for example "
            "--workers 1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _read_info(source: ImageSource) -> ImageInfo | str:
    if isinstance(source, np.ndarray):
        return _image_info(source, (), content_digest(source), None)
    try:
        content = source.read_bytes()
        deep = deep_values(content)
        image = read_image(content, deep and deep.used)  # near duplicates may differ in brightness
    except UnreadableImage as error:
        return error.reason
    except OSError as error:
        return reason_for_no_content(error)
    digest = blake2b(content, digest_size=16).digest()
    return _image_info(image, image_kinds(content), digest, deep)


def _image_info(
    image: UInt8[np.ndarray, "row column 3"], kinds: tuple[str, ...], digest: bytes, deep: DeepValues | None
) -> ImageInfo:
    rows, columns, _ = image.shape
    return ImageInfo(rows, columns, kinds, digest, perceptual_hash(image), deep)


def _group_by_digest(infos: Sequence[ImageInfo | str]) -> list[list[tuple[int, ImageHash]]]:
    """The indices and hashes of readable images, grouped by equal bytes."""
    same: dict[bytes, list[tuple[int, ImageHash]]] = {}
    for index, info in enumerate(infos):
        if isinstance(info, ImageInfo):
            same.setdefault(info.digest, []).append((index, info.hash))
    return list(same.values())


def _near_pairs(infos: Sequence[ImageInfo | str]) -> list[Pair]:
    """Near duplicates, as indices into `infos`. Of images with equal bytes, only the first is compared."""
    firsts = [same[0] for same in _group_by_digest(infos)]
    indices, hashes = [index for index, _ in firsts], [hash for _, hash in firsts]
    return [replace(pair, first=indices[pair.first], second=indices[pair.second]) for pair in near_duplicates(hashes)]
