"""Pickle files of torch.save, in the zip format and in the older format, read without running code from the file.

A pickle can contain calls of arbitrary functions. Before a file is opened, its instructions are scanned without being
executed. Every function or class that is not needed for dictionaries of tensors is rejected. After that, torch's
restricted unpickler (`weights_only=True`) reads the file.
"""

import logging
import mmap
import pickletools
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from mixlab.errors import UserError
from mixlab.weights.storage.contents import FileContents, TensorInfo, require_plausible_size

_log = logging.getLogger("mixlab")

_AVERAGED = ("state_dict_ema", "model_ema")
_WRAPPERS = (*_AVERAGED, "state_dict", "model", "params", "model_state_dict")  # the first one present is used
_LEGACY_PICKLES = 5  # magic number, protocol, machine, the object, the keys of the storages


class _IgnoredObject:
    """Replaces a Namespace or a NumPy scalar: they are stored next to the weights and are not needed."""

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_IGNORED_TYPES = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",  # numpy 1
    "numpy._core.multiarray.scalar",  # numpy 2
)
_ALLOWED_TYPES = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.set|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
    r"|torch\.(Size|device|bool|bfloat16|(u?int|float)\d+\w*|(cuda\.|storage\.)?(?!Q)\w+Storage)"
)


def open_pickle(path: Path) -> FileContents:
    """Opens a file of torch.save; the tensors of the zip format stay memory-mapped.

    Raises UserError if the file is damaged, refers to anything but tensors, or contains no dictionary of tensors.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    sizes = _scan_zip(path) if zipped else None
    if not zipped:
        _scan_legacy(path)
    content = _load(path, zipped=zipped)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} contains a {type(content).__name__}, not a dictionary of tensors: save model.state_dict() with "
            "torch.save."
        )
    tensors, unwrapped = _unwrap(path, content)
    for name, tensor in tensors.items():
        _require_complete(path, name, tensor, sizes)
    require_plausible_size(path, sum(tensor.nbytes for tensor in tensors.values()))
    stored = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    return FileContents(stored, lambda name: tensors[name].detach(), unwrapped)


def _scan_zip(path: Path) -> set[int]:
    """Scans the pickle in a zip file. Returns the sizes of the members in bytes; torch stores them uncompressed."""
    with ZipFile(path) as archive:
        members = archive.infolist()
        require_plausible_size(path, sum(member.file_size for member in members))
        for member in members:
            if member.compress_type != ZIP_STORED or member.compress_size != member.file_size:
                raise UserError(
                    f"{path} contains {member.filename} in compressed form, which torch.save never writes. "
                    "Save the weights again with torch.save."
                )
        (pickled,) = (member for member in members if member.filename.endswith("/data.pkl"))
        try:
            instructions = archive.read(pickled)
        except Exception as error:  # zipfile raises many types for damaged files
            raise _damaged_file(path, error) from error
        _scan(path, BytesIO(instructions))
    return {member.file_size for member in members}


def _scan_legacy(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pickles:
        for index in range(_LEGACY_PICKLES):
            first = _scan(path, pickles)  # pyright: ignore[reportArgumentType]  mmap has a file's read
            if index == 0 and first != torch.serialization.MAGIC_NUMBER:
                raise UserError(
                    f"{path} is a pickle that was not written by torch.save, which mixlab does not read. Load it with "
                    "the program that wrote it, and save its tensors with torch.save."
                )


def _scan(path: Path, pickle: IO[bytes]) -> int | None:
    """Scans the instructions of one pickle, and returns its last integer.

    Raises UserError if the pickle is damaged, or refers to an object that is not needed for tensors.
    """
    strings: list[str] = []
    memo: dict[int, str] = {}
    names: list[str] = []
    number, protocol = None, 0
    try:
        for instruction, argument, _ in pickletools.genops(pickle):
            match instruction.name, argument:
                case ["PROTO", int()]:
                    protocol = argument
                case ["LONG1", int()]:
                    number = argument
                case ["STACK_GLOBAL", _]:
                    names.append(".".join(strings[-2:]))
                case ["GLOBAL" | "INST", str()]:
                    names.append(argument.replace(" ", "."))
                case ["MEMOIZE", _]:
                    memo[len(memo)] = strings[-1] if strings else ""
                case ["BINGET" | "LONG_BINGET", int()]:
                    strings.append(memo.get(argument, ""))
                case [_, str()]:
                    strings.append(argument)
    except Exception as error:  # pickletools raises many types for damaged files
        raise _damaged_file(path, error) from error
    names = [name.replace("__builtin__.", "builtins.") for name in names]
    if forbidden := [name for name in names if name not in _IGNORED_TYPES and not _ALLOWED_TYPES.fullmatch(name)]:
        is_model = any(name.startswith(("torch.nn.", "timm.models.")) for name in forbidden)
        content = "a whole model, not only its weights" if is_model else "more than tensors"
        raise UserError(
            f"{path} contains {content}: reading it would run {forbidden[0]}, and mixlab never runs code from a file. "
            "If you trust the file, load it with torch, and save only its state_dict()."
        )
    if protocol > 2:
        raise UserError(
            f"{path} uses pickle protocol {protocol}: without running code, torch reads only protocol 2. "
            "Save it again with torch.save and its default protocol."
        )
    return number


def _load(path: Path, *, zipped: bool) -> Any:
    with torch.serialization.safe_globals([(_IgnoredObject, name) for name in _IGNORED_TYPES]):
        try:
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped)
        except Exception as error:  # a damaged pickle can raise any type
            raise _damaged_file(path, error) from error


def _damaged_file(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(
        f"{path} is not a complete file of torch.save ({reason}): it is truncated or damaged. Download it again."
    )


def _unwrap(path: Path, content: Mapping[Any, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights without the other content of a training checkpoint, and the key they are stored under."""
    tensors = _tensors(content)
    nested = {
        key: inside for key, value in content.items() if isinstance(value, Mapping) and (inside := _tensors(value))
    }
    wrappers = [key for key in _WRAPPERS if key in nested]
    if len(wrappers) > 1 and wrappers[0] in _AVERAGED:
        _log.warning(
            f"{path} contains {' and '.join(wrappers)}: using {wrappers[0]}, the weights averaged over the training."
        )
    if not wrappers and any(len(inside) > len(tensors) for inside in nested.values()):
        wrappers = [_only_key(path, nested)]
    if wrappers:
        tensors = nested[wrappers[0]]
    if not tensors:
        keys = ", ".join(map(str, list(content)[:8])) or "none"
        raise UserError(
            f"{path} contains no named tensors, neither at the top level (keys: {keys}) nor in a "
            "dictionary under one of its keys. Save model.state_dict() with torch.save."
        )
    for name in tensors:
        if not isinstance(name, str):
            raise UserError(
                f"{path} has a tensor with the key {name!r}: keys must be names. Save model.state_dict() instead."
            )
    return tensors, tuple(map(str, wrappers[:1]))


