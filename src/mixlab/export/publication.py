"""A finished run as a folder for others: its weights, and what they are, how good they are, and how to use them."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlab.evaluation.run_evaluation import RunEvaluation
from mixlab.files import write_json, write_text
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.runs.folder import Run
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.weights.storage.write import write_model_folder


@dataclass(frozen=True)
class Publication:
    """`run_evaluation`: on data whose name contains no local path; `source`: the name to give to `load`."""

    run_evaluation: RunEvaluation
    opened: Pretrained
    source: str
    licence: str | None
    parameters: int
    macs: int  # of one image

    @property
    def run(self) -> Run:
        return self.run_evaluation.run

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """As the run was trained, without paths, and without what others have reached with it."""
        recipe = {key: value for key, value in self.run.recipe.items() if key != "expected"}
        return recipe | {"data": public_name(recipe["data"]), "model": public_model(recipe["model"])}

    @property
    def images(self) -> dict[str, int]:
        """How many images each part of the data has that the run was trained on; empty where that is not at hand."""
        if self.run.split_assignment is not None:
            return {split: len(names) for split, names in self.run.split_assignment.items()}
        splits = self.run_evaluation.dataset.splits
        return {name: len(split) for name, split in splits.items()} if "train" in splits else {}

    def results(self) -> dict[str, Any]:
        """results.json."""
        return self.run_evaluation.results() | {
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


def publication(run_evaluation: RunEvaluation, *, source: str, licence: str | None) -> Publication:
    opened = load_pretrained(run_evaluation.run.path)
    model = build_with_weights(opened.weights)
    dataset = replace(run_evaluation.dataset, name=public_name(run_evaluation.dataset.name))
    return Publication(
        run_evaluation=replace(run_evaluation, dataset=dataset),
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
