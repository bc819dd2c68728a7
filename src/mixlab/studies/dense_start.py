"""The start of the study of dense prediction: each model is trained on classified images before it segments.

The recipes are those of the segmenters without the decoder, so that all models have the same start, on as many patches
as they segment.
"""

from dataclasses import replace
from typing import Protocol

from mixlab.report.text import pluralize
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.initial_weights import weights_of
from mixlab.training.recipes.schema import Initialization, Preprocessing, Recipe, Subset

_BATCH = 64
_SUFFIX = ", classifier"


class Start(Protocol):
    """The settings of the study that concern the start; see `mixlab.studies.dense.Settings`."""

    @property
    def start(self) -> str: ...
    @property
    def start_epochs(self) -> int: ...
    @property
    def start_images(self) -> int: ...


def with_start(segmenters: Arms, settings: Start) -> Arms:
    """The classifiers, and `segmenters` that start from them. Arms with the same network share a classifier."""
    classifiers: dict[str, list[Recipe]] = {}
    started: dict[str, list[Recipe]] = {}
    for name, recipes in segmenters.items():
        assert all(isinstance(recipe, Recipe) for recipe in recipes)
        before = [_classifier(recipe, settings) for recipe in recipes if isinstance(recipe, Recipe)]
        start = next((other for other, same in classifiers.items() if same == before), name + _SUFFIX)
        classifiers[start] = before
        started[name] = [_started(recipe, start) for recipe in recipes if isinstance(recipe, Recipe)]
    return {**classifiers, **started}


def segmenters_of(trained: TrainedArms) -> TrainedArms:
    """`trained` without the classifiers."""
    names = [name for name in trained.runs if not name.endswith(_SUFFIX)]
    return replace(
        trained,
        trainings={name: trained.trainings[name] for name in names},
        runs={name: trained.runs[name] for name in names},
    )


def start_note(settings: Start) -> str:
    """How the segmenters started, in a sentence."""
    if not settings.start:
        return "All models started from random weights."
    return (
        f"Every model was first trained for {pluralize(settings.start_epochs, 'epoch')} on up to "
        f"{pluralize(settings.start_images, 'image')} of each class of {settings.start}, in batches of {_BATCH}, with "
        "the image size, optimizer, schedule and augmentation of the segmentation."
    )


def _classifier(segmenter: Recipe, settings: Start) -> Recipe:
    """The recipe of a segmenter for classified images, which are stretched to its image size."""
    return segmenter.model_copy(
        update={
            "task": "classification",
            "data": settings.start,
            "epochs": settings.start_epochs,
            "batch": _BATCH,
            "decoder": None,
            "preprocessing": Preprocessing(resize="stretch"),
            "subset": Subset(per_class=settings.start_images, seed=segmenter.seed),
        }
    )


def _started(segmenter: Recipe, start: str) -> Recipe:
    """A segmenter that starts from the arm `start`. Image size and config are those of the weights."""
    weights = Initialization(weights=weights_of(start))
    return segmenter.model_copy(update={"initialization": weights, "image_size": None, "config": {}})
