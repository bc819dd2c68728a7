"""A finished run as a folder to publish: weights, config, results and model card."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlab.data.name_groups import public_name
from mixlab.evaluation.model_evaluation import ModelEvaluation
from mixlab.export.published_onnx import PublishedOnnx
from mixlab.files import write_json, write_text
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.runs.folder import Run
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.weights.source import public_model
from mixlab.weights.storage.write import write_model_folder
from mixlab.weights.timm_folder import TimmArchitecture, exact_timm_architecture, write_common_folder
from mixlab.weights.timm_preprocess import TimmPreprocess


@dataclass(frozen=True)
class Publication:
    """A run that is ready to be published.

    The name of the data in `evaluated` contains no local path, and `source` is the name for `load`. `timm` is how timm
    builds the model, or a sentence about why other programs can't use it with the outputs of mixlab. `onnx` is the
    model in ONNX, if it is published, too.
    """

    run: Run
    evaluated: ModelEvaluation
    pretrained: Pretrained
    source: str
    licence: str | None
    parameters: int
    macs: int  # for one image
    timm: TimmArchitecture | str
    onnx: PublishedOnnx | None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe of the run without local paths and without expected results."""
        recipe = {key: value for key, value in self.run.recipe.items() if key != "expected"}
        initialization = dict(recipe["initialization"])
        if initialization.get("weights"):
            initialization["weights"] = public_model(initialization["weights"])
        public = {"data": public_name(recipe["data"]), "model": public_model(recipe["model"])}
        if distillation := recipe.get("distillation"):
            public["distillation"] = distillation | {"teacher": public_model(distillation["teacher"])}
        return recipe | public | {"initialization": initialization}

    @property
    def images(self) -> dict[str, int]:
        """Number of images by split of the training data."""
        return self.run.data["images"]

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        onnx = {} if self.onnx is None else {"onnx": self.onnx.evaluated.results()}
        return (
            self.evaluated.results()
            | onnx
            | {
                "run": self.run.path.resolve().name,
                "parameters": self.parameters,
                "macs": self.macs,
                "trained": {"data": self.recipe["data"], "images": self.images, "environment": self.run.environment},
            }
        )

    def write(self, folder: Path, card: str) -> None:
        """Writes all files into `folder`, which must exist; `card` is the text of README.md."""
        weights, classes, preprocess = (
            self.pretrained.weights,
            self.pretrained.classes,
            self.pretrained.image_preprocess,
        )
        if isinstance(self.timm, str):
            write_model_folder(folder, weights, classes, preprocess)
        else:
            write_common_folder(folder, self.timm, weights, classes, preprocess)
        if self.onnx is not None:
            self.onnx.write(folder)
        write_text(folder / "README.md", card)
        write_json(folder / "results.json", self.results())


def publication(
    run: Run, evaluated: ModelEvaluation, *, source: str, licence: str | None, onnx: PublishedOnnx | None = None
) -> Publication:
    """Prepares an evaluated run for publication.

    `source` is the name that users give to `load`: hub:owner/name, or a folder. `licence` is an identifier of the hub,
    such as "apache-2.0". Raises UserError if the weights of the run can't be loaded.
    """
    pretrained = load_pretrained(run.path)
    model = build_with_weights(pretrained.weights)
    return Publication(
        run=run,
        evaluated=replace(
            evaluated, source=source, model=public_model(evaluated.model), data=public_name(evaluated.data)
        ),
        pretrained=pretrained,
        source=source,
        licence=licence,
        parameters=count_parameters(model),
        macs=count_macs(model, (3, *pretrained.image_preprocess.image_size)),
        onnx=onnx,
        timm=TimmPreprocess(pretrained.image_preprocess).missing or exact_timm_architecture(pretrained.weights),
    )
