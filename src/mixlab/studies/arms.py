"""Training and evaluation of the arms of a study, shared by all studies."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from mixlab.data.dataset import Dataset
from mixlab.data.subset import subset
from mixlab.evaluation.evaluate import evaluate
from mixlab.measure.machine import pick_device
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.runner import plan_trainings, run_all
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained

Log = Callable[[str], None]

_BATCH = 256


def train_arms(
    arms: Mapping[str, Sequence[Recipe | LinearProbeRecipe]], dataset: Dataset, *, log: Log, quiet: bool
) -> dict[str, list[Run]]:
    """Train the recipes of every arm, all in one compute mode, and return the finished runs in the same order."""
    order = [(name, recipe) for name, recipes in arms.items() for recipe in recipes]
    trainings = plan_trainings([recipe for _, recipe in order], dataset, pick_device(), log)
    runs = dict(run_all(trainings, log=log, quiet=quiet))
    return {name: [runs[index] for index, (arm, _) in enumerate(order) if arm == name] for name in arms}


def correct_answers(run: Run, dataset: Dataset) -> Bool[np.ndarray, " image"]:
    """Whether the model of `run` classifies each test image of its classes correctly, in fp32."""
    return correct_of(load_pretrained(run.path), dataset)


def correct_of(pretrained: Pretrained, dataset: Dataset) -> Bool[np.ndarray, " image"]:
    """Whether a model classifies each test image of its classes correctly, in fp32."""
    if pretrained.classes != dataset.classes:
        dataset = subset(dataset, classes=pretrained.classes, per_class=None, share=None, seed=0)
    inference = Inference(build_with_weights(pretrained.weights), pick_device())
    test = dataset.splits["test"]
    return evaluate(inference, test, pretrained.preprocess, dataset.classes, batch=_BATCH).evaluation.correct
