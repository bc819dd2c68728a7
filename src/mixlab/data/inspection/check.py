"""What is in a set of images, before anything learns from it: every image is read once, by several processes.

check = check_images(open_as_found("folder:pets"))
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
from mixlab.data.image_file import UnreadableImage, image_kinds, read_image
from mixlab.data.inspection.near_duplicates import ImageHash, Pair, connected_groups, near_duplicates, perceptual_hash
from mixlab.data.splits import with_all_splits
from mixlab.errors import UserError
from mixlab.report.progress import progress

_MIN_IMAGES_PER_PROCESS = 500
"""Fewer images are read before another process has begun."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageInfo:
    """What one image is: its size as it is seen, upright; what is unusual about its file; its bytes' digest."""

    rows: int
    columns: int
    kinds: tuple[str, ...]
    digest: bytes
    hash: ImageHash


@dataclass(frozen=True, slots=True)
class Member:
    """An image of the set, by its place in a part."""

    split: str
    index: int
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Images that are one: of equal bytes (`exact`), or some of them nearly so. The first comes first in the set."""

    members: tuple[Member, ...]
    exact: bool

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(member.split for member in self.members))

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(member.label for member in self.members))


@dataclass(frozen=True, eq=False)
class Check:
    """`infos`: one an image, part after part, as `members`; why it can't be read, where it can't."""

    dataset: Dataset
    members: Sequence[Member]
    infos: Sequence[ImageInfo | str]
    pairs: Sequence[Pair]  # places in `members` of images that are nearly the same; of equal ones the first stands

    @cached_property
    def unreadable(self) -> list[tuple[Member, str]]:
        return [(member, info) for member, info in self._both if isinstance(info, str)]

    @cached_property
    def blank(self) -> list[Member]:
        """Those of one shade."""
        return [member for member, info in self._both if isinstance(info, ImageInfo) and info.hash.bits is None]

    @cached_property
    def groups(self) -> list[DuplicateGroup]:
        """Those that lie in several parts first, then those of several classes, then the largest."""
        near = {place for pair in self.pairs for place in (pair.first, pair.second)}
        copies = [(first, place) for (first, _), *others in _by_bytes(self.infos) for place, _ in others]
        found = connected_groups([*copies, *((pair.first, pair.second) for pair in self.pairs)], len(self.members))
        groups = [
            DuplicateGroup(tuple(self.members[place] for place in places), exact=near.isdisjoint(places))
            for places in found
        ]
        return sorted(groups, key=lambda group: (-len(group.splits), -len(group.labels), -len(group.members)))

    @property
    def across_parts(self) -> list[DuplicateGroup]:
        return [group for group in self.groups if len(group.splits) > 1]

    @property
    def across_classes(self) -> list[DuplicateGroup]:
        return [group for group in self.groups if len(group.labels) > 1]

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many images are of each unusual kind."""
        return Counter(kind for info in self._read for kind in info.kinds)

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "image 2"]:
        """Rows and columns of those that can be read."""
        return np.array([(info.rows, info.columns) for info in self._read], dtype=np.int64).reshape(-1, 2)

    def counts(self, split: str) -> dict[str, int]:
        """Images of each class, also where they can't be read."""
        counted = np.bincount(self.dataset.splits[split].labels, minlength=len(self.dataset.classes))
        return dict(zip(self.dataset.classes, counted.tolist(), strict=True))

    @cached_property
    def training_error(self) -> str:
        """Why no model could be trained on the set as it is; nothing where one could."""
        try:
            with_all_splits(self.dataset)
        except UserError as error:
            return str(error)
        return ""

    @property
    def _both(self) -> Iterator[tuple[Member, ImageInfo | str]]:
        return zip(self.members, self.infos, strict=True)

    @property
    def _read(self) -> Iterator[ImageInfo]:
        return (info for info in self.infos if isinstance(info, ImageInfo))


def check_images(dataset: Dataset, *, workers: int, quiet: bool) -> Check:
    """`workers`: processes that read, where there are enough images for several."""
    members = [
        Member(name, index, split.names[index], dataset.classes[split.labels[index]])
        for name, split in dataset.splits.items()
        for index in range(len(split))
    ]
    images = chain.from_iterable(split.images for split in dataset.splits.values())
    infos: list[ImageInfo | str] = []
    with (
        progress("check images", total=len(members), quiet=quiet) as advance,
        _processes(workers, len(members)) as mapped,
    ):
        for info in mapped(_read_info, images):
            infos.append(info)
            advance()
    return Check(dataset, members, infos, _near_pairs(infos))


_Mapped = Callable[[Callable[[ImageSource], ImageInfo | str], Iterable[ImageSource]], Iterable[ImageInfo | str]]


@contextmanager
def _processes(workers: int, images: int) -> Iterator[_Mapped]:
    """A `map` by so many processes, or by this one where others would not be worth their beginning."""
    workers = min(workers, images // _MIN_IMAGES_PER_PROCESS)
    if workers < 2:
        yield map
        return
    # Ctrl-C is for this process alone, which then lets go of what is not read yet.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=signal, initargs=(SIGINT, SIG_IGN))
    try:
        yield partial(pool.map, chunksize=32)
    except BrokenProcessPool as error:
        raise UserError(
            "A process that read images was killed, as happens where memory runs out: check with fewer, such as "
            "--workers 1."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _read_info(source: ImageSource) -> ImageInfo | str:
    if isinstance(source, np.ndarray):
        return _image_info(source, (), content_digest(source))
    try:
        content = source.read_bytes()
        image = read_image(content)
    except UnreadableImage as error:
        return error.reason
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return _image_info(image, image_kinds(content), blake2b(content, digest_size=16).digest())


def _image_info(image: UInt8[np.ndarray, "row column 3"], kinds: tuple[str, ...], digest: bytes) -> ImageInfo:
    rows, columns, _ = image.shape
    return ImageInfo(rows, columns, kinds, digest, perceptual_hash(image))


def _by_bytes(infos: Sequence[ImageInfo | str]) -> list[list[tuple[int, ImageHash]]]:
    """The places and the looks of readable images, with those that are equal together."""
    same: dict[bytes, list[tuple[int, ImageHash]]] = {}
    for place, info in enumerate(infos):
        if isinstance(info, ImageInfo):
            same.setdefault(info.digest, []).append((place, info.hash))
    return list(same.values())


def _near_pairs(infos: Sequence[ImageInfo | str]) -> list[Pair]:
    """Of equal images the first is compared."""
    firsts = [same[0] for same in _by_bytes(infos)]
    places, hashes = [place for place, _ in firsts], [hash for _, hash in firsts]
    return [replace(pair, first=places[pair.first], second=places[pair.second]) for pair in near_duplicates(hashes)]
