"""The values of a journal line: metrics of the steps since the previous line."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.batches import Batch
from mixlab.data.preprocess import Preprocess
from mixlab.training import step_metrics as module
from mixlab.training.distributed import make_accelerator
from mixlab.training.step import StepResult
from mixlab.training.step_metrics import StepMetrics


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock.now)
    return clock


def step_result(loss: float) -> StepResult:
    batch = Batch(
        torch.zeros(8, 3, 2, 2, dtype=torch.uint8),
        torch.zeros(8, dtype=torch.int64),
        np.arange(8),
        np.zeros((8, 0)),
        Preprocess((2, 2)),
        Augmentation(),
    )
    return StepResult(torch.tensor(loss), {"correct": torch.tensor(0)}, torch.ones(1), batch, learning_rate=0.1)


def test_validation_between_two_steps_does_not_count_for_the_throughput(clock):
    metrics = StepMetrics(make_accelerator(torch.device("cpu"), "fp32"), _since=0.0)
    metrics.add(1, step_result(2.0))
    clock.now = 1.0
    with metrics.paused():
        clock.now = 101.0
    metrics.add(2, step_result(4.0))
    clock.now = 103.0
    line = metrics.flush()
    assert (line["images_per_second"], line["loss"]) == (pytest.approx(16 / 3), 3.0)
