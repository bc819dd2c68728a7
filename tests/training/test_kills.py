"""Trainings in real processes that are killed and resumed have the weights of uninterrupted ones.

Several processes compute the same weights as one.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from ranks import environments as make_environments

PLAN = {"device": "cpu", "precision": "fp32", "layout": "contiguous", "micro_batch": 8}
BF16 = PLAN | {"precision": "bf16", "layout": "channels_last"}  # the plan of processors with fast bf16


class Trainer:
    """Runs trainings with tests/training/trainer.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("trainer.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        )

    def __call__(
        self,
        recipe: dict[str, Any],
        folder: Path,
        *,
        plan: dict[str, Any] = PLAN,
        processes: int = 1,
        dtype: str = "float32",
        kill_after: tuple[int, float] | None = None,
        kill: tuple[str, int] = ("", 0),
        environments: list[dict[str, str]] | None = None,
    ) -> list[int]:
        """Run a training and return the exit status of each process.

        `kill_after`: kill the first process after this many new checkpoints and then this many seconds.
        `kill`: the signal that each process sends to itself, and the step; "in writing" counts calls of fsync.
        """
        assert self._process.stdin and self._process.stdout
        request = {
            "recipe": recipe,
            "plan": plan,
            "folder": str(folder),
            "dtype": dtype,
            "signal": kill[0],
            "at": kill[1],
            "environments": environments or make_environments(processes),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        first = int(self._process.stdout.readline().split()[0])
        ended = threading.Event()
        if kill_after is not None:
            threading.Thread(target=_kill, args=[first, folder / "checkpoints", *kill_after, ended]).start()
        statuses = [int(status) for status in self._process.stdout.readline().split()]
        ended.set()
        return statuses

    def close(self) -> None:
        self._process.communicate()


def _kill(process: int, checkpoints: Path, count: int, seconds: float, ended: threading.Event) -> None:
    """Kill `process` once `checkpoints` has `count` new files, after further `seconds`."""
    seen = set(checkpoints.glob("step-*"))
    while count > 0 and not ended.wait(0.005):
        new = set(checkpoints.glob("step-*")) - seen
        seen |= new
        count -= len(new)
    if not ended.wait(seconds):
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    trainer = Trainer()
    yield trainer
    trainer.close()


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of thirty images of 16x16 pixels."""
    folder, rng = tmp_path_factory.mktemp("pets"), np.random.default_rng(0)
    for label, brightness in (("cats", 60), ("dogs", 190)):
        (folder / label).mkdir()
        for number in range(30):
            pixels = (brightness + rng.integers(-40, 40, size=(16, 16, 3))).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number:02d}.png")
    return folder


MIXER = {"patch_size": 4, "channels": 16, "token_hidden": 8, "channel_hidden": 32, "depth": 2}
CONVMIXER = {"patch_size": 2, "kernel_size": 3, "channels": 16, "depth": 2}
RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}  # a timm model
DAVIT = {"channels": [8, 16], "depths": [1, 1], "heads": [1, 2], "window": 2}


@pytest.fixture
def recipe(pets: Path) -> dict[str, Any]:
    """Fifty steps of a Mixer, six per epoch; with the random crop every image is read again in each epoch."""
    return {
        "model": "mixer_nano",
        "data": f"folder:{pets}",
        "image_size": 16,
        "steps": 50,
        "batch": 8,
        "speed": "off",
        "config": MIXER,
        "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.05, "clip_norm": 1.0},
        "augmentation": {"flip": True, "random_resized_crop": {"scale": [0.5, 1.0]}},
        "ema": {"decay": 0.9},
        "checkpoints": {"every_steps": 4},
    }


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(Run(folder).weights)


def identical(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def distance(one: Path, other: Path) -> float:
    """The largest difference of the weights of two runs, without the statistics of batch normalisation."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(
        (first[name] - second[name]).abs().max().item()
        for name in first
        if "running" not in name and "num_" not in name
    )


@pytest.mark.parametrize("plan", [PLAN, BF16], ids=["stock", "bf16"])
def test_a_run_killed_three_times_has_the_weights_of_an_uninterrupted_one(trainer, recipe, tmp_path, plan):
    recipe |= {"config": MIXER | {"stochastic_depth": 0.5}}
    assert trainer(recipe, tmp_path / "whole", plan=plan) == [0]
    killed = [-signal.SIGKILL]
    assert trainer(recipe, tmp_path / "killed", plan=plan, kill=("SIGKILL", 11)) == killed
    assert trainer(recipe | {"workers": 2}, tmp_path / "killed", plan=plan, kill=("SIGKILL", 17)) == killed
    assert trainer(recipe, tmp_path / "killed", plan=plan, kill=("in writing", 3)) == killed
    assert trainer(recipe, tmp_path / "killed", plan=plan) == [0]
    assert identical(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_ten_random_moments_has_the_weights_of_an_uninterrupted_one(trainer, recipe, tmp_path, workers):
    recipe |= {"config": MIXER | {"stochastic_depth": 0.5}, "steps": 200, "workers": workers}
    assert trainer(recipe, tmp_path / "whole", plan=BF16) == [0]
    rng, kills, resumed = random.Random(0), 0, set()
    while kills < 10:
        moment = rng.randint(0, 6), rng.uniform(0, 0.05)
        (status,) = trainer(recipe, tmp_path / "killed", plan=BF16, kill_after=moment)
        if status == 0:  # it finished before the kill: start another
            assert identical(tmp_path / "whole", tmp_path / "killed")
            shutil.rmtree(tmp_path / "killed")
            continue
        assert status == -signal.SIGKILL
        kills += 1
        if (tmp_path / "killed/journal.jsonl").exists():
            text = (tmp_path / "killed/journal.jsonl").read_bytes()
            resumed |= {line for line in text.splitlines() if b"resumed" in line}
    assert trainer(recipe, tmp_path / "killed", plan=BF16) == [0]
    assert identical(tmp_path / "whole", tmp_path / "killed")
    assert len(resumed) > 2, "the processes were killed too early"


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 75), ("SIGHUP", 75), ("SIGUSR1", 75)])
def test_a_signal_stops_after_the_step_with_a_checkpoint(trainer, recipe, tmp_path, name, status):
    assert trainer(recipe, tmp_path / "whole") == [0]
    assert trainer(recipe | {"checkpoints": {}}, tmp_path / "stopped", kill=(name, 15)) == [status]
    assert Run(tmp_path / "stopped").state == "stopped"
    assert (Run(tmp_path / "stopped").checkpoints / "step-00000015.safetensors").exists()
    assert trainer(recipe, tmp_path / "stopped") == [0]
    assert read_history(Run(tmp_path / "stopped").journal).resumed[0]["step"] == 15
    assert identical(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize(
    ("model", "config", "parallel", "layout"),
    [
        ("mixer_nano", MIXER, "ddp", "contiguous"),
        pytest.param("davit_nano", DAVIT, "ddp", "contiguous", marks=pytest.mark.long),
        pytest.param("mixer_nano", MIXER, "fsdp", "contiguous", marks=pytest.mark.long),
        pytest.param("mixer_nano", MIXER, "fsdp", "channels_last", marks=pytest.mark.long),
        pytest.param("davit_nano", DAVIT, "fsdp", "contiguous", marks=pytest.mark.long),
        pytest.param("davit_nano", DAVIT, "fsdp", "channels_last", marks=pytest.mark.long),
    ],
)
def test_two_processes_compute_the_weights_of_one(trainer, recipe, tmp_path, model, config, parallel, layout):
    recipe |= {"model": model, "config": config}
    assert trainer(recipe, tmp_path / "one", dtype="float64") == [0]
    plan = PLAN | {"layout": layout}
    assert trainer(recipe | {"parallel": parallel}, tmp_path / "two", plan=plan, dtype="float64", processes=2) == [0, 0]
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10
    resumed_epochs, expected = (read_history(Run(tmp_path / name).journal).epochs for name in ("two", "one"))
    for line, like in zip(resumed_epochs, expected, strict=True):
        assert line["train"] == pytest.approx(like["train"]) and line["validation"] == like["validation"]


@pytest.mark.parametrize(
    ("model", "config", "parallel", "layout"),
    [
        ("convmixer_nano", CONVMIXER, "ddp", "contiguous"),
        pytest.param("convmixer_nano", CONVMIXER, "fsdp", "contiguous", marks=pytest.mark.long),
        pytest.param("convmixer_nano", CONVMIXER, "fsdp", "channels_last", marks=pytest.mark.long),
        pytest.param("resnet_nano", RESNET, "fsdp", "channels_last", marks=pytest.mark.long),
    ],
)
def test_two_processes_with_batch_norm_compute_the_weights_of_one_with_two_micro_batches(
    trainer, recipe, tmp_path, model, config, parallel, layout
):
    """Each micro-batch has separate statistics, like each process. No weights are selected on validation images."""
    recipe |= {"model": model, "config": config, "validation": "merged"}
    del recipe["ema"]
    one = trainer(recipe | {"accumulate": 2}, tmp_path / "one", dtype="float64", plan=PLAN | {"micro_batch": 4})
    assert one == [0]
    plan = PLAN | {"layout": layout}
    assert trainer(recipe | {"parallel": parallel}, tmp_path / "two", plan=plan, dtype="float64", processes=2) == [0, 0]
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10


@pytest.mark.long
def test_a_sharded_model_has_the_average_and_the_scores_of_copies(trainer, recipe, tmp_path):
    """With shares of 5 and 4 images, of which each has two micro-batches, and with statistics of each process."""
    recipe |= {"model": "convmixer_nano", "config": CONVMIXER, "batch": 9}
    plan = PLAN | {"micro_batch": 4}
    for parallel in ("ddp", "fsdp"):
        ended = trainer(recipe | {"parallel": parallel}, tmp_path / parallel, plan=plan, dtype="float64", processes=2)
        assert ended == [0, 0]
    assert distance(tmp_path / "ddp", tmp_path / "fsdp") < 1e-10
    copies, sharded = (read_history(Run(tmp_path / name).journal).epochs for name in ("ddp", "fsdp"))
    assert [line["validation"] for line in sharded] == [line["validation"] for line in copies]


def test_a_process_that_can_not_reach_the_others_does_not_train(trainer, recipe, tmp_path):
    assert trainer(recipe, tmp_path / "run", environments=[{"WORLD_SIZE": "2"}]) == [2]
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_an_error_of_one_of_two_processes_ends_both(trainer, recipe, pets, tmp_path):
    """With the random crop an image is read again in each epoch, by one of the processes."""
    copy = shutil.copytree(pets, tmp_path / "pets")
    image = copy / "cats" / "03.png"
    image.write_bytes(image.read_bytes()[:300])
    assert trainer(recipe | {"data": f"folder:{copy}"}, tmp_path / "run", processes=2) == [2, 2]
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_main_process_ends_both(trainer, recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert trainer(recipe, tmp_path / "run", processes=2) == [2, 2]
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["notes.txt"]


@pytest.mark.long
@pytest.mark.parametrize("order", [(1, "ddp", 2), (2, "ddp", 1), (2, "fsdp", 1), (1, "fsdp", 2)], ids=str)
def test_a_training_can_be_resumed_with_another_number_of_processes(trainer, recipe, tmp_path, order):
    first, parallel, second = order
    recipe |= {"parallel": parallel}
    assert trainer(recipe, tmp_path / "whole", dtype="float64") == [0]
    killed = trainer(recipe, tmp_path / "killed", dtype="float64", processes=first, kill=("SIGTERM", 22))
    assert killed == [75] * first
    assert trainer(recipe, tmp_path / "killed", dtype="float64", processes=second) == [0] * second
    assert distance(tmp_path / "whole", tmp_path / "killed") < 1e-10
