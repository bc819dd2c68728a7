"""Every size and every published architecture is exported, at reduced depth, on small images and with few classes."""

import json
from pathlib import Path
from typing import Any

import pytest

from mixlab.export.export import export_model
from mixlab.weights.exported import CARD
from mixlab.zoo.architecture import Architecture, architecture, of_family
from mixlab.zoo.cards import find_card, list_cards
from mixlab.zoo.sizes import list_models
from small_model import CLASSES, write_architecture

pytest.importorskip("onnxscript", reason='needs onnx and onnxscript: pip install "mixlab[deploy]"')
pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "mixlab[deploy]"')

WIDE = 192
"""Channels of the first stage of a DaViT from which the width is reduced, too: to a quarter."""


def reduced(found: Architecture) -> Architecture:
    config = found.config
    fields: dict[str, Any] = {"classes": len(CLASSES)}
    match found.family:
        case "mixer" | "convmixer":
            fields |= {"depth": 1, "image_size": 3 * config["patch_size"]}
        case "davit":
            fields |= {"depths": (1,) * len(config["depths"]), "image_size": 64}
            if config["channels"][0] >= WIDE:
                fields["channels"] = tuple(channels // 4 for channels in config["channels"])
        case "timm":  # nano sizes for comparisons
            pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    return found.with_fields(**fields)


def named(name: str) -> Architecture:
    card = find_card(name)
    return of_family(name, card.family, card.config) if card else architecture(name)


def distinct(names: list[str]) -> list[tuple[str, ...]]:
    """The names in groups that have the same reduced architecture, such as published weights of one size."""
    groups: dict[str, tuple[str, ...]] = {}
    for name in names:
        found = named(name)
        key = name if found.family == "timm" else f"{found.family} {dict(reduced(found).config)}"
        groups[key] = (*groups.get(key, ()), name)
    return list(groups.values())


@pytest.mark.long
@pytest.mark.parametrize("names", distinct([*list_models(), *(card.name for card in list_cards())]), ids=", ".join)
def test_the_zoo_is_exported_with_its_answers(tmp_path: Path, names: tuple[str, ...]):
    source = write_architecture(tmp_path / "model", reduced(named(names[0])), CLASSES)
    export_model(source, tmp_path / "out", log=lambda _: None)
    parity = json.loads((tmp_path / "out" / CARD).read_text(encoding="utf-8"))["parity"]
    assert parity["difference"] <= parity["tolerance"] == 1e-4
