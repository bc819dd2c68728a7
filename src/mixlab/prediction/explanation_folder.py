"""The results of explanations: a figure for each image or sound, and the maps as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.prediction.explainer import Explainer, Explanation
from mixlab.prediction.importance_map import UNITS
from mixlab.prediction.randomised_weights import WeightsCheck
from mixlab.report.figure import Figure
from mixlab.report.numbers import number
from mixlab.report.overlays import Overlay, overlay_panel
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize

SCHEMA = 1

_INPUTS = {"image": "image", "sound": "spectrogram"}
HEADINGS = {"occlusion": "occlusion", "grad-cam": "Grad-CAM"}


@dataclass
class ExplanationFolder:
    """Collects explanations in a folder that exists: figures at once, results.json at the end.

    noun  what a file is, for the table: "image" or "sound"
    """

    folder: Path
    noun: str
    rows: list[dict[str, Cell]] = field(default_factory=list)
    _images: list[dict[str, Any]] = field(default_factory=list)

    def add(self, file: Path, explanation: Explanation) -> None:
        """Save the figure of the image of `file`."""
        name = _free_name(self.folder, file.stem)
        explanation_figure(explanation, file.name).save_png(self.folder / name)
        self.rows.append({self.noun: str(file)} | _row(explanation))
        self._images.append(
            {
                "image": str(file),
                "figure": name,
                "predicted": explanation.prediction.label,
                "label": explanation.label,
                "probability": explanation.probability,
                "log_odds": explanation.log_odds,
                "covered_probability": explanation.covered_probability,
                "maps": [one.to_dict() for one in explanation.maps.values()],
            }
        )

    def finish(self, source: str, explainer: Explainer, checks: Sequence[WeightsCheck]) -> None:
        """Write results.json."""
        environment = machine.describe(explainer.device)
        results = {
            "schema": SCHEMA,
            "model": source,
            "image_size": list(explainer.image_size),
            "cover": explainer.cover,
            "plan": explainer.plan and explainer.plan.to_dict(),
            "environment": environment,
            "images": self._images,
            "check": [check.to_dict() for check in checks],
        }
        write_json(self.folder / "results.json", results)


def explanation_figure(explanation: Explanation, name: str) -> Figure:
    """The image as the model receives it, beside its maps; `name` is that of the image."""
    overlays = [
        Overlay(HEADINGS[method], one.pixels(), UNITS[method], one.most_important_box)
        for method, one in explanation.maps.items()
    ]
    title = f"{explanation.label}, {number(100 * explanation.probability, 1)} %"
    predicted, probability = explanation.prediction.top(1)[0]
    notes = [name]
    if predicted != explanation.label:
        notes.append(f"predicted as {predicted}, {number(100 * probability, 1)} %")
    if explanation.covered_probability is not None:
        notes.append(f"with the box of the occlusion covered: {number(100 * explanation.covered_probability, 1)} %")
    return Figure(title, [overlay_panel(title, "; ".join(notes), explanation.image, overlays)])


def explanation_table(explainer: Explainer, rows: Sequence[dict[str, Cell]]) -> Table:
    """A row for each image or sound, with the most important box of each method in pixels of the model's input."""
    noun = explainer.preprocess.noun
    columns = [
        Column(noun, noun),
        Column("label", "label"),
        Column("probability", "probability", digits=3),
    ]
    for method in explainer.methods:
        columns += [
            Column(f"{method}_box", f"{HEADINGS[method]}: box"),
            Column(f"{method}_value", UNITS[method], digits=2),
        ]
    if "occlusion" in explainer.methods:
        columns.append(Column("covered_probability", "probability with this box covered", digits=3))
    height, width = explainer.image_size
    note = (
        "A box is the most important place: left, upper, right, lower in pixels of the "
        f"{_INPUTS[noun]} as the model receives it, which has {height} x {width} pixels."
    )
    return Table(pluralize(len(rows), noun), columns, rows, [note])


def _row(explanation: Explanation) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "label": explanation.label,
        "probability": explanation.probability,
        "covered_probability": explanation.covered_probability,
    }
    for method, one in explanation.maps.items():
        row[f"{method}_box"] = " ".join(map(str, one.most_important_box))
        row[f"{method}_value"] = one.largest
    return row


def _free_name(folder: Path, stem: str) -> str:
    """The name of a new PNG file; images of several folders can have the same name."""
    names = (f"{stem}.png" if not number else f"{stem}-{number}.png" for number in range(10**9))
    return next(name for name in names if not (folder / name).exists())
