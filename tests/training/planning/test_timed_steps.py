"""Steps under several plans: their common memory, and that each computes what it would alone."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mixlab.speed.kernels.library import kernels
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.job import Job
from mixlab.training.objective import make_objective
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import first_batch, time_job
from mixlab.training.planning.timed_steps import TimedSteps

CPU = torch.device("cpu")
CONVMIXER = ("model=convmixer_nano", "config={patch_size = 4, kernel_size = 5, channels = 64, depth = 3}")
STOCK, OTHER = (Plan("cpu", ComputeMode("fp32", layout), 8) for layout in ("contiguous", "channels_last"))


def tensor_bytes() -> int:
    """The bytes of all tensors that exist in Python."""
    gc.collect()
    storages = [each.untyped_storage() for each in gc.get_objects() if type(each) in (Tensor, torch.nn.Parameter)]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


@pytest.mark.usefixtures("bf16_is_tried")  # there are 8 kinds of steps with two precisions
@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_memory_of_autotuning_does_not_grow_with_the_number_of_plans(make_job, monkeypatch, optimizer):
    """The bytes after the last timed step, when the gradients are freed."""
    time_steps, used = autotune.time_steps, {}

    def measured(steps: dict[Plan, Callable[[], None]], **options: Any) -> dict[Plan, float]:
        seconds = time_steps(steps, **options)
        used[len(steps)] = tensor_bytes() - before
        return seconds

    monkeypatch.setattr(autotune, "time_steps", measured)
    job = make_job("speed=auto", "steps=100000", f"optimizer.name={optimizer}", *CONVMIXER)
    for number in (2, 8):
        monkeypatch.setattr(autotune, "affordable", lambda kinds, calls, number=number: (number, 1))
        before = tensor_bytes()
        time_job(job, [].append)
    weights = sum(tensor.nbytes for tensor in job.build().state_dict().values())
    assert used[2] > 1.9 * weights
    assert used[8] - used[2] < 0.1 * weights


def steps_of(job: Job, plan: Plan) -> TimedSteps:
    """Steps with the weights of seed 0, in the layout of `plan`."""
    steps = TimedSteps(job, first_batch(job), make_objective(job, CPU))
    torch.manual_seed(0)
    steps.prepare(plan)
    return steps


@pytest.mark.parametrize(
    "settings",
    [
        ["optimizer.name=adamw"],
        ["optimizer.name=sgd"],
        ["optimizer.name=adamw", "optimizer.sam_rho=0.05"],
        ["optimizer.name=adamw", "activation_checkpointing=blocks"],
    ],
)
@pytest.mark.parametrize("rewrite", [None, "fused_convmixer"])
def test_a_step_after_those_of_another_plan_is_that_of_a_training_that_goes_on(make_job, settings, rewrite):
    """The weights and the states are those of the same steps under a single plan, bit by bit, in its layout."""
    job = make_job(*settings, *CONVMIXER)
    rewrites = TrainingRewrites((rewrite,), kernels().build) if rewrite else TrainingRewrites()
    plan = Plan("cpu", OTHER.mode, 8, rewrites=rewrites)
    alone, beside = steps_of(job, plan), steps_of(job, STOCK)
    for _ in range(3):
        alone.under(plan)()
        beside.prepare(plan)
        beside.under(plan)()
        beside.prepare(STOCK)
    beside.prepare(plan)
    for ours, expected in zip(tensors(beside, plan), tensors(alone, plan), strict=True):
        assert torch.equal(ours, expected)
        assert strides(ours) == strides(expected)


def strides(tensor: Tensor) -> list[int]:
    """The strides of the axes with several elements; those of the others have no meaning."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def tensors(steps: TimedSteps, plan: Plan) -> list[Tensor]:
    """The weights under a plan, and the states of the optimisers."""
    states = [state for optimizer in steps._optimizers for state in optimizer.state.values()]
    return [*steps._model(plan).state_dict().values(), *(value for state in states for value in state.values())]


@pytest.mark.parametrize("model", ["convmixer_nano", "davit_nano", "mixer_nano"])
def test_weights_and_states_have_the_memory_layout_of_a_training_under_the_plan(make_job, model, tiny_recipe):
    tiny_recipe["config"] = {}
    job = make_job(f"model={model}", "image_size=32", "optimizer.name=adamw")
    steps = steps_of(job, STOCK)
    steps.under(STOCK)()
    for plan in (OTHER, STOCK):
        steps.prepare(plan)
        fresh = steps_of(job, plan)
        fresh.under(plan)()
        assert [each.stride() for each in tensors(steps, plan)] == [each.stride() for each in tensors(fresh, plan)]
