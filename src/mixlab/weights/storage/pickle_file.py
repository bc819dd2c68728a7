"""PyTorch's pickles, in the zip format and the older one, read without running anything that they name.

A pickle names functions for its reader to call. Before one is opened its instructions are gone through, without
following them, for the names in it: what is not needed for tensors in dictionaries is refused. torch's restricted
unpickler follows.
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
from mixlab.weights.storage.stored import Contents, Stored, require_plausible

_log = logging.getLogger("mixlab")

_AVERAGED = ("state_dict_ema", "model_ema")
_WRAPPERS = (*_AVERAGED, "state_dict", "model", "params")  # the first that is there, as timm does
_LEGACY_PICKLES = 5  # magic number, protocol, machine, the object, the storages' keys


class _Beside:
    """In place of a Namespace or one of numpy's numbers, which stand beside the weights and are not read."""

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_BESIDE = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",  # numpy 1
    "numpy._core.multiarray.scalar",  # numpy 2
)
_TENSORS = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.set|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
    r"|torch\.(Size|device|bool|bfloat16|(u?int|float)\d+\w*|(cuda\.|storage\.)?(?!Q)\w+Storage)"
)


def open_pickle(path: Path) -> Contents:
    """`path` begins as a zip or as a pickle does; a zip's tensors stay memory-mapped."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    sizes = _scan_zip(path) if zipped else None
    if not zipped:
        _scan_legacy(path)
    found = _loaded(path, zipped=zipped)
    if not isinstance(found, Mapping):
        raise UserError(
            f"{path} holds a {type(found).__name__}, not a dictionary of tensors: save model.state_dict() with "
            "torch.save."
        )
    tensors, unwrapped = _unwrapped(path, found)
    for name, tensor in tensors.items():
        _require_plain(path, name, tensor, sizes)
    require_plausible(path, sum(tensor.nbytes for tensor in tensors.values()))
    stored = {name: Stored(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    return Contents(stored, lambda name: tensors[name].detach(), unwrapped)


def _scan_zip(path: Path) -> set[int]:
    """The sizes of the members, which torch writes unpacked, in bytes."""
    with ZipFile(path) as archive:
        members = archive.infolist()
        require_plausible(path, sum(member.file_size for member in members))
        for member in members:
            if member.compress_type != ZIP_STORED or member.compress_size != member.file_size:
                raise UserError(
                    f"{path} has {member.filename} packed, where torch.save packs nothing: another program wrote this "
                    "zip. Save the weights again with torch.save."
                )
        (pickled,) = (member for member in members if member.filename.endswith("/data.pkl"))
        try:
            instructions = archive.read(pickled)
        except Exception as error:  # zipfile's, for damage of any kind
            raise _broken(path, error) from error
        _scan(path, BytesIO(instructions))
    return {member.file_size for member in members}


def _scan_legacy(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pickles:
        for place in range(_LEGACY_PICKLES):
            first = _scan(path, pickles)  # pyright: ignore[reportArgumentType]  a map reads as a file does
            if place == 0 and first != torch.serialization.MAGIC_NUMBER:
                raise UserError(
                    f"{path} is a pickle, but not one of torch.save's: mixlab reads no other. Load it where it was "
                    "made, and save its tensors with torch.save."
                )


def _scan(path: Path, pickle: IO[bytes]) -> int | None:
    """The last whole number in one pickle. Raises UserError where it names what its reader must not call."""
    words: list[str] = []
    memory: dict[int, str] = {}
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
                    names.append(".".join(words[-2:]))
                case ["GLOBAL" | "INST", str()]:
                    names.append(argument.replace(" ", "."))
                case ["MEMOIZE", _]:
                    memory[len(memory)] = words[-1] if words else ""
                case ["BINGET" | "LONG_BINGET", int()]:
                    words.append(memory.get(argument, ""))
                case [_, str()]:
                    words.append(argument)
    except Exception as error:  # pickletools', for damage of any kind
        raise _broken(path, error) from error
    names = [name.replace("__builtin__.", "builtins.") for name in names]
    if forbidden := [name for name in names if name not in _BESIDE and not _TENSORS.fullmatch(name)]:
        model = any(name.startswith(("torch.nn.", "timm.models.")) for name in forbidden)
        what = "a whole model, not its weights: to read it is" if model else "more than tensors: to read it is"
        raise UserError(
            f"{path} holds {what} to run {forbidden[0]}, and a file's code is never run. "
            "Where you trust it, load it with torch itself, and save its state_dict() alone."
        )
    if protocol > 2:
        raise UserError(
            f"{path} is in version {protocol} of Python's pickles, of which torch reads 2 alone without running code. "
            "Save it again with torch.save as it comes."
        )
    return number


def _loaded(path: Path, *, zipped: bool) -> Any:
    with torch.serialization.safe_globals([(_Beside, name) for name in _BESIDE]):
        try:
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped)
        except Exception as error:  # a damaged pickle leads its reader anywhere
            raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(
        f"{path} is no whole file of torch.save's ({reason}): it was cut off or damaged on its way. Fetch it anew."
    )


def _unwrapped(path: Path, found: Mapping[Any, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights, without what a training keeps beside them."""
    wrappers = [key for key in _WRAPPERS if isinstance(found.get(key), Mapping) and _tensors(found[key])]
    if len(wrappers) > 1 and wrappers[0] in _AVERAGED:
        _log.warning(
            f"{path} holds {' and '.join(wrappers)}: {wrappers[0]} is read, the weights averaged over the training."
        )
    tensors = _tensors(found[wrappers[0]] if wrappers else found)
    if not tensors:
        keys = ", ".join(map(str, list(found)[:8])) or "nothing"
        raise UserError(
            f"{path} holds no tensors under names, but {keys}: the weights are looked for there and in "
            f"{', '.join(_WRAPPERS)}. Save model.state_dict() with torch.save."
        )
    for name in tensors:
        if not isinstance(name, str):
            raise UserError(f"{path} has a tensor under {name!r}: tensors have names. Save model.state_dict() instead.")
    return tensors, tuple(wrappers[:1])


def _tensors(found: Mapping[Any, Any]) -> dict[Any, Tensor]:
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _require_plain(path: Path, name: str, tensor: Tensor, sizes: set[int] | None) -> None:
    """Numbers that are all in the file; `sizes` of the members of a zip, in one of which a tensor's storage fits."""
    storage = tensor.untyped_storage().nbytes()
    if tensor.nbytes > storage:
        raise UserError(
            f"{path} declares {name} as {tuple(tensor.shape)} {tensor.dtype} numbers, of which it holds {storage:,} "
            "bytes, repeated: weights are all in their file. It is made to exhaust the memory; fetch another."
        )
    if sizes is not None and storage not in sizes:
        raise UserError(
            f"{path} declares {storage:,} bytes for {name}, and has no member of that size: it is damaged or made to "
            "mislead. Fetch it anew."
        )
