"""Every size by name, with what it costs and what its paper says of it. Reads sizes.toml; needs no torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from mixlab.errors import UserError, did_you_mean


@dataclass(frozen=True, slots=True)
class Paper:
    title: str
    address: str


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    family: str
    config: Mapping[str, Any]  # the fields of the family's config
    parameters: int
    macs: int  # of one image at the config's size
    paper: Paper
    paper_top1: float | None = None  # per cent
    reported_by: str | None = None  # who reported `paper_top1`, on what data


def find_size(name: str) -> Size:
    sizes = _sizes()
    if name not in sizes:
        raise UserError(
            f'"{name}" is no model that mixlab knows: give one of the names that `mixlab models` lists, or timm:NAME '
            f"for one of timm's. {did_you_mean(name, sizes)}".rstrip()
        )
    return sizes[name]


def list_sizes(pattern: str = "*") -> list[Size]:
    """The sizes whose names begin with `pattern`, in which * and ? stand for anything, as in a shell."""
    sizes = _sizes()
    found = [size for name, size in sizes.items() if fnmatchcase(name, f"{pattern}*")]
    if not found:
        raise UserError(
            f'No model\'s name begins with "{pattern}": give the beginning of one, with * for any letters. '
            f"{did_you_mean(pattern, sizes) or 'All are listed by `mixlab models`.'}"
        )
    return found


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` takes, beside timm:NAME; `pattern` as for `list_sizes`."""
    return [size.name for size in list_sizes(pattern)]


@cache
def _sizes() -> dict[str, Size]:
    tables = tomllib.loads(Path(__file__).with_name("sizes.toml").read_text(encoding="utf-8"))
    papers = {name: Paper(**paper) for name, paper in tables["papers"].items()}
    return {name: Size(name=name, **size | {"paper": papers[size["paper"]]}) for name, size in tables["sizes"].items()}
