"""Optional settings of a recipe in whole trainings: each changes the weights, and resuming gives identical weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import step
from mixlab.training.job import Job
from mixlab.training.loop import train

PLAN = Plan("cpu", ComputeMode(), 3)
OPTIONS = {
    "muon": ["optimizer.name=muon"],
    "muon and layers": ["optimizer.name=muon", "optimizer.layer_decay=0.5"],
    "momentum and layers": ["optimizer.name=sgd", "optimizer.layer_decay=0.5"],
    "everything decays": ["optimizer.decay_parameters=all", "optimizer.weight_decay=1.0"],
    "decay by the schedule": ["optimizer.decoupled_decay=true"],
    "sharpness": ["optimizer.sam_rho=0.5"],
    "sigmoid": ["loss.name=sigmoid", "loss.head_bias=-0.7"],
    "weights of classes": ["loss.class_weights=[3, 1]"],
    "mixup": ["augmentation.mixup.alpha=0.5"],
    "knots": ["schedule.name=piecewise", "schedule.knots=[[0, 0.1], [0.5, 1], [1, 0.5]]"],
    "by epochs": ["schedule.update_every=epoch", "schedule.final_factor=0.1", "schedule.cooldown_epochs=1"],
}

MakeJob = Callable[..., Job]


class Killed(BaseException):
    pass


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.weights)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_weights_and_can_be_resumed_with_identical_weights(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
):
    default = ["steps=7", "checkpoints.every_steps=2", "augmentation.flip=true"]
    job = make_job(*default, *OPTIONS[option])
    whole = weights(train(job, PLAN, tmp_path / "whole", quiet=True))
    assert not same(whole, weights(train(make_job(*default), PLAN, tmp_path / "usual", quiet=True)))
    with monkeypatch.context() as broken:
        accumulate_gradients, calls = step.accumulate_gradients, []

        def failing(*arguments: Any, **settings: Any) -> Any:
            calls.append(1)
            if len(calls) == 6:
                raise Killed
            return accumulate_gradients(*arguments, **settings)

        broken.setattr(step, "accumulate_gradients", failing)
        with pytest.raises(Killed):
            train(job, PLAN, tmp_path / "killed", quiet=True)
    assert same(whole, weights(train(job, PLAN, tmp_path / "killed", quiet=True)))
