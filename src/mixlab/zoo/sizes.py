"""All sizes by name, with their cost and the reported accuracy, from sizes.toml. Does not import torch."""

import re
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
    """A named model architecture. `config` has the fields of the config of its family."""

    name: str
    family: str
    config: Mapping[str, Any]
    parameters: int
    macs: int  # for one image of the size in `config`
    paper: Paper
    paper_top1: float | None = None  # in per cent
    reported_by: str | None = None  # source of `paper_top1`, and the data of pre-training
    aliases: tuple[str, ...] = ()  # names in timm of the same config


def find_size(name: str) -> Size:
    """The size with this name, or with this name in timm, such as "mixer_b16_224".

    Capital letters and the separators of the papers do not matter: "Mixer-B/16" is "mixer_b16". Raises UserError for an
    unknown name.
    """
    sizes = _sizes()
    found = next((size for size in sizes.values() if _plain(name) in map(_plain, (size.name, *size.aliases))), None)
    if found is None:
        raise UserError(
            f'"{name}" is not a known model: give a name that `mixlab models` lists, timm:NAME for a timm model, or '
            f"py:FILE.py:NAME for a model of yours. {did_you_mean(name.lower(), sizes)}".rstrip()
        )
    return found


def list_sizes(pattern: str = "*") -> list[Size]:
    """The sizes with names, here or in timm, that start with `pattern`, with * and ? as in a shell.

    Raises UserError if there is none.
    """
    sizes = _sizes()
    start = f"{pattern.lower()}*"
    matching = [size for size in sizes.values() if any(fnmatchcase(name, start) for name in (size.name, *size.aliases))]
    if not matching:
        raise UserError(
            f'No model name starts with "{pattern}": give the beginning of a name, with * for any characters. '
            f"{did_you_mean(pattern, sizes) or '`mixlab models` lists all names.'}"
        )
    return matching


def list_models(pattern: str = "*") -> list[str]:
    """The model names for `create_model`, except timm:NAME. `pattern` is that of `list_sizes`."""
    return [size.name for size in list_sizes(pattern)]


def _plain(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _sizes() -> dict[str, Size]:
    tables = tomllib.loads(Path(__file__).with_name("sizes.toml").read_text(encoding="utf-8"))
    papers = {name: Paper(**paper) for name, paper in tables["papers"].items()}
    return {
        name: Size(**size | {"name": name, "paper": papers[size["paper"]], "aliases": tuple(size.get("aliases", ()))})
        for name, size in tables["sizes"].items()
    }
