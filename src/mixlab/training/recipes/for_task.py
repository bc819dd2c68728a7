"""The fields of a recipe for another task than that of the recipe."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from mixlab.errors import UserError, did_you_mean
from mixlab.report.progress import Log
from mixlab.report.text import join_words
from mixlab.tasks.tasks import TASKS

RECIPES = {"segmentation": "segmentation"}
"""The default recipe of each task for which none is chosen by model and data."""

_OF_TASK = ("loss", "decoder", "expected")
"""Sections that depend on the task."""


def for_task(fields: dict[str, Any], task: str | None, log: Log) -> dict[str, Any]:
    """The fields of a recipe with the default loss of `task`; unchanged if the recipe has this task, or without one.

    Raises UserError if the recipe is for other inputs, such as images for a task with texts.
    """
    if task is None or require_task(task) == fields.get("task", "classification"):
        return fields
    given, needed = TASKS[fields.get("task", "classification")].noun, TASKS[task].noun
    if given != needed:
        raise UserError(
            f"{fields['model']} and its recipe are for {given}s, but --task {task} needs a model that reads {needed}s: "
            "leave out RECIPE and --model, or give others."
        )
    removed = [section for section in _OF_TASK if section in fields]
    if "loss" in removed:
        log(f"The section [loss] of the recipe is for another task, so {task} has its default loss.")
    return {key: value for key, value in fields.items() if key not in removed} | {"task": task}


def require_task(task: str) -> str:
    """Raises UserError if there is no such task."""
    if task not in TASKS:
        known = join_words(list(TASKS), conjunction="or")
        raise UserError(f"--task {task} is unknown: give {known}. {did_you_mean(task, TASKS)}".rstrip())
    return task


def settings_of_images(recipe: BaseModel) -> Iterator[tuple[str, str, str]]:
    """The settings of a recipe for texts that have a meaning for images only, the reason, and the fix."""
    for key in ("image_size", "preprocessing", "transform", "augmentation", "activation_checkpointing"):
        if getattr(recipe, key) != type(recipe).model_fields[key].default:
            yield f'{key} and task="text"', "it is for images", f"Remove {key}."
