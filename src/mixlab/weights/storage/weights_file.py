"""Any file or folder of weights: names, shapes and dtypes up front, tensors one at a time, no code from the file run.

The type of a file is detected from its first bytes. The suffix is used only where they are not enough.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from torch import Tensor

from mixlab.errors import UserError
from mixlab.files import translate_read_errors
from mixlab.weights.storage.contents import FileContents, TensorInfo
from mixlab.weights.storage.npz_file import open_npz
from mixlab.weights.storage.pickle_file import open_pickle
from mixlab.weights.storage.safetensors_file import open_index, open_safetensors

INDEX = ".safetensors.index.json"
_PREFERRED = ("model.safetensors", f"model{INDEX}", "pytorch_model.bin")
_SUFFIXES = (".safetensors", INDEX, ".npz", ".pth", ".pt", ".pth.tar", ".bin", ".ckpt")
_PREFIXES = ("module.", "_orig_mod.")
_SIGNATURE_LENGTH = 512  # bytes
_MAX_HEADER = 100_000_000  # bytes: the limit of safetensors itself
_MAX_NUMBERS = 2**60
_OTHER_FILE_TYPES: Mapping[bytes, str] = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights: run `git lfs pull` in its folder",
    b"<": "a web page, probably an error page of the server: download the weights file itself",
    b"\x93NUMPY": "a single NumPy array: give the .npz, pickle or safetensors file with all arrays",
    b"\x89HDF": "an HDF5 file of Keras or TensorFlow: give the .npz, pickle or safetensors file of the model",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
}


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """An open weights file.

    `stored` describes the tensors in the order of the file, by their names without wrappers and common prefixes.
    `unwrapped` lists the wrappers and prefixes that were removed, such as "state_dict" and "module.".
    """

    path: Path
    stored: Mapping[str, TensorInfo]
    unwrapped: tuple[str, ...]
    _read: Callable[[str], Tensor] = field(repr=False)
    _prefix: str = ""

    def tensor(self, name: str) -> Tensor:
        """The tensor in the dtype of the file, on the CPU; memory-mapped for safetensors and torch's zip format."""
        return self._read(self._prefix + name)

    def without_prefix(self, prefix: str) -> "WeightsFile":
        """The same file with shorter names. All names must start with `prefix`."""
        stored = {name.removeprefix(prefix): info for name, info in self.stored.items()}
        return replace(self, stored=stored, unwrapped=(*self.unwrapped, prefix), _prefix=self._prefix + prefix)


def open_weights_file(path: str | Path) -> WeightsFile:
    """Opens a safetensors file, an index of safetensors files, an .npz, a torch.save file, or a folder of one.

    The averaged weights of a training checkpoint are preferred if it has any. Raises UserError if the file has another
    type, is truncated or damaged, would run code, or would unpack to more than 20 times its size (and 64 MiB).
    """
    path = Path(path)
    try:
        with translate_read_errors(path):
            file = _file_in_folder(path) if path.is_dir() else path
            contents = _contents(file)
    except OSError as error:
        raise UserError(
            f"{path} can't be read ({error.strerror or error}): give a weights file, or a folder with one."
        ) from error
    if not contents.stored:
        raise UserError(f"{file} contains no tensors: give a weights file.")
    for name, stored in contents.stored.items():
        _require_supported(file, name, stored)
    opened = WeightsFile(file, _without_count(contents.stored), contents.unwrapped, contents.tensor)
    while prefix := next((prefix for prefix in _PREFIXES if _share_prefix(opened.stored, prefix)), ""):
        opened = opened.without_prefix(prefix)
    return opened


def _require_supported(path: Path, name: str, stored: TensorInfo) -> None:
    if stored.dtype.is_complex:
        raise UserError(
            f"{path} stores {name} as {stored.dtype}: mixlab reads floating-point, integer and boolean tensors. "
            "Save it as one of these."
        )
    if math.prod(max(axis, 1) for axis in stored.shape) > _MAX_NUMBERS:  # a shape with an axis of 0 fits any file
        raise UserError(
            f"{path} declares {name} with shape {stored.shape}, which does not fit in memory: the file is damaged or "
            "malicious. Download it again."
        )


def _file_in_folder(folder: Path) -> Path:
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    candidates = sorted(file for file in folder.iterdir() if file.is_file() and file.name.endswith(_SUFFIXES))
    if indices := [file for file in candidates if file.name.endswith(INDEX)]:
        candidates = indices
    if not candidates:
        raise UserError(
            f"{folder} contains no weights file: give the folder that mixlab train printed, a folder with "
            f"{_PREFERRED[0]}, or a weights file."
        )
    if len(candidates) > 1:
        raise UserError(
            f"{folder} contains several weights files ({', '.join(file.name for file in candidates)}), and none of the "
            f"default names ({', '.join(_PREFERRED)}): give the path of one file."
        )
    return candidates[0]


def _contents(path: Path) -> FileContents:
    with path.open("rb") as file:
        signature = file.read(_SIGNATURE_LENGTH)
    if not signature:
        raise UserError(f"{path} is empty: its download or copy failed. Download it again.")
    if path.name.endswith(INDEX) and signature.lstrip().startswith(b"{"):
        return open_index(path)
    if signature[8:9] == b"{" and int.from_bytes(signature[:8], "little") <= _MAX_HEADER:
        return open_safetensors(path)
    if signature.startswith(b"PK"):
        return _open_zip(path)
    if signature.startswith(b"\x80"):
        _refuse_safetensors_suffix(path)
        return open_pickle(path)
    raise UserError(f"{path} is {_describe_other_file(path, signature)}.")


def _open_zip(path: Path) -> FileContents:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path} is not a complete zip archive ({error}), the container of .npz and torch.save files: it is "
            "truncated or damaged. Download it again."
        ) from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise UserError(
            f"{path} is a TorchScript program, and mixlab never runs code from a file. If you trust it, open it with "
            "torch.jit.load, and save only its state_dict()."
        )
    if sum(name.endswith("/data.pkl") for name in names) == 1:
        _refuse_safetensors_suffix(path)
        return open_pickle(path)
    if any(name.endswith(".npy") for name in names):
        return open_npz(path)
    raise UserError(
        f"{path} is a zip archive, but neither .npz nor of torch.save: unpack it, and give the weights file."
    )


def _refuse_safetensors_suffix(path: Path) -> None:
    if path.suffix == ".safetensors":
        raise UserError(
            f"{path} is named like a safetensors file but is a pickle of torch.save: rename it to .pth if you trust "
            "its source."
        )


def _describe_other_file(path: Path, signature: bytes) -> str:
    """What a file without readable weights is, and what to do about it."""
    for magic, description in _OTHER_FILE_TYPES.items():
        if signature.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            return description
    if signature[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in signature):
        if path.suffix == ".py":
            return f"code, not weights: the name of a model in it is py:{path}:NAME"
        return "text, not weights: download the weights file itself"
    if path.suffix == ".safetensors":
        return "not a complete safetensors file, since its header is damaged: download it again"
    return "not a supported weights file: give a safetensors, .npz or torch.save file"


def _without_count(stored: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """The tensors without the number of models that torch's AveragedModel has averaged."""
    weights = {name: info for name, info in stored.items() if name != "n_averaged"}
    return weights if weights and _share_prefix(weights, "module.") else stored


def _share_prefix(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)
