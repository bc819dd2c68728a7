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
from mixlab.data.image_file import UnreadableImage, kinds_of, read_image
from mixlab.data.inspection.near_duplicates import Look, Pair, linked, look_of, near_duplicates
from mixlab.data.splits import completed
from mixlab.errors import UserError
from mixlab.report.progress import progress

_WORTH_A_PROCESS = 500
"""Fewer images are read before another process has begun."""


@dataclass(frozen=True, eq=False, slots=True)
class Facts:
    """What one image is: its size as it is seen, upright; what is unusual about its file; its bytes' digest."""

    rows: int
    columns: int
    kinds: tuple[str, ...]
    digest: bytes
    look: Look


@dataclass(frozen=True, slots=True)
class Member:
    """An image of the set, by its place in a part."""

    part: str
    index: int
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are one: of equal bytes (`exact`), or some of them nearly so. The first comes first in the set."""

    members: tuple[Member, ...]
    exact: bool

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(member.part for member in self.members))

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(member.label for member in self.members))


@dataclass(frozen=True, eq=False)
class Check:
    """`facts`: one an image, part after part, as `members`; why it can't be read, where it can't."""

    dataset: Dataset
    members: Sequence[Member]
    facts: Sequence[Facts | str]
    pairs: Sequence[Pair]  # places in `members` of images that are nearly the same; of equal ones the first stands

    @cached_property
    def unreadable(self) -> list[tuple[Member, str]]:
        return [(member, fact) for member, fact in self._both if isinstance(fact, str)]

    @cached_property
    def plain(self) -> list[Member]:
        """Those of one shade."""
        return [member for member, fact in self._both if isinstance(fact, Facts) and fact.look.bits is None]

    @cached_property
    def groups(self) -> list[Group]:
        """Those that lie in several parts first, then those of several classes, then the largest."""
        near = {place for pair in self.pairs for place in (pair.first, pair.second)}
        copies = [(first, place) for (first, _), *others in _by_bytes(self.facts) for place, _ in others]
        found = linked([*copies, *((pair.first, pair.second) for pair in self.pairs)], len(self.members))
        groups = [
            Group(tuple(self.members[place] for place in places), exact=near.isdisjoint(places)) for places in found
        ]
        return sorted(groups, key=lambda group: (-len(group.parts), -len(group.labels), -len(group.members)))

    @property
    def across_parts(self) -> list[Group]:
        return [group for group in self.groups if len(group.parts) > 1]

    @property
    def across_classes(self) -> list[Group]:
        return [group for group in self.groups if len(group.labels) > 1]

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many images are of each unusual kind."""
        return Counter(kind for fact in self._read for kind in fact.kinds)

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "image 2"]:
        """Rows and columns of those that can be read."""
        return np.array([(fact.rows, fact.columns) for fact in self._read], dtype=np.int64).reshape(-1, 2)

    def counts(self, part: str) -> dict[str, int]:
        """Images of each class, also where they can't be read."""
        counted = np.bincount(self.dataset.parts[part].labels, minlength=len(self.dataset.classes))
        return dict(zip(self.dataset.classes, counted.tolist(), strict=True))

    @cached_property
    def refusal(self) -> str:
        """Why no model could be trained on the set as it is; nothing where one could."""
        try:
            completed(self.dataset)
        except UserError as error:
            return str(error)
        return ""

    @property
    def _both(self) -> Iterator[tuple[Member, Facts | str]]:
        return zip(self.members, self.facts, strict=True)

    @property
    def _read(self) -> Iterator[Facts]:
        return (fact for fact in self.facts if isinstance(fact, Facts))


def check_images(dataset: Dataset, *, workers: int, quiet: bool) -> Check:
    """`workers`: processes that read, where there are enough images for several."""
    members = [
        Member(name, index, part.names[index], dataset.classes[part.labels[index]])
        for name, part in dataset.parts.items()
        for index in range(len(part))
    ]
    images = chain.from_iterable(part.images for part in dataset.parts.values())
    facts: list[Facts | str] = []
    with (
        progress("check images", total=len(members), quiet=quiet) as advance,
        _processes(workers, len(members)) as mapped,
    ):
        for fact in mapped(_facts_of, images):
            facts.append(fact)
            advance()
    return Check(dataset, members, facts, _near_pairs(facts))


_Mapped = Callable[[Callable[[ImageSource], Facts | str], Iterable[ImageSource]], Iterable[Facts | str]]


@contextmanager
def _processes(workers: int, images: int) -> Iterator[_Mapped]:
    """A `map` by so many processes, or by this one where others would not be worth their beginning."""
    workers = min(workers, images // _WORTH_A_PROCESS)
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


def _facts_of(source: ImageSource) -> Facts | str:
    if isinstance(source, np.ndarray):
        return _facts(source, (), content_digest(source))
    try:
        content = source.read_bytes()
        image = read_image(content)
    except UnreadableImage as error:
        return error.reason
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return _facts(image, kinds_of(content), blake2b(content, digest_size=16).digest())


def _facts(image: UInt8[np.ndarray, "row column 3"], kinds: tuple[str, ...], digest: bytes) -> Facts:
    rows, columns, _ = image.shape
    return Facts(rows, columns, kinds, digest, look_of(image))


def _by_bytes(facts: Sequence[Facts | str]) -> list[list[tuple[int, Look]]]:
    """The places and the looks of readable images, with those that are equal together."""
    same: dict[bytes, list[tuple[int, Look]]] = {}
    for place, fact in enumerate(facts):
        if isinstance(fact, Facts):
            same.setdefault(fact.digest, []).append((place, fact.look))
    return list(same.values())


def _near_pairs(facts: Sequence[Facts | str]) -> list[Pair]:
    """Of equal images the first is compared."""
    firsts = [same[0] for same in _by_bytes(facts)]
    places, looks = [place for place, _ in firsts], [look for _, look in firsts]
    return [replace(pair, first=places[pair.first], second=places[pair.second]) for pair in near_duplicates(looks)]
