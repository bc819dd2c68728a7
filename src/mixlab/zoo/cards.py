"""Cards of published weights: architecture, files, licence, preprocessing and reported results. Does not import torch.

The cards are zoo/cards/*.toml. A value that could not be verified is "unknown". The sources are: for the addresses and
file sizes of Google, big_vision's models/mlp_mixer.py and the listing of the bucket in vision_transformer's
vit_jax.ipynb; for ConvMixer, the README of its authors; for everything on the hub, timm's pretrained_cfg.
"""

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mixlab.errors import UserError, did_you_mean
from mixlab.zoo.sizes import Paper, find_size

_log = logging.getLogger("mixlab")


@dataclass(frozen=True, slots=True)
class CardSource:
    """A file with the weights: `address` is a URL, or a repository (owner/name) on the Hugging Face hub."""

    kind: Literal["url", "hub"]
    address: str
    file: str
    format: str  # a table of formats.toml
    sha256: str  # "unknown" if it was not verified
    sha256_begins: str = ""  # from the name of the release file of timm
    mebibytes: float | None = None  # from the listing of the bucket


@dataclass(frozen=True, slots=True)
class Expected:
    """A reported result of the weights, in per cent."""

    metric: str
    value: float
    reported_by: str
    on: str


@dataclass(frozen=True, slots=True)
class Card:
    """Published weights. The config is complete, and the first of the `sources` is downloaded."""

    name: str
    size: str
    family: str
    config: Mapping[str, Any]
    parameters: int
    macs: int  # for one image of the size in `config`
    paper: Paper
    labels: str  # "imagenet-1k", "imagenet-21k", "imagenet-21k-p" or "none"
    licence: str
    provenance: str
    preprocess: Mapping[str, Any]  # the fields of mixlab.data.preprocess.Preprocess
    sources: tuple[CardSource, ...]
    expected: tuple[Expected, ...] = ()
    aliases: tuple[str, ...] = ()  # names of the same weights in timm
    alias_warning: str = ""  # why an alias is misleading


def card(name: str) -> Card:
    """The Card with this name, or with this full name in timm. Raises UserError for an unknown name.

    A misleading name of timm is accepted with a warning.
    """
    match = find_card(name)
    if match is None:
        known = [known for card in list_cards() for known in (card.name, *card.aliases)]
        raise UserError(
            f'No published weights have the name "{name}": `mixlab models --pretrained` lists all of them. '
            f"{did_you_mean(name, known)}".rstrip()
        )
    return match


def find_card(name: str) -> Card | None:
    """Like `card`, but returns None for an unknown name."""
    match = next((card for card in list_cards() if name in (card.name, *card.aliases)), None)
    if match is not None and match.alias_warning and name != match.name:
        _log.warning(f"{name} is {match.name}: {match.alias_warning}")
    return match


def list_cards(pattern: str = "*") -> list[Card]:
    """The Cards with names that start with `pattern` (with * and ? as in a shell), sorted by name."""
    return [card for card in _cards() if fnmatchcase(card.name, f"{pattern}*")]


@cache
def _cards() -> tuple[Card, ...]:
    folder = Path(__file__).with_name("cards")
    return tuple(_read(path) for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem))


def _read(path: Path) -> Card:
    fields = tomllib.loads(path.read_text(encoding="utf-8"))
    size = find_size(fields["size"])
    return Card(
        **fields
        | {
            "name": path.stem,
            "family": size.family,
            "config": {**size.config, **fields.get("config", {})},
            "paper": size.paper,
            "sources": tuple(CardSource(**source) for source in fields["sources"]),
            "expected": tuple(Expected(**expected) for expected in fields.get("expected", ())),
            "aliases": tuple(fields.get("aliases", ())),
        }
    )
