"""Any file or folder of weights: names, shapes and dtypes at once, tensors one by one, and no code of the file's run.

What a file is shows in its first bytes; its suffix is asked only where they say nothing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from torch import Tensor

from mixlab.errors import UserError
from mixlab.weights.storage.npz_file import open_npz
from mixlab.weights.storage.pickle_file import open_pickle
from mixlab.weights.storage.safetensors_file import open_index, open_safetensors
from mixlab.weights.storage.stored import Contents, Stored

INDEX = ".safetensors.index.json"
_PREFERRED = ("model.safetensors", f"model{INDEX}", "pytorch_model.bin")
_SUFFIXES = (".safetensors", INDEX, ".npz", ".pth", ".pt", ".pth.tar", ".bin", ".ckpt")
_PREFIXES = ("module.", "_orig_mod.")
_BEGINNING = 512  # bytes
_LONGEST_HEADER = 100_000_000  # bytes: safetensors' own limit
_MAX_NUMBERS = 2**60
_OTHERS: Mapping[bytes, str] = {
    b"version https://git-lfs": "only git-LFS's pointer to the weights: run `git lfs pull` in its folder",
    b"<": "a web page, as a server sends instead of a file that it does not give out: fetch the file itself",
    b"\x93NUMPY": "a single array of numpy's: give the .npz, the pickle or the safetensors with all of them",
    b"\x89HDF": "HDF5, of Keras or TensorFlow: give the model's .npz, pickle or safetensors",
    b"\x1f\x8b": "packed by gzip: unpack it first",
    b"BZh": "packed by bzip2: unpack it first",
    b"\xfd7zXZ": "packed by xz: unpack it first",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`stored` is in the file's order, under the names that are left when wrappers and prefixes are taken off."""

    path: Path
    stored: Mapping[str, Stored]
    unwrapped: tuple[str, ...]
    _read: Callable[[str], Tensor] = field(repr=False)
    _prefix: str = ""

    def tensor(self, name: str) -> Tensor:
        """In the file's dtype, on the CPU; memory-mapped where it is of a safetensors file or a zip of torch's."""
        return self._read(self._prefix + name)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Opens a safetensors file, the index of several, an .npz, a pickle of torch's, or the folder that holds one.

    Of a training's checkpoint the averaged weights are read where it has them. Raises UserError for what is none of
    these, is cut off, damaged, would run code, or would unfold to 20 times its size (and more than 64 MiB).
    """
    path = Path(path)
    try:
        file = _in_folder(path) if path.is_dir() else path
        contents = _contents(file)
    except OSError as error:
        raise UserError(
            f"{path} can't be read ({error.strerror or error}): give a file or folder of weights."
        ) from error
    if not contents.stored:
        raise UserError(f"{file} holds no tensors: give a file of weights.")
    for name, stored in contents.stored.items():
        _require_numbers(file, name, stored)
    prefix, prefixes = _common_prefix(contents.stored)
    stored = {name.removeprefix(prefix): shape for name, shape in contents.stored.items()}
    return Checkpoint(file, stored, contents.unwrapped + prefixes, contents.tensor, prefix)


def _require_numbers(path: Path, name: str, stored: Stored) -> None:
    if stored.dtype.is_complex:
        raise UserError(
            f"{path} holds {name} as {stored.dtype}: mixlab reads floating-point, whole and true-or-false numbers. "
            "Save it as one of these."
        )
    if math.prod(max(axis, 1) for axis in stored.shape) > _MAX_NUMBERS:  # an axis of 0 makes any shape fit its file
        raise UserError(
            f"{path} declares {name} as {stored.shape} numbers, which fit no memory: it is damaged or made to mislead. "
            "Fetch it anew."
        )


def _in_folder(folder: Path) -> Path:
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(file for file in folder.iterdir() if file.is_file() and file.name.endswith(_SUFFIXES))
    if indices := [file for file in found if file.name.endswith(INDEX)]:
        found = indices
    if not found:
        raise UserError(
            f"{folder} holds no file of weights: give the folder that mixlab train printed, one with {_PREFERRED[0]} "
            "in it, or a file."
        )
    if len(found) > 1:
        raise UserError(
            f"{folder} holds several files of weights, {', '.join(file.name for file in found)}, and none of "
            f"{', '.join(_PREFERRED)}, which would be preferred: give the path of the one you mean."
        )
    return found[0]


def _contents(path: Path) -> Contents:
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if not beginning:
        raise UserError(f"{path} is empty: its download or copy failed. Fetch it anew.")
    if path.name.endswith(INDEX) and beginning.lstrip().startswith(b"{"):
        return open_index(path)
    if beginning[8:9] == b"{" and int.from_bytes(beginning[:8], "little") <= _LONGEST_HEADER:
        return open_safetensors(path)
    if beginning.startswith(b"PK"):
        return _zip(path)
    if beginning.startswith(b"\x80"):
        _require_no_safetensors(path)
        return open_pickle(path)
    raise UserError(f"{path} is {_otherwise(path, beginning)}.")


def _zip(path: Path) -> Contents:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path} is no whole zip, as .npz and torch's files are ({error}): it was cut off or damaged on its way. "
            "Fetch it anew."
        ) from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise UserError(
            f"{path} is a TorchScript program, and a file's code is never run. Where you trust it, open it with "
            "torch.jit.load, and save its state_dict() alone."
        )
    if sum(name.endswith("/data.pkl") for name in names) == 1:
        _require_no_safetensors(path)
        return open_pickle(path)
    if any(name.endswith(".npy") for name in names):
        return open_npz(path)
    raise UserError(f"{path} is a zip of other things than weights: unpack it, and give the file of weights in it.")


def _require_no_safetensors(path: Path) -> None:
    if path.suffix == ".safetensors":
        raise UserError(
            f"{path} is a pickle of torch's under the name of a safetensors file, which is none: rename it to .pth if "
            "you know where it comes from."
        )


def _otherwise(path: Path, beginning: bytes) -> str:
    """What it is instead, and the way out."""
    for magic, what in _OTHERS.items():
        if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            return what
    if beginning[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in beginning):
        return "text, not weights: fetch the file itself"
    if path.suffix == ".safetensors":
        return "no whole safetensors file, whose header does not begin as one: fetch it anew"
    return "no file of weights that mixlab knows: give safetensors, .npz, or what torch.save writes"


def _common_prefix(names: Mapping[str, Stored]) -> tuple[str, tuple[str, ...]]:
    """All of it and its parts: what a wrapper for several devices or a compiled model puts before every name."""
    parts: list[str] = []
    while before := [part for part in _PREFIXES if all(name.startswith("".join(parts) + part) for name in names)]:
        parts += before
    return "".join(parts), tuple(parts)
