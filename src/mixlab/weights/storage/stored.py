"""What a file of weights holds, before its tensors are read, and how far it may unfold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mixlab.errors import UserError

_TIMES = 20
_ALWAYS = 64 * 2**20  # bytes: a small file of constants may be packed tighter


@dataclass(frozen=True, slots=True)
class Stored:
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one file: its tensors by their names in it, in its order."""

    stored: Mapping[str, Stored]
    tensor: Callable[[str], Tensor]
    unwrapped: tuple[str, ...] = ()


def require_plausible(path: Path, unfolded: int) -> None:
    """Before anything is unpacked: the `unfolded` bytes are 20 times the file's at most, or 64 MiB.

    Raises UserError. Weights hardly compress, so that only a file made to exhaust the memory is refused.
    """
    size = path.stat().st_size
    if unfolded > max(_ALWAYS, _TIMES * size):
        raise UserError(
            f"{path} would unfold from {size:,} to {unfolded:,} bytes: weights hardly compress, so that at most "
            f"{_TIMES} times the file's size is read. Ask its author for a file that is not packed."
        )
