"""Autotuning if memory runs out: the micro-batch is halved, and freed memory is retained only if there is enough."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.models.mixer import Mixer
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.activation_checkpointing import build_for_steps
from mixlab.training.planning import autotune, memory, timed_steps
from mixlab.training.planning.autotune import select_plan

pytestmark = pytest.mark.usefixtures("short_steps")


def no_message(message: str) -> None:
    raise AssertionError(f"expected no message, but got: {message}")


def memory_for(n_images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit a Mixer to `n_images` images per forward pass; with more, the allocator raises its own error."""
    forward = Mixer.forward

    def limited(model: Mixer, images: torch.Tensor) -> torch.Tensor:
        if len(images) > n_images:
            torch.empty(2**50)
        return forward(model, images)

    monkeypatch.setattr(Mixer, "forward", limited)


def test_a_batch_that_does_not_fit_into_memory_is_halved_with_a_message(make_job, monkeypatch):
    memory_for(2, monkeypatch)
    messages = []
    plan, _ = select_plan(make_job(), messages.append)
    assert plan.micro_batch == 2
    assert messages == [
        f"8 images do not fit into memory at once: gradients are accumulated over micro-batches of {micro_batch}."
        for micro_batch in (4, 2)
    ]


def test_a_batch_whose_images_do_not_fit_into_memory_is_refused(make_job, monkeypatch):
    def fail(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(autotune, "first_batch", fail)
    with pytest.raises(UserError, match="A batch of 8 images of 8 pixels does not fit into this machine's memory: use"):
        select_plan(make_job(), no_message)


def test_an_odd_batch_is_halved_down_to_one_image(make_job, monkeypatch):
    memory_for(1, monkeypatch)
    messages = []
    plan, _ = select_plan(make_job("batch=7"), messages.append)
    micro_batches = [int(message.rstrip(".").rpartition(" ")[2]) for message in messages]
    assert (plan.micro_batch, micro_batches) == (1, [4, 2, 1])


def test_a_model_that_does_not_fit_with_one_image_is_an_error_with_advice(make_job, monkeypatch):
    memory_for(0, monkeypatch)
    with pytest.raises(UserError, match=r"^mixer_nano at 8 pixels does not fit .* one image at a time: use a smaller"):
        select_plan(make_job(), lambda message: None)


@pytest.mark.parametrize(("available_over_needed", "freed"), [(4, "retained"), (2, "released")])
def test_freed_memory_is_retained_if_three_times_the_estimate_is_available(
    available_over_needed, freed, make_job, monkeypatch
):
    available(available_over_needed, monkeypatch)
    plan, _ = select_plan(make_job("speed=auto"), no_message)
    assert plan.freed_memory == freed


@pytest.mark.parametrize("speed", ["off", "auto"])
def test_the_memory_of_the_timed_steps_is_released_before_the_training(speed, make_job, monkeypatch):
    """Steps in fp32 of a ConvMixer-256/8 of 512 images need 11 GB, and its training in bf16 6 GB."""
    models, left = [], []

    def build(*given: Any) -> nn.Module:
        model = build_for_steps(*given)
        models.append(ref(model))
        return model

    def release() -> None:
        gc.collect()
        left.extend(model() for model in models)

    monkeypatch.setattr(timed_steps, "build_for_steps", build)
    monkeypatch.setattr(autotune, "release_freed_memory", release)
    select_plan(make_job(f"speed={speed}"), no_message)
    assert left
    assert left == [None] * len(left)


@pytest.mark.parametrize(
    ("then", "now", "freed"),
    [(4, 2.1, "retained"), (4, 1.9, "released"), (2, 1.1, "released"), (2, 9, "released")],
)
def test_timings_in_the_cache_are_used_while_the_memory_of_their_steps_is_available(
    then, now, freed, make_job, monkeypatch
):
    """Retained memory takes up to twice the estimate."""
    available(then, monkeypatch)
    select_plan(make_job("speed=auto"), no_message)
    available(now, monkeypatch)
    assert select_plan(make_job("speed=auto"), [].append)[0].freed_memory == freed


def test_a_cached_micro_batch_that_does_not_fit_any_more_is_halved(make_job, monkeypatch):
    available(2, monkeypatch)
    assert select_plan(make_job("speed=auto"), no_message)[0].micro_batch == 8
    memory_for(4, monkeypatch)
    assert select_plan(make_job("speed=auto"), [].append)[0].micro_batch == 8
    available(0.9, monkeypatch)
    assert select_plan(make_job("speed=auto"), [].append)[0].micro_batch == 4


def test_each_process_has_the_memory_of_a_gpu_of_its_own(make_job, monkeypatch):
    monkeypatch.setattr(memory, "estimate_memory", lambda job, plan, network: {"parameters": 100})
    monkeypatch.setattr(memory, "available_bytes", lambda: 301)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (301, 1000))
    for device, fit in (("cpu", False), ("cuda", True)):
        job = replace(make_job(), device=torch.device(device))
        assert memory.fits(job, Plan(device, ComputeMode(), 8, processes=2)) is fit


def available(over_needed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many times the estimated memory is available."""
    monkeypatch.setattr(memory, "estimate_memory", lambda job, plan, network: {"parameters": 60, "gradients": 40})
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * over_needed)
    monkeypatch.setattr(autotune, "retain_freed_memory", lambda: None)


def test_speed_off_does_not_change_the_allocator(make_job):
    assert select_plan(make_job("speed=off"), no_message)[0].freed_memory == "released"


def failing_once(error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
    errors = [error]

    def call(*arguments: Any, **settings: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*arguments, **settings)

    return call


def test_a_memory_error_of_python_halves_the_micro_batch(make_job, monkeypatch):
    monkeypatch.setattr(
        timed_steps, "accumulate_gradients", failing_once(MemoryError(), timed_steps.accumulate_gradients)
    )
    plan, _ = select_plan(make_job(), lambda message: None)
    assert plan.micro_batch == 4


def test_other_errors_are_not_caught(make_job, monkeypatch):
    monkeypatch.setattr(
        timed_steps, "accumulate_gradients", failing_once(RuntimeError("shapes"), timed_steps.accumulate_gradients)
    )
    with pytest.raises(RuntimeError, match=r"^shapes$"):
        select_plan(make_job(), no_message)
