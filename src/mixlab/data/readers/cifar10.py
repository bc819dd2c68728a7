"""CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels (Krizhevsky 2009), with validation cut from train.

Three forms are read: the original binary files (`cifar-10-batches-py`, as torchvision unpacks them), and copies as JPEG
in an archive (`cifar10-jpeg.tar.xz`) or a tree (`train/CLASS/*.jpg`, `test/CLASS/*.jpg`). JPEG is lossy: accuracies may
differ by a few tenths from those on the original pixels. What was decoded is kept in the user's cache.
"""

import hashlib
import lzma
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64, UInt8

from mixlab.data.dataset import Dataset, Split
from mixlab.data.holdout import VALIDATION_SHARE, group_samples
from mixlab.data.image_file import read_image
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.errors import UserError
from mixlab.files import atomic_file, cache_folder
from mixlab.report.progress import progress

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_COUNTS = {"train": 50_000, "test": 10_000}
_BINARY = "cifar-10-batches-py"
_BINARY_FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_ARCHIVE = "cifar10-jpeg.tar.xz"
_LOSSY = "These are JPEG copies of CIFAR-10: accuracies may differ by a few tenths from those on the original pixels."


def open_cifar10(path: Path | None, *, quiet: bool) -> Dataset:
    """From `path`, else $MIXLAB_DATA, else the user's cache; each may be, or hold, one of the three forms."""
    name = f"cifar10:{path.absolute()}" if path else "cifar10"
    searched = [path] if path else data_dirs()
    for place in [inner for folder in searched for inner in (folder, folder / "cifar10")]:
        for binary in (place, place / _BINARY):
            if (binary / "test_batch").is_file():
                return _dataset(name, binary, _read_binary(binary), ())
        for archive in (place, place / _ARCHIVE):
            if archive.is_file():
                return _dataset(name, archive, _read_jpeg(archive, quiet=quiet), (_LOSSY,))
        if all((place / split / CLASSES[0]).is_dir() for split in _COUNTS):
            return _dataset(name, place, _read_jpeg(place, quiet=quiet), (_LOSSY,))
    raise UserError(
        f"{name} is not in {' or '.join(map(str, searched))}: put {_BINARY}/ (unpacked from cifar-10-python.tar.gz) or "
        f"{_ARCHIVE} there, or name the folder that has it as cifar10:PATH or in $MIXLAB_DATA."
    )


_Contents = tuple[list[str], UInt8[np.ndarray, "image 32 32 3"], Int64[np.ndarray, " image"]]
"""Names that begin with the part ("train/..."), pixels, labels."""


def _dataset(name: str, source: Path, contents: _Contents, notes: tuple[str, ...]) -> Dataset:
    names, images, labels = contents
    everything = Split(names=names, labels=labels, images=list(images))
    of_train = np.array([name.startswith("train/") for name in names], dtype=bool)
    for split, found in (("train", of_train), ("test", ~of_train)):
        if found.sum() != _COUNTS[split]:
            raise UserError(
                f"{source} has {found.sum():,} of the {_COUNTS[split]:,} {split} images: copy or unpack it again."
            )
    train = everything.subset(np.flatnonzero(of_train))
    validation, rest = group_samples(train).cut(VALIDATION_SHARE)
    splits = {"train": rest.split, "validation": validation, "test": everything.subset(np.flatnonzero(~of_train))}
    return Dataset(name, CLASSES, splits, notes)


class _ArraysOnly(pickle.Unpickler):
    """Reads plain values and arrays, which the binary files consist of; a pickle that asks for more is refused."""

    _KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.array(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.array(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._KNOWN[module, name]


def _read_binary(folder: Path) -> _Contents:
    names, images, labels = [], [], []
    for split, files in _BINARY_FILES.items():
        for path in (folder / file for file in files):
            try:
                with path.open("rb") as content:
                    batch = _ArraysOnly(content, encoding="bytes").load()
                images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                labels.append(np.array(batch[b"labels"], dtype=np.int64))
            except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
                raise UserError(
                    f"{path} is no batch of CIFAR-10 ({error}): unpack cifar-10-python.tar.gz again."
                ) from error
            names += [f"{split}/{path.name}/{position:04d}" for position in range(len(labels[-1]))]
    return names, np.concatenate(images), np.concatenate(labels)


def _read_jpeg(source: Path, *, quiet: bool) -> _Contents:
    """From the archive or the tree, or from what an earlier call has left of it in the cache."""
    cached = cache_folder() / f"cifar10-{_key(source)}.npz"
    if not cached.is_file():
        images = {}
        with progress("decode CIFAR-10", total=sum(_COUNTS.values()), quiet=quiet) as advance:
            for name, content in _contents(source):
                images[name] = read_image(content)
                advance()
        names = sorted(images)
        with atomic_file(cached) as temporary, temporary.open("wb") as file:
            np.savez(file, names=np.array(names), images=np.stack([images[name] for name in names]))
    with np.load(cached) as kept:
        names, images = kept["names"].tolist(), kept["images"]
    return names, images, np.array([CLASSES.index(name.split("/")[1]) for name in names], dtype=np.int64)


def _key(source: Path) -> str:
    """What decides the pixels: an archive's bytes; a tree's listing, since reading it takes as long as decoding it."""
    if source.is_file():
        with source.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()[:16]
    listing = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _tree(source)]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def _contents(source: Path) -> Iterator[tuple[str, bytes]]:
    """`part/class/file` and the file's bytes."""
    if source.is_dir():
        for path in _tree(source):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(source, "r:xz") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                content = archive.extractfile(member)
                if content is not None and place.match("*/[!.]*.jpg"):
                    yield "/".join(place.parts[-3:]), content.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise UserError(f"{source} is damaged or cut short ({error}): copy it again.") from error


def _tree(folder: Path) -> list[Path]:
    return sorted(path for split in _COUNTS for label in CLASSES for path in (folder / split / label).glob("[!.]*.jpg"))
