"""The images that weights have learned from, by content. A run stores them in training_images.safetensors.

Training images are those that the weights were fitted to, validation images those on which a checkpoint or a setting
was selected. Both include the images of the weights that the training started from, of its teacher, and of averaged
runs.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mixlab.data.dataset import EMPTY_DIGEST, Dataset, Split, content_digest
from mixlab.data.image_file import UnreadableImage
from mixlab.data.inspection.near_duplicates import BITS, THUMBNAIL, ImageHash, perceptual_hash, unhashed
from mixlab.errors import UserError
from mixlab.files import atomic_file, translate_read_errors
from mixlab.report.progress import progress
from mixlab.runs.folder import Run
from mixlab.weights.exported import is_exported
from mixlab.weights.source import find_source

MAX_HASHED = 5_000
"""Near copies are searched among at most this many images, because every image has to be decoded."""

_THREADS = 8  # waiting for files, also on a network
_CHUNK = 1_024  # images

Digests = UInt64[np.ndarray, " _"]
"""The first 64 bits of `content_digest` of each image.

The probability that one of a million images has the digest of one of 14 million others by chance is 1e-6.
"""


def _no_digests() -> Digests:
    return np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The images that weights have learned from.

    trained   digests of the training images, sorted
    selected  digests of the validation images, sorted
    hashes    the perceptual hash of each of them, by its digest; None if there are more than `MAX_HASHED` in a training
    unknown   names of weights with unknown training images: those themselves, or those that the training started from
    """

    trained: Digests = field(default_factory=_no_digests)
    selected: Digests = field(default_factory=_no_digests)
    hashes: Mapping[int, ImageHash] | None = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __or__(self, other: "TrainingImages") -> "TrainingImages":
        return TrainingImages(
            np.union1d(self.trained, other.trained),
            np.union1d(self.selected, other.selected),
            None if self.hashes is None or other.hashes is None else {**self.hashes, **other.hashes},
            tuple(dict.fromkeys((*self.unknown, *other.unknown))),
        )

    def contains(self, digests: Digests) -> Bool[np.ndarray, " image"]:
        """Whether each image is a training or validation image."""
        return self.contains_trained(digests) | np.isin(digests, self.selected)

    def contains_trained(self, digests: Digests) -> Bool[np.ndarray, " image"]:
        """Whether each image is a training image."""
        return np.isin(digests, self.trained)

    def write(self, path: Path) -> None:
        """Write all fields to a safetensors file. Raises UserError if the disk is full."""
        arrays = {"trained": self.trained, "selected": self.selected}
        if self.hashes is not None:
            hashes = [hash for hash in self.hashes.values() if hash.bits is not None]
            digests = [digest for digest, hash in self.hashes.items() if hash.bits is not None]
            arrays |= {
                "hashed": np.array(digests, dtype=np.uint64),
                "bits": np.packbits(np.array([hash.bits for hash in hashes], dtype=bool).reshape(-1, BITS), axis=1),
                "thumbnails": np.array([hash.thumbnail for hash in hashes], dtype=np.uint8),
                "min_correlation": np.array([hash.min_correlation for hash in hashes], dtype=np.float64),
            }
        with atomic_file(path) as temporary:
            temporary.write_bytes(save(arrays, {"unknown": json.dumps(self.unknown)}))


def read_training_images(path: Path) -> TrainingImages:
    """Read the file that `TrainingImages.write` wrote. Raises UserError if it is damaged."""
    try:
        with translate_read_errors(path), path.open("rb"), safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
            unknown = tuple(json.loads(file.metadata()["unknown"]))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): copy the whole folder again.") from error
    hashes = None
    if "hashed" in arrays:
        bits = np.unpackbits(arrays["bits"], axis=1, count=BITS).astype(bool)
        thumbnails = arrays["thumbnails"].reshape(-1, THUMBNAIL, THUMBNAIL, 3)
        values = zip(bits, thumbnails, arrays["min_correlation"].tolist(), strict=True)
        hashes = dict(zip(arrays["hashed"].tolist(), (ImageHash(*each) for each in values), strict=True))
    return TrainingImages(arrays["trained"], arrays["selected"], hashes, unknown)


def training_images_of(source: str | Path) -> TrainingImages:
    """The images that weights have learned from. Without a record, `unknown` has the name of the weights.

    source  any source that `mixlab.load` accepts, or an exported model

    Raises UserError if there are no such weights or the record is damaged.
    """
    if is_exported(source):
        record = Run(Path(source).expanduser()).training_images
        return read_training_images(record) if record.is_file() else TrainingImages(unknown=(str(source),))
    weights = find_source(source).path
    record = Run(weights.parent).training_images
    if weights.name == Run(weights.parent).weights.name and record.is_file():
        return read_training_images(record)
    return TrainingImages(unknown=(str(source),))


def union(records: Iterable[TrainingImages]) -> TrainingImages:
    """The images of all records."""
    return reduce(TrainingImages.__or__, records, TrainingImages())


def record_training_images(dataset: Dataset, share: tuple[int, int] = (0, 1), *, quiet: bool) -> TrainingImages:
    """Read the train and validation splits of `dataset`; files that can't be read are not recorded.

    share  (rank, number of processes): this process reads its share of the images
    quiet  no progress bar

    All files are read. Images are decoded for their perceptual hash if there are at most `MAX_HASHED`.
    """
    rank, processes = share
    splits = {name: dataset.splits[name] for name in ("train", "validation") if name in dataset.splits}
    shares = {name: split.subset(range(rank, len(split), processes)) for name, split in splits.items()}
    digests = {name: digests_of(split, quiet=quiet) for name, split in shares.items()}
    hashes: dict[int, ImageHash] | None = None
    if dataset.noun == "image" and sum(map(len, splits.values())) <= MAX_HASHED:
        hashes = {}
        for name, split in shares.items():
            hashes |= zip(digests[name].tolist(), hashes_of(split, quiet=quiet), strict=True)
    unreadable = digest_key(EMPTY_DIGEST)
    sorted_digests = {name: np.setdiff1d(array, [unreadable]).astype(np.uint64) for name, array in digests.items()}
    return TrainingImages(sorted_digests["train"], sorted_digests.get("validation", _no_digests()), hashes)


def digest_key(digest: bytes) -> int:
    """The first 64 bits of a digest as an integer."""
    return int.from_bytes(digest[:8], "little")


def digests_of(split: Split, *, quiet: bool) -> Digests:
    """Read the bytes of every image."""
    digests: list[int] = []
    with ThreadPoolExecutor(_THREADS) as pool, progress("read image files", len(split), quiet=quiet) as advance:
        for start in range(0, len(split), _CHUNK):
            chunk = split.images[start : start + _CHUNK]
            digests += map(digest_key, pool.map(content_digest, chunk))
            advance(len(chunk))
    return np.array(digests, dtype=np.uint64)


def hashes_of(split: Split, *, quiet: bool) -> list[ImageHash]:
    """Decode every image for its perceptual hash. One that can't be decoded matches no other."""
    hashes: list[ImageHash] = []
    with progress("search near copies", len(split), quiet=quiet) as advance:
        for index in range(len(split)):
            try:
                hashes.append(perceptual_hash(split.image(index)))
            except UnreadableImage:
                hashes.append(unhashed())
            advance()
    return hashes
