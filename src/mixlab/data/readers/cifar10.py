"""CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels (Krizhevsky 2009). Validation is held out of train.

Three formats are supported: the original binary files (`cifar-10-batches-py`, as torchvision unpacks them), and JPEG
copies in an archive (`cifar10-jpeg.tar.xz`) or in folders (`train/CLASS/*.jpg`, `test/CLASS/*.jpg`). JPEG is lossy, and
decoded images are stored in the user's cache. Images are named `SPLIT/CLASS/FILE` with the original names of the files,
and sorted by these names, so that the splits do not depend on the order within the binary files.
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
_LOSSY = "These are JPEG copies of CIFAR-10, on which accuracies are lower than on the original pixels."


def open_cifar10(path: Path | None, *, quiet: bool) -> Dataset:
    """Open CIFAR-10 from `path` if given, otherwise from $MIXLAB_DATA or the user's cache.

    Each of these may be, or contain, one of the three formats. Raises UserError if none is found or it is damaged.
    """
    name = f"cifar10:{path.absolute()}" if path else "cifar10"
    searched = [path] if path else data_dirs()
    for root in [root for folder in searched for root in (folder, folder / "cifar10")]:
        for binary in (root, root / _BINARY):
            if (binary / "test_batch").is_file():
                return _dataset(name, binary, _read_binary(binary), ())
        for archive in (root, root / _ARCHIVE):
            if archive.is_file():
                return _dataset(name, archive, _read_jpeg(archive, quiet=quiet), (_LOSSY,))
        if all((root / split / CLASSES[0]).is_dir() for split in _COUNTS):
            return _dataset(name, root, _read_jpeg(root, quiet=quiet), (_LOSSY,))
    raise UserError(
        f"{name} is not in {' or '.join(map(str, searched))}: put {_BINARY}/ (unpacked from cifar-10-python.tar.gz) or "
        f"{_ARCHIVE} there, or give the folder that contains it as cifar10:PATH or in $MIXLAB_DATA."
    )


_Contents = tuple[list[str], UInt8[np.ndarray, "image 32 32 3"], Int64[np.ndarray, " image"]]
"""Names in ascending order, which begin with the split ("train/..."), pixels, labels."""


def _dataset(name: str, source: Path, contents: _Contents, notes: tuple[str, ...]) -> Dataset:
    names, images, labels = contents
    everything = Split(names=names, labels=labels, images=list(images))
    in_train = np.array([name.startswith("train/") for name in names], dtype=bool)
    for split, in_split in (("train", in_train), ("test", ~in_train)):
        if in_split.sum() != _COUNTS[split]:
            raise UserError(
                f"{source} has {in_split.sum():,} of the {_COUNTS[split]:,} {split} images: copy or unpack it again."
            )
    train = everything.subset(np.flatnonzero(in_train))
    validation, rest = group_samples(train).cut(VALIDATION_SHARE)
    splits = {"train": rest.split, "validation": validation, "test": everything.subset(np.flatnonzero(~in_train))}
    return Dataset(name, CLASSES, splits, notes)


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of plain values and arrays, as in the binary files, and rejects everything else."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.array(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.array(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return self._ALLOWED[module, name]


def _read_binary(folder: Path) -> _Contents:
    names: list[str] = []
    images, labels = [], []
    for split, files in _BINARY_FILES.items():
        for path in (folder / file for file in files):
            try:
                with path.open("rb") as content:
                    batch = _ArraysOnly(content, encoding="bytes").load()
                images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                labels.append(np.array(batch[b"labels"], dtype=np.int64))
                files_and_labels = zip(batch[b"filenames"], batch[b"labels"], strict=True)
                names += [f"{split}/{CLASSES[label]}/{file.decode()}" for file, label in files_and_labels]
            except Exception as error:  # a damaged pickle can raise any exception
                raise UserError(
                    f"{path} is not a CIFAR-10 batch ({error}): unpack cifar-10-python.tar.gz again."
                ) from error
    order = np.argsort(names)
    return [names[index] for index in order], np.concatenate(images)[order], np.concatenate(labels)[order]


def _read_jpeg(source: Path, *, quiet: bool) -> _Contents:
    """Decode the archive or the folders, or load the images that an earlier call stored in the cache."""
    cached = cache_folder() / f"cifar10-{_key(source)}.npz"
    if not cached.is_file():
        images = {}
        with progress("decode CIFAR-10", total=sum(_COUNTS.values()), quiet=quiet) as advance:
            for name, content in _jpeg_files(source):
                images[name] = read_image(content)
                advance()
        names = sorted(images)
        with atomic_file(cached) as temporary, temporary.open("wb") as file:
            np.savez(file, names=np.array(names), images=np.stack([images[name] for name in names]))
    with np.load(cached) as arrays:
        names, images = arrays["names"].tolist(), arrays["images"]
    return names, images, np.array([CLASSES.index(name.split("/")[1]) for name in names], dtype=np.int64)


def _key(source: Path) -> str:
    """A cache key: the hash of an archive, or of a listing of folders, which is faster than reading all images."""
    if source.is_file():
        with source.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()[:16]
    listing = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _folder_files(source)]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def _jpeg_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """The name, `split/class/file`, and the bytes of each file."""
    if source.is_dir():
        for path in _folder_files(source):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(source, "r:xz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                content = archive.extractfile(member)
                if content is not None and path.match("*/[!.]*.jpg"):
                    yield "/".join(path.parts[-3:]), content.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise UserError(f"{source} is damaged or truncated ({error}): copy it again.") from error


def _folder_files(folder: Path) -> list[Path]:
    return sorted(path for split in _COUNTS for label in CLASSES for path in (folder / split / label).glob("[!.]*.jpg"))
