"""Other people's names for our tensors, both ways. The names are data: formats.toml.

A format is recognised by the names inside a file, never by the file's own.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixlab.errors import UserError

_BRACES = re.compile(r"\{(?:(\d+)\*)?([a-z]+)([+-]\d+)?\}")


@dataclass(frozen=True)
class Template:
    """The beginning of a name, with whole numbers in braces: {block}, {block+3}, {2*pair+1}."""

    text: str

    @property
    def pattern(self) -> str:
        return r"(\d+)".join(re.escape(text) for text in _BRACES.split(self.text)[::4])

    def read(self, name: str) -> tuple[dict[str, int], str] | None:
        """The numbers in `name`, and what is left of it; None where it does not begin like this."""
        found = _compiled(self.pattern).match(name)
        if found is None:
            return None
        numbers: dict[str, int] = {}
        for digits, (factor, word, shift) in zip(found.groups(), _BRACES.findall(self.text), strict=True):
            number, rest = divmod(int(digits) - int(shift or 0), int(factor or 1))
            if rest or number < 0 or numbers.setdefault(word, number) != number:
                return None
        return numbers, name[found.end() :]

    def write(self, numbers: Mapping[str, int]) -> str:
        return _BRACES.sub(
            lambda braces: str(int(braces[1] or 1) * numbers[braces[2]] + int(braces[3] or 0)), self.text
        )


@dataclass(frozen=True)
class Format:
    name: str
    family: str
    rules: tuple[tuple[Template, Template], ...]  # theirs, ours
    within: str
    layout: str  # "torch", "flax" or "old flax"
    implied: Mapping[str, Any]  # fields of the family's config that the format has besides the shapes

    def ours(self, theirs: str) -> str | None:
        """Our name for theirs; None where no rule fits."""
        if not theirs.startswith(self.within):
            return None
        for begins, becomes in self.rules:
            if found := begins.read(theirs.removeprefix(self.within)):
                numbers, rest = found
                return becomes.write(numbers) + rest
        return None

    def theirs(self, ours: str, numbers: Mapping[str, int]) -> str:
        """Their name for ours; `numbers` has the model's `depth` and `stages`, which some names depend on."""
        for becomes, begins in self.rules:
            if found := begins.read(ours):
                return self.within + becomes.write({**numbers, **found[0]}) + found[1]
        raise KeyError(ours)

    def fitting(self, names: Iterable[str]) -> int:
        """How many of `names` are this format's."""
        begins = _compiled("|".join(theirs.pattern for theirs, _ in self.rules))
        return sum(name.startswith(self.within) and begins.match(name, len(self.within)) is not None for name in names)

    def from_file(self, tensor: Tensor) -> Tensor:
        """As PyTorch has it: flax's kernels are (height, width, in, out) or (in, out), its old ones with axes of 1."""
        if self.layout == "torch":
            return tensor
        if self.layout == "old flax" and tensor.dim() != 4:
            tensor = tensor.squeeze()
        return tensor.permute({4: (3, 2, 0, 1), 2: (1, 0)}.get(tensor.dim(), tuple(range(tensor.dim()))))

    def shape_from_file(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.from_file(torch.empty(shape, device="meta")).shape)

    def into_file(self, tensor: Tensor) -> Tensor:
        if self.layout == "torch":
            return tensor
        return tensor.permute({4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.dim(), tuple(range(tensor.dim()))))


def detect_format(names: Iterable[str], path: Path) -> Format:
    """The format that most of `names` are in. Raises UserError where it is none, or not the format of half of them."""
    names = list(names)
    best = max(formats().values(), key=lambda format: format.fitting(names))
    if 2 * best.fitting(names) < sum(name.startswith(best.within) for name in names) or not best.fitting(names):
        some = ", ".join(names[:4])
        raise UserError(
            f"{path} holds no MLP-Mixer, ConvMixer or DaViT that mixlab can read: its tensors are called {some} and so "
            f"on, in none of the formats {', '.join(formats())}. Give a file of one of these."
        )
    return best


@cache
def formats() -> dict[str, Format]:
    tables = tomllib.loads(Path(__file__).with_name("formats.toml").read_text(encoding="utf-8"))
    for table in tables.values():
        if isinstance(inside := table.get("inside"), str):
            table["inside"] = tables[inside]["inside"]
    return {name: _format(name, **table) for name, table in tables.items()}


def renumbered(name: str, names: Iterable[str]) -> str:
    """`name` with flax's numbers from 0 on: before linen, layers of different kinds in a block were counted together.

    LayerNorm_0 and LayerNorm_2 beside each other become LayerNorm_0 and LayerNorm_1.
    """
    parts = name.split("/")
    for place, part in enumerate(parts):
        kind, underscore, digits = part.rpartition("_")
        if underscore and digits.isdecimal():
            above = "/".join([*name.split("/")[:place], f"{kind}_"])
            beside = {other.removeprefix(above).partition("/")[0] for other in names if other.startswith(above)}
            order = sorted(int(number) for number in beside if number.isdecimal())
            parts[place] = f"{kind}_{order.index(int(digits))}"
    return "/".join(parts)


def _format(
    name: str,
    family: str,
    rules: list[list[str]],
    blocks: Iterable[list[str]] = (),
    inside: Iterable[list[str]] = (),
    within: str = "",
    layout: str = "torch",
    implied: Mapping[str, Any] | None = None,
) -> Format:
    multiplied = [
        [theirs + their_end, ours + our_end] for (theirs, ours), (their_end, our_end) in product(blocks, inside)
    ]
    pairs = tuple((Template(theirs), Template(ours)) for theirs, ours in [*rules, *multiplied])
    return Format(name, family, pairs, within, layout, implied or {})


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
