"""Inference throughput: each model in its fastest compute mode, measured in turns."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import mixlab
from mixlab.benchmark import throughput
from mixlab.benchmark.throughput import BATCH, images_per_second
from mixlab.measure import timing
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.architecture import Model

CPU = torch.device("cpu")
SECONDS = {  # of a forward pass, by model and compute mode
    "quick": {ComputeMode(): 0.5, ComputeMode("fp32", "channels_last"): 0.49, ComputeMode("bf16"): 0.8},
    "slow": {ComputeMode(): 4.0, ComputeMode("fp32", "channels_last"): 2.0, ComputeMode("bf16"): 3.0},
}

MODELS: Any = {name: partial(str, name) for name in SECONDS}  # each "model" is its own name


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models in the order of their forward passes; only these advance the clock."""
    calls: list[str] = []
    now = [0.0]

    def forward(load: Callable[[], str], device: torch.device, mode: ComputeMode, batch: int):
        def call() -> None:
            calls.append(load())
            now[0] += SECONDS[load()][mode] * batch / BATCH

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(throughput, "_forward", forward)
    monkeypatch.setattr(throughput, "candidates", lambda device, precision: list(SECONDS["quick"]))
    return calls


def test_each_model_uses_its_clearly_fastest_mode(order):
    """A gain of 2 % is too small to leave the default mode."""
    speeds = images_per_second(MODELS, CPU)
    assert {name: mode for name, (mode, _) in speeds.items()} == {
        "quick": ComputeMode(),
        "slow": ComputeMode("fp32", "channels_last"),
    }


def test_the_speed_is_the_batch_size_over_the_median_time_with_an_interval_over_rounds(order):
    speeds = images_per_second(MODELS, CPU)
    assert {name: speed.value for name, (_, speed) in speeds.items()} == {"quick": BATCH / 0.5, "slow": BATCH / 2.0}
    assert {(speed.n, speed.unit) for _, speed in speeds.values()} == {(9, "images/s")}


def test_the_batch_size_can_be_changed(order):
    assert images_per_second(MODELS, CPU, batch=8)["quick"][1].value == pytest.approx(BATCH / 0.5)


def test_the_models_take_turns(order):
    images_per_second(MODELS, CPU)
    assert {frozenset(pair) for pair in zip(order[-18::2], order[-17::2], strict=True)} == {frozenset(SECONDS)}


@pytest.mark.parametrize("mode", [ComputeMode(), ComputeMode("bf16", "channels_last")], ids=str)
def test_the_trained_model_is_timed_on_a_batch_of_its_image_size(shades, tiny_recipe, tmp_path, mode):
    job = resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, CPU)
    run = train(job, Plan("cpu", ComputeMode(), 8), tmp_path / "run", quiet=True)
    calls = []

    def load() -> Model:
        model = mixlab.load(run.path)
        model.register_forward_hook(lambda _, inputs, logits: calls.append((inputs[0], logits, model.training)))
        return model

    throughput._forward(load, CPU, mode, 5)()
    ((images, logits, training),) = calls
    assert images.shape == (5, 3, 8, 8) and images.is_contiguous(memory_format=mode.memory_format)
    assert logits.dtype == (torch.float32 if mode == ComputeMode() else torch.bfloat16)
    assert logits.is_inference() and not training