def _only_key(path: Path, nested: Mapping[Any, Mapping[Any, Tensor]]) -> Any:
    if len(nested) > 1:
        first, *_ = nested
        raise UserError(
            f"{path} contains several dictionaries of tensors ({', '.join(map(str, nested))}), and none is "
            f"under a known key ({', '.join(_WRAPPERS)}): save only the one of the model, for example "
            f"torch.save(checkpoint[{first!r}], FILE)."
        )
    return next(iter(nested))


def _tensors(content: Mapping[Any, Any]) -> dict[Any, Tensor]:
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _require_complete(path: Path, name: str, tensor: Tensor, sizes: set[int] | None) -> None:
    """Raises UserError if the file does not contain all numbers of the tensor.

    `sizes` are the sizes of a zip's members in bytes: the storage of a tensor must have one of them.
    """
    storage = tensor.untyped_storage().nbytes()
    if tensor.nbytes > storage:
        raise UserError(
            f"{path} declares {name} as {tensor.dtype} with shape {tuple(tensor.shape)}, but stores only {storage:,} "
            "bytes, which it repeats. The file is made to exhaust the memory: do not use it."
        )
    if sizes is not None and storage not in sizes:
        raise UserError(
            f"{path} declares {storage:,} bytes for {name}, but has no member of that size: the file is damaged or "
            "malicious. Download it again."
        )
