"""Published weights: a Card for each, with its architecture, files, licence, preprocessing, and whose numbers it has.

What nobody here has read is "unknown". Where the rest was read: Google's addresses and the files' sizes in big_vision's
models/mlp_mixer.py and in the bucket's listing in vision_transformer's vit_jax.ipynb; the ConvMixers' in their authors'
README; everything on the hub in timm's pretrained_cfg. Reads zoo/cards/*.toml; needs no torch.
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
    """A file that holds the weights: at an address, or in a repository on the Hugging Face hub (owner/name)."""

    kind: Literal["url", "hub"]
    address: str
    file: str
    format: str  # a table of formats.toml
    sha256: str  # "unknown" where nobody here has read it
    sha256_begins: str = ""  # as timm's release files are named
    mebibytes: float | None = None  # as the bucket lists it


@dataclass(frozen=True, slots=True)
class Expected:
    """Somebody's number for these weights, in per cent."""

    what: str
    value: float
    reported_by: str
    on: str


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    size: str
    family: str
    config: Mapping[str, Any]  # complete
    parameters: int
    macs: int  # of one image at the config's size
    paper: Paper
    labels: str  # "imagenet-1k", "imagenet-21k", "imagenet-21k-p" or "none"
    licence: str
    provenance: str
    preprocess: Mapping[str, Any]  # the fields of mixlab.data.preprocess.Preprocess
    sources: tuple[CardSource, ...]  # the first is fetched
    expected: tuple[Expected, ...] = ()
    aliases: tuple[str, ...] = ()  # timm's names for the same weights
    alias_warning: str = ""  # what is wrong about an alias


def card(name: str) -> Card:
    """By its name, or timm's full name for it. Raises UserError with the nearest; a wrong name of timm's is said."""
    found = find_card(name)
    if found is None:
        known = [known for card in list_cards() for known in (card.name, *card.aliases)]
        raise UserError(
            f'"{name}" is no published weights that mixlab knows: `mixlab models --pretrained` lists them. '
            f"{did_you_mean(name, known)}".rstrip()
        )
    return found


def find_card(name: str) -> Card | None:
    found = next((card for card in list_cards() if name in (card.name, *card.aliases)), None)
    if found is not None and found.alias_warning and name != found.name:
        _log.warning(f"{name} is {found.name}: {found.alias_warning}")
    return found


def list_cards(pattern: str = "*") -> list[Card]:
    """Those whose names begin with `pattern`, in which * and ? stand for anything, by family and size."""
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
