"""Tables of published weights: a list, and all details of one Card."""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path

from mixlab.report.table import Column, Table
from mixlab.zoo.cards import Card, CardSource, Expected


def cards_table(cards: Sequence[Card]) -> Table:
    """A human-readable list of published weights, with notes on weights that were never published."""
    unpublished = tomllib.loads(Path(__file__).with_name("unpublished.toml").read_text(encoding="utf-8"))["rows"]
    return Table(
        "Published weights",
        [
            Column("name", "weights"),
            Column("image_size", "image", "px"),
            Column("classes", "classes"),
            Column("parameters", "params", "M", digits=2),
            Column("macs", "MACs", "G", digits=2),
            Column("top1", "top-1", "%", note="on the validation set of ImageNet-1k."),
            Column("reported_by", "reported by"),
        ],
        [
            {
                "name": card.name,
                "image_size": card.config["image_size"],
                "classes": card.config["classes"],
                "parameters": card.parameters / 1e6,
                "macs": card.macs / 1e9,
                "top1": str(top1.value) if (top1 := _top1(card)) else None,
                "reported_by": top1.reported_by if top1 else None,
            }
            for card in cards
        ],
        notes=[
            "`mixlab models NAME` shows all details: files, licence, preprocessing and reported numbers.",
            *(f"{card.aliases[0]}: {card.alias_warning}" for card in cards if card.alias_warning),
            *(f"Not available: {row['models']}: {row['reason']}." for row in unpublished),
        ],
    )


def cards_full_table(cards: Sequence[Card]) -> Table:
    """A machine-readable list with every field; nested fields are JSON."""
    rows = [
        asdict(card)
        | {
            "config": dumps(dict(card.config)),
            "paper": card.paper.title,
            "address": card.paper.address,
            "preprocess": dumps(dict(card.preprocess)),
            "sources": dumps([asdict(source) for source in card.sources]),
            "expected": dumps([asdict(expected) for expected in card.expected]),
            "aliases": " ".join(card.aliases),
        }
        for card in cards
    ]
    return Table("Published weights", [Column(key, key) for key in rows[0]], rows)


def card_table(card: Card) -> Table:
    """All details of one Card."""
    details = {
        "name": card.name,
        "size": card.size,
        "provenance": card.provenance,
        "aliases": ", ".join(card.aliases),
        "warning": card.alias_warning,
        **{name: str(value) for name, value in card.config.items()},
        "parameters": f"{card.parameters:,}",
        "MACs": f"{card.macs:,}",
        "label set": card.labels,
        "licence": card.licence,
        "preprocessing": ", ".join(f"{name}={value}" for name, value in card.preprocess.items()),
        **{f"file {number}": _source(source) for number, source in enumerate(card.sources, start=1)},
        **{f"result {number}": _result(expected) for number, expected in enumerate(card.expected, start=1)},
        "paper": f"{card.paper.title}, {card.paper.address}",
    }
    rows = [{"what": name, "value": value} for name, value in details.items() if value]
    return Table(card.name, [Column("what", "property"), Column("value", "value")], rows)


def _top1(card: Card) -> Expected | None:
    return next((expected for expected in card.expected if expected.metric == "top1"), None)


def _source(source: CardSource) -> str:
    location = source.address if source.kind == "url" else f"hub:{source.address}, {source.file}"
    begins = f", starts with {source.sha256_begins}" if source.sha256_begins else ""
    size = f", {source.mebibytes} MiB" if source.mebibytes else ""
    return f"{location} ({source.format}{size}; SHA-256 {source.sha256}{begins})"


def _result(expected: Expected) -> str:
    return f"{expected.metric} {expected.value} % on {expected.on} ({expected.reported_by})"
