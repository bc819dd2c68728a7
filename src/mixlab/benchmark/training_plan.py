"""The plan that autotuning selects for a training of an architecture, without a recipe and data of the user."""

import numpy as np
import torch

from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.report.progress import Log
from mixlab.speed.plan import Plan
from mixlab.training.job import Job
from mixlab.training.planning.autotune import select_plan
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.architecture import Architecture

_STEPS = 100_000
"""So long a training is worth any measurement and any compilation."""


def require_trainable(architecture: Architecture) -> None:
    """Raises UserError for an architecture that is not a classifier of RGB images, whose steps are not measured."""
    is_classifier = architecture.family != "segmenter" and architecture.classes > 0
    if not is_classifier or architecture.config["image_channels"] != 3:
        raise UserError(
            f"{architecture.name} is not a classifier of RGB images, and --train measures only these: leave out "
            "--train, or this model."
        )


def training_plan(architecture: Architecture, device: torch.device, batch: int, log: Log) -> Plan:
    """The plan of a long training with AdamW on batches of `batch` random images. See `select_plan`."""
    rows, columns = height_and_width(architecture.image_size)
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, size=(batch, rows, columns, 3), dtype=np.uint8))
    train = Split([str(index) for index in range(batch)], np.arange(batch) % architecture.classes, images)
    fields = {
        "model": architecture.name,
        "data": "random images",
        "steps": _STEPS,
        "batch": batch,
        "image_size": architecture.image_size,
        "optimizer": {"name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.0},
    }
    job = Job(
        recipe=parse_training_recipe(fields, "benchmark"),
        dataset=Dataset("random images", tuple(map(str, range(architecture.classes))), {"train": train}),
        architecture=architecture,
        preprocess=Preprocess((rows, columns)),
        device=device,
    )
    return select_plan(job, log)[0]
