"""A finished run as a folder for others: its weights, and what they are, how good they are, and how to use them."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlab.evaluation.run_evaluation import Judgement
from mixlab.files import write_json, write_text
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.runs.folder import Run
from mixlab.weights.load import Opened, built, open_weights
from mixlab.weights.storage.write import write_model_folder


@dataclass(frozen=True)
class Publication:
    """`judgement` is of the run, on data whose name is fit to be read by others; `source` is what `load` will take."""

    judgement: Judgement
    opened: Opened
    source: str
    licence: str | None
    parameters: int
    macs: int  # of one image

    @property
    def run(self) -> Run:
        return self.judgement.run

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """As the run was trained, without paths, and without what others have reached with it."""
        recipe = {key: value for key, value in self.run.recipe.items() if key != "expected"}
        return recipe | {"data": public_name(recipe["data"]), "model": public_model(recipe["model"])}

    @property
    def images(self) -> dict[str, int]:
        """How many images each part of the data has that the run was trained on; empty where that is not at hand."""
        if self.run.split is not None:
            return {part: len(names) for part, names in self.run.split.items()}
        parts = self.judgement.dataset.parts
        return {name: len(part) for name, part in parts.items()} if "train" in parts else {}

    def results(self) -> dict[str, Any]:
        """results.json."""
        return self.judgement.results() | {
            "run": self.run.path.resolve().name,
            "parameters": self.parameters,
            "macs": self.macs,
            "trained": {"data": self.recipe["data"], "images": self.images, "environment": self.run.environment},
        }

    def write(self, folder: Path, card: str) -> None:
        """Into `folder`, which is there."""
        write_model_folder(folder, self.opened.weights, self.opened.classes, self.opened.preprocess)
        write_text(folder / "README.md", card)
        write_json(folder / "results.json", self.results())


def publication(judgement: Judgement, *, source: str, licence: str | None) -> Publication:
    opened = open_weights(judgement.run.path)
    model = built(opened.weights)
    dataset = replace(judgement.dataset, name=public_name(judgement.dataset.name))
    return Publication(
        judgement=replace(judgement, dataset=dataset),
        opened=opened,
        source=source,
        licence=licence,
        parameters=count_parameters(model),
        macs=count_macs(model, (3, *opened.preprocess.image_size)),
    )


def public_name(data: str) -> str:
    """Without the path, which is its user's own: folder:/home/me/pets is folder:pets."""
    kind, _, path = data.partition(":")
    return f"folder:{Path(path).name}" if kind == "folder" else kind


def public_model(model: str) -> str:
    """Without the path of weights that a training began with."""
    return model if model.startswith(("hub:", "timm:")) else Path(model).name
