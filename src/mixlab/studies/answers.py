"""What the model of a training answers for test images, in fp32."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from mixlab.data.dataset import Dataset
from mixlab.data.name_groups import public_name
from mixlab.data.subset import subset
from mixlab.evaluation.evaluate import evaluate
from mixlab.evaluation.evaluation import Evaluation
from mixlab.evaluation.predictions import Predictions, predictions_of_run
from mixlab.files import atomic_file
from mixlab.measure.machine import pick_device
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained

_BATCH = 256


def correct_of(pretrained: Pretrained, dataset: Dataset) -> Bool[np.ndarray, " image"]:
    """Whether a model classifies each test image of its classes correctly."""
    return _evaluate(pretrained, _with_classes(pretrained, dataset)).correct


def predictions_of(name: str, run: Run, dataset: Dataset) -> Predictions:
    """The predictions of a finished run for the test images of its classes.

    They are stored in the folder of the run, so that a repeated study does not evaluate it again.

    name  of the arm
    """
    pretrained = load_pretrained(run.path)
    stored = run.path / "predictions" / f"{dataset.fingerprint}.npy"
    dataset = _with_classes(pretrained, dataset)
    if not stored.exists():
        _store(stored, _evaluate(pretrained, dataset).predictions)
    test = dataset.splits["test"]
    return predictions_of_run(
        name,
        public_name(dataset.name),
        names=test.names,
        classes=dataset.classes,
        labels=test.labels,
        predicted=np.load(stored),
        noun=dataset.noun,
    )


def _store(path: Path, predicted: Int64[np.ndarray, " image"]) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, predicted)


def _with_classes(pretrained: Pretrained, dataset: Dataset) -> Dataset:
    """`dataset` with the classes of the model only."""
    if pretrained.classes == dataset.classes:
        return dataset
    return subset(dataset, classes=pretrained.classes, per_class=None, share=None, seed=0)


def _evaluate(pretrained: Pretrained, dataset: Dataset) -> Evaluation:
    inference = Inference(build_with_weights(pretrained.weights), pick_device())
    test = dataset.splits["test"]
    return evaluate(inference, test, pretrained.preprocess, dataset.classes, batch=_BATCH).evaluation
