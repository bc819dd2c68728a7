"""A run in ONNX, as a part of a published folder."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixlab.data.name_groups import public_name
from mixlab.evaluation.model_evaluation import ModelEvaluation, evaluate_model
from mixlab.export.export import export_model
from mixlab.report.progress import Log
from mixlab.runs.folder import Run
from mixlab.weights.exported import CARD, MODEL, READER

FOLDER = "onnx"
"""The folder with the files in a published one."""

_FILES = (MODEL, READER, CARD)  # without the digests of the training images


@dataclass(frozen=True)
class PublishedOnnx:
    """An exported run.

    folder     with the exported model
    evaluated  the exported model on the held-out images of the run
    """

    folder: Path
    evaluated: ModelEvaluation

    @property
    def card(self) -> dict[str, Any]:
        """The content of card.json."""
        return json.loads((self.folder / CARD).read_text(encoding="utf-8"))

    def write(self, folder: Path) -> None:
        """Copy the files into a published folder."""
        (folder / FOLDER).mkdir()
        for name in _FILES:
            shutil.copy(self.folder / name, folder / FOLDER / name)


def export_for_publication(
    run: Run, of_run: ModelEvaluation, folder: Path, data: str | None, log: Log, *, quiet: bool
) -> PublishedOnnx:
    """Export a run to the new `folder`, and evaluate the exported model.

    of_run  the evaluation of the run
    data    the data of the run, if it was moved

    Raises UserError as `export_model` and `evaluate_model` do.
    """
    export_model(run.path, folder, log=log)
    found = evaluate_model(str(folder), data or run.recipe["data"], quiet=quiet)
    model = f"{FOLDER}/{MODEL}"
    images = of_run.evaluated if list(found.names) == list(of_run.names) else found.evaluated
    named = replace(found, source=model, model=model, data=public_name(found.data), evaluated=images)
    return PublishedOnnx(folder, named)
