"""What an evaluation needs before its first image: the model, and the images that it has not learned from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from mixlab.data.any_preprocess import AnyPreprocess, require_images
from mixlab.data.dataset import Dataset
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.evaluation_data import open_evaluation_data, run_of, with_unseen_validation
from mixlab.evaluation.restricted_classes import RestrictedClasses
from mixlab.evaluation.unseen_images import UnseenImages, unseen_by_weights
from mixlab.evaluation.views import Views
from mixlab.report.progress import Log
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import Speed
from mixlab.weights.classifier import load_classifier


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedEvaluation:
    """A model and the images that it is evaluated on.

    source      the weights, as for `mixlab.load`
    model       the name of the model
    run         the run, if `source` is one
    network     the model with its views, in fp32
    preprocess  of the images
    dataset     its "test" split is evaluated; "validation" exists if the model was not trained on all of it
    evaluated   which images are evaluated, in words
    unseen      which images were left out
    views       the crop and the test-time augmentation
    device      where the model runs
    is_exported the model runs in another runtime, without a plan
    model_key   returns what determines the logits of the model, as JSON-serializable values
    columns     of the logits, if the dataset has some of the classes only
    quiet       no progress bars
    task, fitted  as in `mixlab.weights.load.Pretrained`
    """

    source: str
    model: str
    run: Run | None
    network: nn.Module
    preprocess: AnyPreprocess
    dataset: Dataset
    evaluated: str
    unseen: UnseenImages
    views: Views
    device: torch.device
    is_exported: bool
    model_key: Callable[[], Mapping[str, Any]]
    columns: Int64[np.ndarray, " restricted_class"] | None
    quiet: bool
    task: str = "classification"
    fitted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_preprocess(self) -> Preprocess:
        """`preprocess` of a model for images. Raises UserError for a model that reads texts."""
        return require_images(self.preprocess)

    @property
    def key(self) -> dict[str, Any]:
        """What determines the logits, apart from the images and the preprocessing, as JSON-serializable values."""
        return {
            **self.model_key(),
            "columns": None if self.columns is None else self.columns.tolist(),
            "views": self.views.facts,
        }

    def inference(self, images: int, speed: Speed, log: Log | None) -> Inference:
        """Runs the network on so many images, all under one plan.

        speed  "auto", or "off" for eager execution in fp32
        log    called with a line about the plan that was selected
        """
        speed = "off" if self.is_exported else speed
        return Inference(self.network, self.device, speed=speed, number=images, key=lambda: self.key, log=log)


def prepare_evaluation(
    source: str,
    data: str | None,
    *,
    views: Views | None = None,
    device: str | None = None,
    fields: Mapping[str, Any] | None = None,
    quiet: bool,
) -> PreparedEvaluation:
    """Load weights and open the images on which they are evaluated.

    The arguments and errors are those of `mixlab.evaluation.model_evaluation.evaluate_model`.
    """
    views = views or Views()
    run = run_of(source)
    opened = load_classifier(source, fields)
    found = open_evaluation_data(source, data, opened.classes)
    unseen = unseen_by_weights(found.dataset, ("test",), [source], quiet=quiet)
    network = views.model(opened.network)
    columns = found.columns
    return PreparedEvaluation(
        source=source,
        model=run.config["model"] if run else source,
        run=run,
        network=network if columns is None else RestrictedClasses(network, columns),
        preprocess=views.preprocess(opened.preprocess),
        dataset=with_unseen_validation(unseen.dataset, source, quiet=quiet),
        evaluated=found.evaluated,
        unseen=unseen,
        views=views,
        device=opened.pick_device(device),
        is_exported=opened.is_exported,
        model_key=opened.key,
        columns=columns,
        quiet=quiet,
        task=opened.task,
        fitted=opened.fitted,
    )
