"""A segmenter that two processes train has the weights and the metrics of one that a single process trains."""

import json
from pathlib import Path
from typing import Any

import pytest

from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from ranks import run_python
from shape_masks import write_pair
from training.test_kills import PLAN, distance, trainer

__all__ = ["trainer"]  # a fixture

pytestmark = pytest.mark.long

MIXER = {"patch_size": 4, "channels": 16, "token_hidden": 8, "channel_hidden": 32, "depth": 2}
DAVIT = {"channels": [8, 16], "depths": [1, 1], "heads": [1, 2], "window": 2}
VALIDATION_IMAGES = 3

VALIDATE = """
import json, sys, torch
from mixlab.training.distributed import make_accelerator
from mixlab.training.job import resolve
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.validation import Validation

recipe = parse_training_recipe(json.loads(sys.argv[1]), "the test's")
job = resolve(recipe, open_data(recipe), torch.device("cpu"))
validation = Validation(job, make_accelerator(job.device, "fp32"), quiet=True)
torch.manual_seed(0)
network = job.build().eval()

def predict(batch):
    images, _ = batch.on(job.device)
    with torch.no_grad():
        return network(images)

print(json.dumps(validation.evaluate(predict)[0]))
"""


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    numbers = iter(range(99))
    for split, images in (("train", 21), ("val", VALIDATION_IMAGES), ("test", 1)):
        for _, number in zip(range(images), numbers, strict=False):
            write_pair(tmp_path / "shapes" / split, tmp_path / "shapes" / f"{split}annot", f"{number}", number)
    (tmp_path / "shapes" / "classes.txt").write_text("ground\nsquare\n")
    return tmp_path / "shapes"


@pytest.fixture
def recipe(shapes: Path) -> dict[str, Any]:
    """Eighteen steps of a Mixer with a linear decoder, which has no batch statistics."""
    return {
        "task": "segmentation",
        "model": "mixer_nano",
        "data": f"masks:{shapes}",
        "image_size": [24, 32],
        "epochs": 6,
        "batch": 8,
        "speed": "off",
        "config": MIXER,
        "decoder": {"name": "linear"},
        "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.05, "clip_norm": 1.0},
        "augmentation": {"flip": True, "random_resized_crop": {"scale": [0.5, 1.0]}},
    }


@pytest.mark.parametrize(("model", "config", "parallel"), [("mixer_nano", MIXER, "ddp"), ("davit_nano", DAVIT, "fsdp")])
def test_two_processes_compute_the_weights_and_metrics_of_one(trainer, recipe, tmp_path, model, config, parallel):
    recipe |= {"model": model, "config": config}
    assert trainer(recipe, tmp_path / "one", dtype="float64") == [0]
    assert trainer(recipe | {"parallel": parallel}, tmp_path / "two", dtype="float64", processes=2) == [0, 0]
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10
    of_one, of_two = (read_history(Run(tmp_path / name).journal).epochs for name in ("one", "two"))
    for one, two in zip(of_one, of_two, strict=True):
        assert two["train"] == pytest.approx(one["train"])
        assert two["validation"] == one["validation"]
        assert two["validation"]["images"] == VALIDATION_IMAGES


def test_two_processes_with_a_feature_pyramid_compute_the_weights_of_one_with_two_micro_batches(
    trainer, recipe, tmp_path
):
    """Each micro-batch has separate statistics, like each process. No weights are selected on validation images.

    The merged images make whole batches, because the coarsest map is a single value per image and channel.
    """
    recipe |= {"decoder": {"name": "fpn", "width": 8}, "validation": "merged"}
    one = trainer(recipe | {"accumulate": 2}, tmp_path / "one", dtype="float64", plan=PLAN | {"micro_batch": 4})
    assert one == [0]
    assert trainer(recipe, tmp_path / "two", dtype="float64", processes=2) == [0, 0]
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10


def test_every_process_has_the_metrics_of_all_validation_images(recipe, tmp_path):
    """Three images are an uneven number for two processes."""
    single, first, second = (
        json.loads(ended.out)
        for processes in (1, 2)
        for ended in run_python(["-c", VALIDATE, json.dumps(recipe)], tmp_path, processes=processes)
    )
    assert single["images"] == VALIDATION_IMAGES
    assert first == second == pytest.approx(single)
