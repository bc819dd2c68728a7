"""The contents of a weights file before its tensors are read, and the limit on its unpacked size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mixlab.errors import UserError

_MAX_EXPANSION = 20  # times the size of the file
_ALWAYS_ALLOWED = 64 * 2**20  # bytes: a small file of constants can be compressed further


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class FileContents:
    """Contents of one file.

    `stored` describes the tensors by their names in the file, in the order of the file. `tensor(name)` reads a tensor.
    `unwrapped` lists the dictionary keys that were removed around the tensors, such as "state_dict".
    """

    stored: Mapping[str, TensorInfo]
    tensor: Callable[[str], Tensor]
    unwrapped: tuple[str, ...] = ()


def require_plausible_size(path: Path, unpacked: int) -> None:
    """Checks the declared size of a file before it is unpacked.

    `unpacked` is in bytes. Raises UserError if it is more than 64 MiB and more than 20 times the size of the file.
    Weights hardly compress, so only files that are made to exhaust the memory are rejected.
    """
    size = path.stat().st_size
    if unpacked > max(_ALWAYS_ALLOWED, _MAX_EXPANSION * size):
        raise UserError(
            f"{path} would unpack from {size:,} to {unpacked:,} bytes: weights hardly compress, so the limit is "
            f"{_MAX_EXPANSION} times the size of the file. Use a file that is not compressed."
        )
