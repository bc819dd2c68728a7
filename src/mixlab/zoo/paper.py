"""The papers' tables of results, row by row: every figure as printed, and what mixlab counts itself.

The figures are paper-tables.csv: Tolstikhin et al. 2021 (MLP-Mixer), Trockman and Kolter 2022 (ConvMixer) and Ding et
al. 2022 (DaViT). What builds a row's model is paper-rows.toml. Needs no torch.
"""

import csv
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.zoo.sizes import find_size


@dataclass(frozen=True, slots=True)
class Counted:
    """What `create_model(build, **fields)` costs."""

    build: str
    fields: Mapping[str, Any]
    image_size: int
    parameters: int
    macs: int  # of one image of `image_size`


@dataclass(frozen=True, slots=True)
class PaperRow:
    printed: Mapping[str, str]  # by column of paper-tables.csv; empty where the paper prints nothing
    counted: Counted | None
    reason: str  # where nothing is counted
    remark: str  # on what is counted


def paper_rows() -> list[PaperRow]:
    answers = tomllib.loads(_beside("paper-rows.toml").read_text(encoding="utf-8"))
    with _beside("paper-tables.csv").open(encoding="utf-8", newline="") as file:
        return [_answered(printed, answers[printed["table"]]) for printed in csv.DictReader(file)]


def _beside(name: str) -> Path:
    return Path(__file__).with_name(name)


def _answered(printed: Mapping[str, str], answers: Iterable[Mapping[str, Any]]) -> PaperRow:
    """The row with the one answer for its model, its block and its image size."""
    found = []
    for answer in answers:
        counted = _counted(answer) if "build" in answer else None
        same_size = counted is None or printed["image_px"] in ("", str(counted.image_size))
        same_block = answer.get("block", printed["block"]) == printed["block"]
        if answer["model"] == printed["model"] and same_block and same_size:
            found.append(PaperRow(printed, counted, answer.get("reason", ""), answer.get("remark", "")))
    (row,) = found
    return row


def _counted(answer: Mapping[str, Any]) -> Counted:
    if "fields" in answer:
        fields = answer["fields"]
        return Counted(answer["build"], fields, fields["image_size"], answer["parameters"], answer["macs"])
    size = find_size(answer["build"])
    return Counted(size.name, {}, size.config["image_size"], size.parameters, size.macs)
