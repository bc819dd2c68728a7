"""Autotuning: the modes that are timed, the images that are read, and what happens if memory runs out."""

import json
import os
import re
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from mixlab.measure import timing
from mixlab.speed.plan import ComputeMode, Plan, affordable
from mixlab.training import step
from mixlab.training.launch import launch
from mixlab.training.planning import autotune, timed_steps
from mixlab.training.planning.autotune import select_common_plans, select_plan, time_job
from mixlab.training.recipes.schema import Recipe

pytestmark = pytest.mark.usefixtures("bf16_is_tried", "short_steps", "timed_at_length")


@pytest.fixture
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every step takes equally long, so that results do not depend on the speed of the machine."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))


@pytest.fixture
def steps_of_seven_seconds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The plans whose steps are timed, beside the first two steps of the stock plan. Every step takes seven seconds."""
    monkeypatch.setattr(autotune, "seconds_per_call", lambda step: (step(), 7.0)[1])
    timed: list[str] = []

    def time_steps(kinds: dict[Plan, Any], *, rounds: int, before: Any) -> dict[Plan, float]:
        timed.extend(f"{plan}" for plan in kinds)
        return dict.fromkeys(kinds, 7.0)

    monkeypatch.setattr(autotune, "time_steps", time_steps)
    return timed


@pytest.fixture
def timed_modes(monkeypatch: pytest.MonkeyPatch) -> list[ComputeMode]:
    """The modes for which autotuning builds a model."""
    modes = []
    build = timed_steps.build_for_steps
    monkeypatch.setattr(
        timed_steps, "build_for_steps", lambda job, device, plan: modes.append(plan.mode) or build(job, device, plan)
    )
    return modes


def no_message(message: str) -> None:
    raise AssertionError(f"expected no message, but got: {message}")


def test_speed_off_times_only_the_stock_mode(make_job, timed_modes):
    plan, _ = select_plan(make_job("speed=off"), [].append)
    assert timed_modes == [ComputeMode()]
    assert (plan.device, plan.mode, plan.micro_batch) == ("cpu", ComputeMode(), 8)


def test_speed_off_uses_the_precision_of_the_recipe(make_job, timed_modes):
    select_plan(make_job("speed=off", "precision=bf16"), no_message)
    assert timed_modes == [ComputeMode("bf16")]


@pytest.mark.usefixtures("quick_clock")
def test_speed_auto_times_every_mode_and_selects_the_stock_mode_if_none_is_faster(make_job, timed_modes):
    plan, seconds = select_plan(make_job("speed=auto"), no_message)
    assert len(set(timed_modes)) == len(timed_modes) == 4
    assert (plan.mode, seconds) == (ComputeMode(), 1.0)


@pytest.mark.usefixtures("quick_clock")
def test_a_mode_in_which_steps_can_write_past_memory_is_not_timed(make_job, timed_modes, tiny_recipe):
    """With these channels, steps in fp32 and channels last have crashed."""
    tiny_recipe["config"] = {"channels": [8, 8, 8, 8]}
    select_plan(make_job("speed=auto", "model=resnet_nano"), no_message)
    assert {str(mode) for mode in timed_modes} == {"fp32, contiguous", "bf16, contiguous", "bf16, channels last"}


def test_trainings_without_a_common_precision_are_refused(make_job):
    jobs = [make_job(f"precision={precision}") for precision in ("fp32", "bf16", "auto")]
    with pytest.raises(UserError, match=r"common precision, but their recipes ask for fp32, bf16 and auto: set the"):
        select_common_plans(jobs, [].append)


@pytest.mark.usefixtures("quick_clock")
class TestCache:
    def test_the_same_step_is_timed_once_for_all_trainings(self, make_job, timings_cache, monkeypatch):
        first = select_plan(make_job("speed=auto"), no_message)
        monkeypatch.delattr(autotune, "time_job")
        messages: list[str] = []
        other = ("seed=3", "epochs=9", "schedule.warmup=0.1", "early_stopping.patience=2", "checkpoints.keep=1")
        other += ("transform.name=permute_all_pixels", "transform.seed=3")
        other += ("optimizer.learning_rate=0.01", "optimizer.weight_decay=0.2")
        assert select_plan(make_job("speed=auto", *other), messages.append) == first
        (file,) = timings_cache.iterdir()
        assert re.fullmatch(
            r"Timings are from the cache of \d{4}-\d\d-\d\d \d\d:\d\d; to measure again, delete (.*)\.", messages[0]
        )
        assert messages[0].endswith(f"delete {file}.")

    @pytest.mark.parametrize("settings", [["batch=4"], ["config.depth=2"], ["image_size=12"], ["optimizer.name=sgd"]])
    def test_another_step_is_timed_again(self, make_job, timings_cache, settings):
        for given in ([], settings):
            select_plan(make_job("speed=auto", *given), no_message)
        assert len(list(timings_cache.iterdir())) == 2

    def test_another_number_of_processes_is_timed_again(self, make_job, timings_cache):
        for processes in (1, 2):
            select_plan(make_job("speed=auto"), no_message, processes)
        assert len(list(timings_cache.iterdir())) == 2

    def test_every_key_that_is_not_part_of_a_step_is_a_key_of_recipes(self):
        assert set(autotune._NOT_PART_OF_A_STEP) <= set(Recipe.model_fields)

    @pytest.mark.parametrize(
        ("plans", "minutes", "again"), [(1, 59, False), (1, 61, True), (3, 61, True), (4, 61, False)]
    )
    def test_timings_without_all_modes_and_rewrites_are_measured_again_after_an_hour(
        self, make_job, timings_cache, monkeypatch, timed_modes, plans, minutes, again
    ):
        monkeypatch.setattr(autotune, "affordable", lambda kinds, calls: (plans, 1))
        monkeypatch.setattr(autotune, "has_time_for_kernels", lambda seconds: True)
        select_plan(make_job("speed=auto"), no_message)
        (file,) = timings_cache.iterdir()
        os.utime(file, (0, time.time() - 60 * minutes))
        timed_modes.clear()
        select_plan(make_job("speed=auto"), [].append)
        assert bool(timed_modes) is again

    def test_timings_of_a_training_too_short_for_kernels_are_measured_again_for_a_long_one(
        self, make_job, timings_cache, monkeypatch, timed_modes
    ):
        monkeypatch.setattr(autotune, "_SHARE", 0.2)
        select_plan(make_job("speed=auto"), no_message)
        (file,) = timings_cache.iterdir()
        assert not json.loads(file.read_text())["complete"]
        timed_modes.clear()
        select_plan(make_job("speed=auto", "epochs=100000"), [].append)
        assert timed_modes and json.loads(file.read_text())["complete"]

    def test_speed_off_uses_no_cache(self, make_job, timings_cache):
        for _ in range(2):
            select_plan(make_job("speed=off"), no_message)
        assert not timings_cache.exists()

    def test_a_cache_that_can_not_be_written_is_no_error(self, make_job, timings_cache):
        timings_cache.parent.write_text("a file")
        assert select_plan(make_job("speed=auto"), no_message)[0].mode == ComputeMode()


CONVMIXER = (
    "model=convmixer_nano",
    "config={patch_size = 4, kernel_size = 5, channels = 8, depth = 1}",
)


@pytest.mark.parametrize(
    ("kinds", "calls", "expected"),
    [
        (4, 100, (4, 3)),
        (4, 16, (4, 3)),
        (4, 15, (4, 2)),
        (4, 8, (4, 1)),
        (4, 7, (3, 1)),
        (4, 2, (1, 1)),
        (4, 0, (1, 1)),
    ],
)
def test_fewer_rounds_and_then_fewer_kinds_of_steps_are_timed_if_there_is_little_time(kinds, calls, expected):
    assert affordable(kinds, calls) == expected


@pytest.mark.parametrize(
    ("steps", "rewrite", "number", "duration"),
    [
        (4, "split depthwise", 2, "28 s"),
        (50, "fused convmixer", 2, "28 s"),
        (500, "fused convmixer", 5, "1 min"),
    ],
)
def test_timing_takes_half_a_minute_or_two_per_cent_of_a_long_training(
    make_job, monkeypatch, steps_of_seven_seconds, steps, rewrite, number, duration
):
    monkeypatch.setattr(autotune, "_LONG", 2.0)
    timed = steps_of_seven_seconds
    messages: list[str] = []
    time_job(make_job("speed=auto", f"steps={steps}", *CONVMIXER), messages.append)
    assert timed[:2] == ["fp32, contiguous", f"bf16, channels last, {rewrite}"]
    assert len(timed) == number
    assert messages == [f"Timing {number} kinds of training steps first, for about {duration}."]


@pytest.mark.parametrize(("steps", "number"), [(10, 1), (19, 1), (20, 2), (50, 2)])
def test_timing_takes_a_fifth_of_a_short_training(make_job, monkeypatch, steps_of_seven_seconds, steps, number):
    """Two steps of each of two kinds take 28 seconds."""
    monkeypatch.setattr(autotune, "_SHARE", 0.2)
    timings = time_job(make_job("speed=auto", f"steps={steps}", *CONVMIXER), [].append)
    assert max(len(steps_of_seven_seconds), 1) == number
    assert timings.seconds[ComputeMode()] == 7.0


def test_timings_of_a_short_training_without_all_modes_are_measured_again_for_a_long_one(
    make_job, monkeypatch, steps_of_seven_seconds
):
    monkeypatch.setattr(autotune, "_SHARE", 0.2)
    for steps, measured in ((10, False), (5, False), (60, True), (60, False), (70, False)):
        steps_of_seven_seconds.clear()
        select_plan(make_job("speed=auto", f"steps={steps}"), [].append)
        assert bool(steps_of_seven_seconds) is measured


@pytest.mark.parametrize("order", [(10, 60), (60, 10)])
def test_trainings_of_different_length_with_the_same_steps_have_the_timings_of_the_longest(
    order, make_job, monkeypatch, steps_of_seven_seconds
):
    monkeypatch.setattr(autotune, "_SHARE", 0.2)
    select_common_plans([make_job("speed=auto", f"steps={steps}") for steps in order], [].append)
    assert steps_of_seven_seconds


@pytest.mark.parametrize("speed", ["auto", "off"])
def test_a_plan_for_a_cpu_has_the_number_of_threads_with_which_its_steps_were_timed(make_job, speed, monkeypatch):
    for threads in (2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        plan, _ = select_plan(make_job(f"speed={speed}"), no_message)
        assert plan.threads == threads


def test_a_training_that_is_resumed_has_the_number_of_threads_of_its_start(make_job, tmp_path, monkeypatch):
    """`$OMP_NUM_THREADS` can be another number then, and PyTorch's sums would have another order."""
    job, found, count = make_job("steps=4", "checkpoints.every_steps=1"), [], step.accumulate_gradients

    def accumulate_gradients(*arguments: Any, **settings: Any) -> Any:
        found.append(torch.get_num_threads())
        if len(found) == 2:
            raise KeyboardInterrupt
        return count(*arguments, **settings)

    monkeypatch.setattr(step, "accumulate_gradients", accumulate_gradients)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            launch(job.recipe, job.dataset, job.device, tmp_path / "run", log=[].append, quiet=True)
        torch.set_num_threads(1)
        run = launch(job.recipe, job.dataset, job.device, tmp_path / "run", log=[].append, quiet=True)
    finally:
        torch.set_num_threads(before)
    assert (run.plan["threads"], found) == (2, [2] * 5)


