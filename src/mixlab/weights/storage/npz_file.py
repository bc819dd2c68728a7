"""Numpy's archive, .npz: a zip of arrays, read member by member and without pickles."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
import torch
from torch import Tensor

from mixlab.errors import UserError
from mixlab.weights.storage.stored import Contents, Stored, require_plausible

_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PARAMETERS = "params/"


@dataclass(frozen=True, slots=True)
class _Member:
    info: ZipInfo
    offset: int  # bytes of the header
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """numpy knows no bfloat16 and has it as two bytes of nothing known; None where torch has no such numbers."""
        if self.dtype == np.dtype("V2"):
            return torch.bfloat16
        return torch.from_numpy(np.empty(0, self.dtype.newbyteorder("="))).dtype if self.dtype.kind in "fiub" else None


def open_npz(path: Path) -> Contents:
    """Arrays under their names in the archive, with the axes that they have there.

    Only "params/" is read of what big_vision writes while it trains, which has the optimizer's state beside.
    No member can unpack to more than the size it declares; these sizes are summed before one is read, and each array's
    shape has to fill its member's.
    """
    with _explained(path):
        archive = ZipFile(path)
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    require_plausible(path, sum(info.file_size for info in infos))
    by_name: dict[str, ZipInfo] = {}
    for info in infos:
        if (name := info.filename.removesuffix(".npy")) in by_name:
            raise UserError(f"{path} holds {name} twice: it can't be told which is meant. Fetch the file anew.")
        by_name[name] = info
    unwrapped: tuple[str, ...] = ()
    if parameters := {name: info for name, info in by_name.items() if name.startswith(_PARAMETERS)}:
        by_name, unwrapped = parameters, (_PARAMETERS,)
    members = {
        name.removeprefix(_PARAMETERS) if unwrapped else name: _member(path, archive, info)
        for name, info in by_name.items()
    }

    def tensor(name: str) -> Tensor:
        with _explained(path):
            return _read(archive, members[name])

    stored = {name: Stored(member.shape, _required(path, name, member)) for name, member in members.items()}
    return Contents(stored, tensor, unwrapped)


def _member(path: Path, archive: ZipFile, info: ZipInfo) -> _Member:
    """From its header, which has to declare exactly the numbers that follow."""
    with _explained(path), archive.open(info) as file, warnings.catch_warnings(action="ignore"):
        version = np.lib.format.read_magic(file)
        if version not in _HEADER_READERS:
            raise ValueError(f"{info.filename} is in version {version} of numpy's format")
        shape, fortran, dtype = _HEADER_READERS[version](file)
        offset = file.tell()
    if not dtype.hasobject and (
        min(shape, default=0) < 0 or offset + math.prod(shape) * dtype.itemsize != info.file_size
    ):
        raise UserError(
            f"{path} declares {info.filename} as {shape} numbers of {dtype.itemsize} bytes, which are not the "
            f"{info.file_size - offset:,} bytes that it holds: it is damaged or made to mislead. Fetch it anew."
        )
    return _Member(info, offset, shape, fortran, dtype)


def _required(path: Path, name: str, member: _Member) -> torch.dtype:
    if member.dtype.hasobject:
        raise UserError(
            f"{path} holds {name} as Python objects, which could run code when they are read: mixlab reads arrays of "
            "numbers. Save it again as such."
        )
    try:
        dtype = member.torch_dtype
    except TypeError:  # a number that torch has not, as long double
        dtype = None
    if dtype is None:
        raise UserError(
            f"{path} holds {name} as {member.dtype}: mixlab reads floating-point, whole and true-or-false numbers. "
            "Save it as one of these."
        )
    return dtype


def _read(archive: ZipFile, member: _Member) -> Tensor:
    data = bytearray(archive.read(member.info))
    order = "F" if member.fortran else "C"
    array = np.ndarray(member.shape, member.dtype, buffer=data, offset=member.offset, order=order)
    if member.torch_dtype is torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever zipfile, its decompressors and numpy's header reader find wrong."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{path} is no whole numpy archive ({error}): it was cut off or damaged on its way. Fetch it anew."
        ) from error
