"""Weights that other people's code wrote, under our names. The names are data: renames.toml."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixlab.zoo.strict import load_strictly


def load_foreign(model: nn.Module, path: Path, format: str) -> None:
    """Fill `model` from a file in one of the formats of renames.toml: every tensor of both, or none."""
    tensors = _flax_tensors(path) if path.suffix == ".npz" else _torch_tensors(path)
    tables = tomllib.loads(Path(__file__).with_name("renames.toml").read_text(encoding="utf-8"))
    names = {name: renamed(name, **tables[format]) for name in tensors}
    load_strictly(model, {names[name]: tensor for name, tensor in tensors.items()}, path)


def renamed(name: str, rules: Sequence[tuple[str, str]], leaves: Mapping[str, str] | None = None) -> str:
    """Our name for theirs; a name that no rule fits stays as it is."""
    for theirs, ours in rules:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", re.escape(theirs))
        if found := re.match(pattern, name):
            numbers = {word: int(digits) for word, digits in found.groupdict().items()}
            leaf = name[found.end() :]
            return _filled(ours, numbers) + (leaves or {}).get(leaf, leaf)
    return name


def _filled(template: str, numbers: Mapping[str, int]) -> str:
    """ "body.{place-3}." with place = 4 is "body.1."."""

    def value(braces: re.Match[str]) -> str:
        terms = re.findall(r"(-?)(\w+)", braces[1])
        return str(sum(int(f"{sign}1") * (numbers[word] if word in numbers else int(word)) for sign, word in terms))

    return re.sub(r"\{(.+?)\}", value, template)


def _flax_tensors(path: Path) -> dict[str, Tensor]:
    """Kernels come as (height, width, in, out) or (in, out), and leave as PyTorch has them."""
    tensors = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name, array in arrays.items():
            axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, range(array.ndim))
            tensors[name] = torch.from_numpy(array.transpose(*axes).copy())
    return tensors


def _torch_tensors(path: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint.get("state_dict", checkpoint)
