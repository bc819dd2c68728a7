"""File formats: maps tensor names between mixlab and other programs, in both directions. The names are in formats.toml.

A format is detected from the tensor names in a file, never from the file name.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixlab.errors import UserError

_BRACES = re.compile(r"\{(?:(\d+)\*)?([a-z]+)([+-]\d+)?\}")


@dataclass(frozen=True)
class Template:
    """The beginning of a tensor name, with integers in braces: {block}, {block+3}, {2*pair+1}."""

    text: str

    @property
    def pattern(self) -> str:
        return r"(\d+)".join(re.escape(text) for text in _BRACES.split(self.text)[::4])

    def read(self, name: str) -> tuple[dict[str, int], str] | None:
        """The numbers in `name` and the rest of it; None if `name` does not match."""
        match = _compiled(self.pattern).match(name)
        if match is None:
            return None
        numbers: dict[str, int] = {}
        for digits, (factor, variable, shift) in zip(match.groups(), _BRACES.findall(self.text), strict=True):
            number, rest = divmod(int(digits) - int(shift or 0), int(factor or 1))
            if rest or number < 0 or numbers.setdefault(variable, number) != number:
                return None
        return numbers, name[match.end() :]

    def write(self, numbers: Mapping[str, int]) -> str:
        """The text with the braces replaced by `numbers`."""
        return _BRACES.sub(
            lambda braces: str(int(braces[1] or 1) * numbers[braces[2]] + int(braces[3] or 0)), self.text
        )


@dataclass(frozen=True)
class Format:
    """The names and the layout of the tensors of one model family in the files of one program.

    `rules` are pairs of (name in the file, name in mixlab); the first one that matches is used. `prefix` is the common
    prefix of the model's tensors in the file. `implied` has config fields that the format determines in addition to the
    shapes.
    """

    name: str
    family: str
    rules: tuple[tuple[Template, Template], ...]
    prefix: str
    layout: str  # "torch", "flax" or "old flax"
    implied: Mapping[str, Any]

    def to_mixlab_name(self, file_name: str) -> str | None:
        """The mixlab name of a tensor of a file; None if no rule matches."""
        if not file_name.startswith(self.prefix):
            return None
        for file_template, mixlab_template in self.rules:
            if match := file_template.read(file_name.removeprefix(self.prefix)):
                numbers, rest = match
                return mixlab_template.write(numbers) + rest
        return None

    def to_file_name(self, mixlab_name: str, counts: Mapping[str, int]) -> str:
        """The name of a tensor in files of this format.

        `counts` has the `depth` and the `stages` of the model, because some names depend on them. Raises KeyError if no
        rule matches.
        """
        for file_template, mixlab_template in self.rules:
            if match := mixlab_template.read(mixlab_name):
                return self.prefix + file_template.write({**counts, **match[0]}) + match[1]
        raise KeyError(mixlab_name)

    def count_matches(self, names: Iterable[str]) -> int:
        """How many of `names` match a rule of this format."""
        pattern = _compiled("|".join(template.pattern for template, _ in self.rules))
        return sum(name.startswith(self.prefix) and pattern.match(name, len(self.prefix)) is not None for name in names)

    def from_file(self, tensor: Tensor) -> Tensor:
        """The tensor in the layout of PyTorch.

        Kernels of flax are (height, width, in, out) or (in, out); old ones have additional axes of size 1.
        """
        if self.layout == "torch":
            return tensor
        if self.layout == "old flax" and tensor.dim() != 4:
            tensor = tensor.squeeze()
        return tensor.permute({4: (3, 2, 0, 1), 2: (1, 0)}.get(tensor.dim(), tuple(range(tensor.dim()))))

    def shape_from_file(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of `from_file` for a tensor of `shape`."""
        return tuple(self.from_file(torch.empty(shape, device="meta")).shape)

    def to_file_tensors(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of a model with this `config` by their names in files of this format, in its layout.

        Raises KeyError, with the name of the tensor, if no rule matches.
        """
        counts = {"depth": config.get("depth", 0), "stages": len(config.get("depths", ()))}
        return {self.to_file_name(name, counts): self.to_file(tensor) for name, tensor in tensors.items()}

    def to_file(self, tensor: Tensor) -> Tensor:
        """The tensor in the layout of the format: the inverse of `from_file`."""
        if self.layout == "torch":
            return tensor
        return tensor.permute({4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.dim(), tuple(range(tensor.dim()))))


def detect_format(names: Iterable[str], path: Path) -> Format:
    """The format that matches most of `names`.

    Raises UserError if it matches less than half of the names with its prefix, or none. `path` is for the error
    message.
    """
    names = list(names)
    if best := _best_format(names):
        return best
    raise UserError(
        f"{path} contains no MLP-Mixer, ConvMixer or DaViT that mixlab can read: its tensor names "
        f"({', '.join(names[:4])}, ...) match none of the formats {', '.join(formats())}. Give a file in one of these "
        "formats."
    )


def added_prefix(names: Iterable[str]) -> str:
    """The prefix, such as "model.", that another program added to the names of a known format; empty if there is none.

    At least half of `names` have it. Without it, each of them is a different name of that format.
    """
    names = list(names)
    if _best_format(names):
        return ""
    counts = Counter(chain.from_iterable(map(_dotted_prefixes, names)))
    for prefix in (prefix for prefix, count in counts.items() if 2 * count >= len(names)):
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if any(_reads_all(format, inside) for format in formats().values()):
            return prefix
    return ""


def _best_format(names: list[str]) -> Format | None:
    best = max(formats().values(), key=lambda format: format.count_matches(names))
    matches = best.count_matches(names)
    return best if matches and 2 * matches >= sum(name.startswith(best.prefix) for name in names) else None


def _dotted_prefixes(name: str) -> Iterator[str]:
    return accumulate(f"{part}." for part in name.split(".")[:-1])


def _reads_all(format: Format, names: list[str]) -> bool:
    renamed = {format.to_mixlab_name(name) for name in names}
    return None not in renamed and len(renamed) == len(names)


@cache
def formats() -> dict[str, Format]:
    """All formats of formats.toml by name."""
    tables = tomllib.loads(Path(__file__).with_name("formats.toml").read_text(encoding="utf-8"))
    for table in tables.values():
        if isinstance(inside := table.get("inside"), str):
            table["inside"] = tables[inside]["inside"]
    return {name: _format(name, **table) for name, table in tables.items()}


def renumber_layers(name: str, names: Iterable[str]) -> str:
    """Converts the layer numbers in a name of old flax to those of linen, which counts each type of layer from 0.

    Before linen, layers of different types in one block were counted together: LayerNorm_0 and LayerNorm_2 in a block
    become LayerNorm_0 and LayerNorm_1. `names` are all names of the file.
    """
    parts = name.split("/")
    for index, part in enumerate(parts):
        kind, underscore, digits = part.rpartition("_")
        if underscore and digits.isdecimal():
            stem = "/".join([*name.split("/")[:index], f"{kind}_"])
            siblings = {other.removeprefix(stem).partition("/")[0] for other in names if other.startswith(stem)}
            order = sorted(int(number) for number in siblings if number.isdecimal())
            parts[index] = f"{kind}_{order.index(int(digits))}"
    return "/".join(parts)


def _format(
    name: str,
    family: str,
    rules: list[list[str]],
    blocks: Iterable[list[str]] = (),
    inside: Iterable[list[str]] = (),
    prefix: str = "",
    layout: str = "torch",
    implied: Mapping[str, Any] | None = None,
) -> Format:
    block_rules = [
        [file_block + file_name, mixlab_block + mixlab_name]
        for (file_block, mixlab_block), (file_name, mixlab_name) in product(blocks, inside)
    ]
    templates = tuple((Template(file_name), Template(mixlab_name)) for file_name, mixlab_name in [*rules, *block_rules])
    return Format(name, family, templates, prefix, layout, implied or {})


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
