"""The trial before step 0: which modes it tries, what it reads, and what it does where memory is short."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from mixlab.data.dataset import Split
from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from mixlab.measure import timing
from mixlab.models.mixer import Mixer
from mixlab.speed.plan import ComputeMode
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import select_plan


@pytest.fixture
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every step takes equally long, so that no machine's speed decides a test."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[ComputeMode]:
    """The modes that a trial builds a model for."""
    modes = []
    placed = autotune.prepare_model
    monkeypatch.setattr(
        autotune, "prepare_model", lambda model, device, mode: modes.append(mode) or placed(model, device, mode)
    )
    return modes


def silent(sentence: str) -> None:
    raise AssertionError(f"nothing was to be said: {sentence}")


def test_speed_off_tries_the_stock_mode_alone(make_job, tried):
    plan, _ = select_plan(make_job("speed=off"), silent)
    assert tried == [ComputeMode()]
    assert (plan.device, plan.mode, plan.micro_batch) == ("cpu", ComputeMode(), 8)


def test_speed_off_keeps_a_precision_that_was_asked_for(make_job, tried):
    select_plan(make_job("speed=off", "precision=bf16"), silent)
    assert tried == [ComputeMode("bf16")]


@pytest.mark.usefixtures("quick_clock")
def test_speed_auto_tries_every_mode_and_stays_with_the_stock_one_without_a_gain(make_job, tried):
    plan, seconds = select_plan(make_job("speed=auto"), silent)
    assert len(set(tried)) == len(tried) == 4
    assert (plan.mode, seconds) == (ComputeMode(), 1.0)


def test_a_batch_goes_through_in_as_many_parts_as_it_is_to_be_accumulated_from(make_job):
    plan, _ = select_plan(make_job("accumulate=3"), silent)
    assert plan.micro_batch == 3


def test_one_of_several_processes_tries_its_share_of_a_step(make_job):
    plan, _ = select_plan(make_job("accumulate=2"), silent, processes=2)
    assert (plan.micro_batch, plan.processes) == (2, 2)


def test_a_trial_reads_the_images_of_one_step_alone(make_job, shades, monkeypatch):
    read = []
    image = Split.image
    monkeypatch.setattr(Split, "image", lambda split, index: read.append(split.names[index]) or image(split, index))
    select_plan(make_job(), silent)
    assert len(read) == 8


def memory_for(n_images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mixer that can be asked about so many images at once; for more the allocator itself refuses."""
    forward = Mixer.forward

    def limited(model: Mixer, images: torch.Tensor) -> torch.Tensor:
        if len(images) > n_images:
            torch.empty(2**50)
        return forward(model, images)

    monkeypatch.setattr(Mixer, "forward", limited)


def test_a_batch_that_does_not_fit_into_memory_goes_through_in_halves_and_says_so(make_job, monkeypatch):
    memory_for(2, monkeypatch)
    said = []
    plan, _ = select_plan(make_job(), said.append)
    assert plan.micro_batch == 2
    assert said == [
        f"8 images at once do not fit into memory: they go through in parts of {split}." for split in (4, 2)
    ]


def test_an_odd_batch_is_halved_down_to_one_image(make_job, monkeypatch):
    memory_for(1, monkeypatch)
    said = []
    plan, _ = select_plan(make_job("batch=7"), said.append)
    splits = [int(sentence.rstrip(".").rpartition(" ")[2]) for sentence in said]
    assert (plan.micro_batch, splits) == (1, [4, 2, 1])


def test_a_model_too_large_for_one_image_is_refused_with_what_may_help(make_job, monkeypatch):
    memory_for(0, monkeypatch)
    with pytest.raises(UserError, match=r"^mixer_nano at 8 pixels does not fit .* one image at a time: take a smaller"):
        select_plan(make_job(), lambda sentence: None)


@pytest.mark.parametrize(("times_what_is_needed", "freed"), [(4, "retained"), (2, "released")])
def test_freed_memory_is_kept_where_there_is_room_for_pieces(times_what_is_needed, freed, make_job, monkeypatch):
    monkeypatch.setattr(autotune, "estimate_memory", lambda job, plan, network: {"parameters": 60, "gradients": 40})
    monkeypatch.setattr(autotune, "available_bytes", lambda: 100 * times_what_is_needed)
    monkeypatch.setattr(autotune, "retain_freed_memory", lambda: None)
    plan, _ = select_plan(make_job("speed=auto"), silent)
    assert plan.freed_memory == freed


def test_speed_off_leaves_the_allocator_as_it_is(make_job):
    assert select_plan(make_job("speed=off"), silent)[0].freed_memory == "released"


def failing_once(error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
    errors = [error]

    def call(*arguments: Any, **settings: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*arguments, **settings)

    return call


def test_python_s_own_memory_error_counts_as_well(make_job, monkeypatch):
    monkeypatch.setattr(autotune, "accumulate_gradients", failing_once(MemoryError(), autotune.accumulate_gradients))
    plan, _ = select_plan(make_job(), lambda sentence: None)
    assert plan.micro_batch == 4


def test_another_error_of_a_step_keeps_its_traceback(make_job, monkeypatch):
    monkeypatch.setattr(
        autotune, "accumulate_gradients", failing_once(RuntimeError("shapes"), autotune.accumulate_gradients)
    )
    with pytest.raises(RuntimeError, match=r"^shapes$"):
        select_plan(make_job(), silent)


def test_an_unreadable_image_is_the_error_of_the_trial(make_job, shades, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    train = shades.splits["train"]
    broken = replace(train, images=[tmp_path / "cut.jpg", *train.images[1:]])
    with pytest.raises(UnreadableImage, match=r"cut\.jpg can't be read"):
        select_plan(make_job(dataset=replace(shades, splits=shades.splits | {"train": broken})), silent)
