"""All tasks by name."""

from collections.abc import Mapping
from typing import Any

from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.multilabel import MULTILABEL
from mixlab.tasks.segmentation import SEGMENTATION
from mixlab.tasks.text import TEXT

TASKS = {task.name: task for task in (CLASSIFICATION, MULTILABEL, SEGMENTATION, TEXT)}


def noun_of(recipe: Mapping[str, Any]) -> str:
    """What a sample of a training is, for sentences, from the resolved recipe: "image", "sound" or "text"."""
    is_of_sounds = recipe.get("preprocessing", {}).get("spectrogram") is not None
    return "sound" if is_of_sounds else TASKS[recipe.get("task", "classification")].noun
