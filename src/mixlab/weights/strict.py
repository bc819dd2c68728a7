"""Strict loading: the tensors of a file and of a model must be the same."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from mixlab.errors import UserError

_LISTED = 8

Shapes = Mapping[str, tuple[int, ...]]


def tensor_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def require_same_tensors(
    model: nn.Module, stored: Shapes, path: Path, display_name: Callable[[str], str] = lambda name: name
) -> None:
    """Raises UserError if the names or shapes differ. The message lists all differences.

    `stored` has the shapes of the tensors at `path` by their names in the model; `display_name` converts such a name to
    the name in the file, for the message.
    """
    expected = tensor_shapes(model.state_dict())
    differences = {
        "only in the file": map(display_name, stored.keys() - expected.keys()),
        "only in the model": map(display_name, expected.keys() - stored.keys()),
        "different shapes (file, model)": (
            f"{display_name(name)} {stored[name]}, {expected[name]}"
            for name in stored.keys() & expected.keys()
            if stored[name] != expected[name]
        ),
    }
    descriptions = [f"{kind}: {listed}" for kind, names in differences.items() if (listed := _listed(names))]
    if descriptions:
        raise UserError(
            f"{path} does not match this {type(model).__name__}: {'; '.join(descriptions)}. "
            "Build the model with the config of the file, or give the file of this model."
        )


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Replaces the tensors of `model` by `tensors`, without a copy.

    `path` is the source of the tensors, for the message. Raises UserError if names or shapes differ.
    """
    require_same_tensors(model, tensor_shapes(tensors), path)
    model.load_state_dict(tensors, assign=True)


def _listed(names: Iterable[str]) -> str:
    """The first names in natural order (block 10 after block 9), and the number of the others."""
    names = sorted(
        names, key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    )
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
