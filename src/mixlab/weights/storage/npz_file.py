"""NumPy archives (.npz): zip files of arrays, read one array at a time and without pickle."""

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
from mixlab.weights.storage.contents import FileContents, TensorInfo, require_plausible_size

_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PARAMETERS = "params/"


@dataclass(frozen=True, slots=True)
class _Member:
    info: ZipInfo
    offset: int  # of the data, in bytes
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The dtype in torch, or None if there is none. NumPy has no bfloat16; V2 (two bytes) is used for it."""
        if self.dtype == np.dtype("V2"):
            return torch.bfloat16
        return torch.from_numpy(np.empty(0, self.dtype.newbyteorder("="))).dtype if self.dtype.kind in "fiub" else None


def open_npz(path: Path) -> FileContents:
    """Opens an archive. Names and axes of the arrays are not changed.

    Only "params/" is read from a training checkpoint of big_vision, which also contains the state of the optimizer.
    Raises UserError if the archive is damaged, is too large when unpacked, or contains anything but arrays of numbers.

    A member can't unpack to more than the size it declares. The declared sizes are summed before anything is read, and
    the shape of each array must match the size of its member.
    """
    with _translate_errors(path):
        archive = ZipFile(path)
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    require_plausible_size(path, sum(info.file_size for info in infos))
    by_name: dict[str, ZipInfo] = {}
    for info in infos:
        if (name := info.filename.removesuffix(".npy")) in by_name:
            raise UserError(f"{path} contains {name} twice, so it is ambiguous. Download the file again.")
        by_name[name] = info
    unwrapped: tuple[str, ...] = ()
    if parameters := {name: info for name, info in by_name.items() if name.startswith(_PARAMETERS)}:
        by_name, unwrapped = parameters, (_PARAMETERS,)
    members = {
        name.removeprefix(_PARAMETERS) if unwrapped else name: _member(path, archive, info)
        for name, info in by_name.items()
    }

    def tensor(name: str) -> Tensor:
        with _translate_errors(path):
            return _read(archive, members[name])

    stored = {name: TensorInfo(member.shape, _numeric_dtype(path, name, member)) for name, member in members.items()}
    return FileContents(stored, tensor, unwrapped)


def _member(path: Path, archive: ZipFile, info: ZipInfo) -> _Member:
    """Reads the header of a member, which must declare exactly the data that follows."""
    with _translate_errors(path), archive.open(info) as file, warnings.catch_warnings(action="ignore"):
        version = np.lib.format.read_magic(file)
        if version not in _HEADER_READERS:
            raise ValueError(f"{info.filename} has version {version} of the NumPy format, which is not supported")
        shape, fortran_order, dtype = _HEADER_READERS[version](file)
        offset = file.tell()
    if not dtype.hasobject and (
        min(shape, default=0) < 0 or offset + math.prod(shape) * dtype.itemsize != info.file_size
    ):
        raise UserError(
            f"{path} declares {info.filename} with shape {shape} and {dtype.itemsize} bytes per number, but stores "
            f"{info.file_size - offset:,} bytes for it: the file is damaged or malicious. Download it again."
        )
    return _Member(info, offset, shape, fortran_order, dtype)


def _numeric_dtype(path: Path, name: str, member: _Member) -> torch.dtype:
    if member.dtype.hasobject:
        raise UserError(
            f"{path} stores {name} as Python objects, which can run code when they are read: mixlab reads only arrays "
            "of numbers. Save it as an array of numbers."
        )
    try:
        dtype = member.torch_dtype
    except TypeError:  # torch has no such dtype, for example long double
        dtype = None
    if dtype is None:
        raise UserError(
            f"{path} stores {name} as {member.dtype}: mixlab reads floating-point, integer and boolean arrays. "
            "Save it as one of these."
        )
    return dtype


def _read(archive: ZipFile, member: _Member) -> Tensor:
    data = bytearray(archive.read(member.info))
    order = "F" if member.fortran_order else "C"
    array = np.ndarray(member.shape, member.dtype, buffer=data, offset=member.offset, order=order)
    if member.torch_dtype is torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turns every error of zipfile, its decompressors and NumPy's header reader into a UserError."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"{path} is not a complete NumPy archive ({error}): it is truncated or damaged. Download it again."
        ) from error
