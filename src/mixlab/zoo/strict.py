"""Weights into a model: every tensor of both, or none."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from mixlab.errors import UserError


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """`path` is where the tensors come from. Raises UserError, which lists what only one side has."""
    wanted = model.state_dict()
    differences = {
        "only in the file": tensors.keys() - wanted.keys(),
        "only in the model": wanted.keys() - tensors.keys(),
        "of other shapes (file, model)": {
            f"{name} {tuple(tensors[name].shape)}, {tuple(wanted[name].shape)}"
            for name in tensors.keys() & wanted.keys()
            if tensors[name].shape != wanted[name].shape
        },
    }
    if any(differences.values()):
        sides = "; ".join(f"{side}: {', '.join(sorted(names))}" for side, names in differences.items() if names)
        raise UserError(
            f"{path} does not fit this {type(model).__name__}: {sides}. "
            "Build the model with the file's config, or take the file of this one."
        )
    model.load_state_dict(tensors)
