"""Trainings whose batch normalisation would see a single value per channel end in a sentence before the first step."""

from math import ceil
from pathlib import Path

import pytest
import torch

from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.batch_norm import require_enough_images
from mixlab.training.job import Job, resolve
from mixlab.training.loop import train
from mixlab.training.planning.autotune import time_job
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.parse import parse_training_recipe
from shape_masks import write_plain

STOCK = ComputeMode("fp32", "contiguous")


def segmentation_job(folder: Path, **changes: object) -> Job:
    """A segmenter for images of 24 x 32 pixels, with a place of 32 pixels in the coarsest map."""
    if not folder.exists():
        write_plain(folder, images=16)
    fields = {
        "task": "segmentation",
        "model": "convmixer_nano",
        "data": f"masks:{folder}",
        "image_size": [24, 32],
        "epochs": 1,
        "batch": 4,
        "speed": "off",
        "config": {"channels": 16, "depth": 1},
        "decoder": {"name": "fpn", "width": 8},
        "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.05},
    }
    recipe = parse_training_recipe(fields | changes, "the test's")
    return resolve(recipe, open_data(recipe), torch.device("cpu"))


def plan(processes: int, micro_batch: int) -> Plan:
    return Plan("cpu", STOCK, micro_batch, processes)


def micro_batch(batch: int, processes: int, accumulate: int) -> int:
    return ceil(ceil(batch / processes) / accumulate)


@pytest.mark.parametrize(
    ("images", "processes", "accumulate", "batch"),
    [(11, 2, 1, 5), (17, 3, 1, 8), (12, 1, 4, 6), (12, 4, 1, 11), (8, 2, 2, 8)],
    ids=["last batch", "three processes", "micro-batches", "every batch", "both"],
)
def test_a_single_image_is_refused_with_the_nearest_batch_that_is_accepted(
    tmp_path, images, processes, accumulate, batch
):
    job = segmentation_job(tmp_path / "shapes", accumulate=accumulate)
    with pytest.raises(UserError, match=rf"^batch=4 leaves a single image .* set batch={batch}\.$"):
        require_enough_images(job, plan(processes, micro_batch(4, processes, accumulate)), images)
    enough = segmentation_job(tmp_path / "shapes", accumulate=accumulate, batch=batch)
    require_enough_images(enough, plan(processes, micro_batch(batch, processes, accumulate)), images)


@pytest.mark.parametrize("images", [12, 13, 15], ids=["whole batches", "one is skipped", "a batch of three"])
def test_a_single_process_is_not_refused_for_its_last_batch(tmp_path, images):
    require_enough_images(segmentation_job(tmp_path / "shapes"), plan(1, 4), images)


def test_a_training_that_ends_before_the_last_batch_of_an_epoch_is_not_refused(tmp_path):
    job = segmentation_job(tmp_path / "shapes", epochs=None, steps=2)
    require_enough_images(job, plan(2, 2), 11)


@pytest.mark.parametrize("changes", [{"decoder": {"name": "linear"}}, {"image_size": [64, 64]}], ids=["linear", "64"])
def test_models_without_a_map_of_one_place_train_on_single_images(tmp_path, changes):
    require_enough_images(segmentation_job(tmp_path / "shapes", **changes), plan(2, 2), 11)


def test_pyramid_pooling_needs_two_images_of_any_size(tmp_path):
    job = segmentation_job(tmp_path / "shapes", decoder={"name": "upernet", "width": 16}, image_size=[64, 64])
    with pytest.raises(UserError, match="convmixer_nano at 64 x 64 pixels normalises maps of one place"):
        require_enough_images(job, plan(2, 2), 11)


def test_a_classifier_is_refused_by_the_same_rule(tmp_path, make_job):
    job = make_job("model=timm:resnet18", "image_size=32", "batch=4", "config={}")
    with pytest.raises(UserError, match="normalises maps of one place"):
        require_enough_images(job, plan(2, 2), 11)


def test_micro_batches_of_one_image_are_refused_if_memory_allows_no_more(tmp_path):
    job = segmentation_job(tmp_path / "shapes")
    with pytest.raises(UserError, match=r"use more training images, fewer processes, accumulate=1 or a smaller model"):
        require_enough_images(job, plan(1, 1), 12)


def test_neither_timing_nor_training_begins(tmp_path):
    job = segmentation_job(tmp_path / "shapes", accumulate=4)
    with pytest.raises(UserError, match="batch=4 leaves a single image"):
        time_job(job, lambda _: None)
    with pytest.raises(UserError, match="batch=4 leaves a single image"):
        train(job, plan(1, 1), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
