"""Weights into a model: every tensor of both, or none."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from mixlab.errors import UserError

_LISTED = 8

Shapes = Mapping[str, tuple[int, ...]]


def tensor_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def require_same_tensors(
    model: nn.Module, stored: Shapes, path: Path, called: Callable[[str], str] = lambda name: name
) -> None:
    """Raises UserError, which lists what only one side has, and shapes that differ.

    `stored` has the shapes of the tensors at `path`, under the model's names; `called` gives the names they have there.
    """
    wanted = tensor_shapes(model.state_dict())
    differences = {
        "only in the file": map(called, stored.keys() - wanted.keys()),
        "only in the model": map(called, wanted.keys() - stored.keys()),
        "of other shapes (file, model)": (
            f"{called(name)} {stored[name]}, {wanted[name]}"
            for name in stored.keys() & wanted.keys()
            if stored[name] != wanted[name]
        ),
    }
    sides = [f"{side}: {listed}" for side, names in differences.items() if (listed := _listed(names))]
    if sides:
        raise UserError(
            f"{path} does not fit this {type(model).__name__}: {'; '.join(sides)}. "
            "Build the model with the file's config, or take the file of this one."
        )


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """The model's tensors become these very ones, nothing is copied; `path` is where they come from."""
    require_same_tensors(model, tensor_shapes(tensors), path)
    model.load_state_dict(tensors, assign=True)


def _listed(names: Iterable[str]) -> str:
    """In order, block 10 after block 9; a long list is cut."""
    names = sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