def test_accumulate_is_the_number_of_micro_batches_of_a_batch(make_job):
    plan, _ = select_plan(make_job("accumulate=3"), no_message)
    assert plan.micro_batch == 3


def test_one_of_several_processes_times_its_share_of_a_batch(make_job):
    plan, _ = select_plan(make_job("accumulate=2"), no_message, processes=2)
    assert (plan.micro_batch, plan.processes) == (2, 2)


def test_only_the_images_of_one_step_are_read(make_job, shades):
    read = []

    class Images(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    train = shades.splits["train"]
    recorded = replace(train, images=Images(train.images))
    job = make_job(dataset=replace(shades, splits=shades.splits | {"train": recorded}))
    read.clear()
    select_plan(job, no_message)
    assert read == list(range(8))


def test_an_unreadable_image_is_an_error(make_job, shades, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    train = shades.splits["train"]
    broken = replace(train, images=[tmp_path / "cut.jpg", *train.images[1:]])
    with pytest.raises(UnreadableImage, match=r"cut\.jpg can't be read"):
        select_plan(make_job(dataset=replace(shades, splits=shades.splits | {"train": broken})), no_message)


def test_unreadable_images_are_left_out_if_the_recipe_allows_it(make_job, shades, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    train = shades.splits["train"]
    broken = replace(train, images=[tmp_path / "cut.jpg"] * 8 + train.images[8:])
    dataset = replace(shades, splits=shades.splits | {"train": broken})
    job = make_job("max_unreadable=20", dataset=dataset)
    assert len(autotune.first_batch(job).labels) == job.batch == 8
    assert len(autotune.first_batch(job, processes=2).labels) == 4
    plan, _ = select_plan(job, no_message)
    assert plan.micro_batch == 8
