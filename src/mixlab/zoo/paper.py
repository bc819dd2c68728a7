"""The result tables of the papers, row by row: the printed figures, and the counts of mixlab. Does not import torch.

The figures are in paper-tables.csv: Tolstikhin et al. 2021 (MLP-Mixer), Trockman and Kolter 2022 (ConvMixer) and Ding
et al. 2022 (DaViT). paper-rows.toml has the model of each row.
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
    """Parameters and multiply-accumulates of `create_model(build, **fields)`."""

    build: str
    fields: Mapping[str, Any]
    image_size: int
    parameters: int
    macs: int  # for one image of `image_size` pixels


MAX_DIFFERENCE = 2.0
"""Per cent. A count that differs more from the printed figure has a remark."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One row of a result table.

    `printed` has the text of each column of paper-tables.csv, empty if the paper prints nothing. `counted` is None if
    the model can't be built; `reason` says why. `comment` is about the counts.
    """

    printed: Mapping[str, str]
    counted: Counted | None
    reason: str
    comment: str

    @property
    def remarks(self) -> list[str]:
        """The note of the paper on its figures, the comment, and counts that differ from the printed figures."""
        written = [text for text in (self.printed["note"], self.comment) if text]
        if self.counted is None:
            return written
        compared = {
            "our params": (self.counted.parameters / 1e6, self.printed["params_m"]),
            "our MACs": (self.counted.macs / 1e9, self.printed["flops_g"]),
        }
        differences = {name: 100 * (ours / float(text) - 1) for name, (ours, text) in compared.items() if text}
        return written + [
            f"{name} differ by {difference:+.1f} % from the printed figure"
            for name, difference in differences.items()
            if abs(difference) > MAX_DIFFERENCE
        ]


def paper_rows() -> list[PaperRow]:
    """All rows, in the order of paper-tables.csv."""
    entries = tomllib.loads(_data_file("paper-rows.toml").read_text(encoding="utf-8"))
    with _data_file("paper-tables.csv").open(encoding="utf-8", newline="") as file:
        return [_paper_row(printed, entries[printed["table"]]) for printed in csv.DictReader(file)]


def _data_file(name: str) -> Path:
    return Path(__file__).with_name(name)


def _paper_row(printed: Mapping[str, str], entries: Iterable[Mapping[str, Any]]) -> PaperRow:
    """Combines a printed row with the only entry for its model, block and image size."""
    matches = []
    for entry in entries:
        counted = _counted(entry) if "build" in entry else None
        same_size = counted is None or printed["image_px"] in ("", str(counted.image_size))
        same_block = entry.get("block", printed["block"]) == printed["block"]
        if entry["model"] == printed["model"] and same_block and same_size:
            matches.append(PaperRow(printed, counted, entry.get("reason", ""), entry.get("remark", "")))
    (row,) = matches
    return row


def _counted(entry: Mapping[str, Any]) -> Counted:
    if "fields" in entry:
        fields = entry["fields"]
        return Counted(entry["build"], fields, fields["image_size"], entry["parameters"], entry["macs"])
    size = find_size(entry["build"])
    return Counted(size.name, {}, size.config["image_size"], size.parameters, size.macs)
