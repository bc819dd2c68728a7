"""How many trainings run at the same time: the number that is fastest, if their memory is available."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from mixlab.data.sources import open_dataset
from mixlab.files import WriteError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job, resolve
from mixlab.training.planning import autotune, concurrency, memory
from mixlab.training.planning.autotune import Timings, total_steps
from mixlab.training.planning.concurrency import select_concurrent_plans
from mixlab.training.recipes.parse import parse_training_recipe

silent: Callable[[str], None] = [].append
MANY = {"steps": 3000, "speed": "auto"}
"""Ten steps per second alone: five minutes."""


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda number: monkeypatch.setattr(torch, "get_num_threads", lambda: number)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of trainings that are measured together. Eight trainings at once take three times as long as one."""
    numbers: list[int] = []

    def seconds_together(jobs: Sequence[Job], plans: Sequence[Plan], log: object) -> list[float]:
        (number,) = {plan.concurrent for plan in plans}
        numbers.append(number)
        return [{2: 0.11, 4: 0.15, 8: 0.3}[number]] * len(jobs)

    monkeypatch.setattr(autotune, "time_job", lambda job, log, *rest: Timings(8, "released", {ComputeMode(): 0.1}))
    monkeypatch.setattr(concurrency, "_seconds_together", seconds_together)
    return numbers


@pytest.fixture
def jobs(make_job: Callable[..., Job]) -> Callable[..., list[Job]]:
    def make(number: int, **fields: Any) -> list[Job]:
        job = make_job()
        return [replace(job, recipe=job.recipe.model_copy(update=MANY | fields))] * number

    return make


def concurrent(jobs: Sequence[Job], **options: Any) -> tuple[int, int | None, float]:
    planned = select_concurrent_plans(jobs, silent, **options)
    (found,) = {(plan.concurrent, plan.threads, seconds) for plan, seconds in planned}
    return found


def test_the_number_is_doubled_while_the_total_time_falls(jobs, cores, measured):
    cores(8)
    assert concurrent(jobs(8)) == (4, 2, 0.15)
    assert measured == [2, 4, 8]


@pytest.mark.parametrize(("number", "found"), [(1, (1, 1, 0.1)), (2, (2, 1, 0.11)), (3, (2, 1, 0.11))])
def test_there_are_at_most_as_many_trainings_as_cores(jobs, cores, measured, number, found, monkeypatch):
    cores(number)
    measured_together = concurrency._seconds_together
    monkeypatch.setattr(
        concurrency,
        "_seconds_together",
        lambda jobs, plans, log: [0.2] * len(jobs) if plans[0].concurrent == 3 else measured_together(jobs, plans, log),
    )
    assert concurrent(jobs(8)) == found


def test_several_trainings_share_a_gpu_with_its_memory_and_at_most_as_many_as_cores(jobs, cores, measured, monkeypatch):
    cores(2)
    monkeypatch.setattr(concurrency, "usable_cores", lambda: 4)
    monkeypatch.setattr(autotune, "device_name", lambda device: "a GPU")
    monkeypatch.setattr(autotune, "may_compile", lambda *given: False)
    monkeypatch.setattr(memory, "estimate_memory", lambda job, plan, network: {"parameters": 100})
    on_a_gpu = [replace(job, device=torch.device("cuda")) for job in jobs(8)]
    for free, found in ((3 * 8 * 100, (4, 1, 0.15)), (3 * 2 * 100 + 1, (2, 1, 0.11))):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, free))
        assert concurrent(on_a_gpu) == found


def test_there_are_at_most_as_many_as_trainings_with_all_seeds(jobs, cores, measured):
    cores(8)
    assert concurrent(jobs(2)) == (2, 4, 0.11)
    assert concurrent(jobs(2), seeds=2) == (4, 2, 0.15)


def test_short_trainings_are_not_measured_together(jobs, cores, measured):
    cores(2)
    assert concurrent(jobs(2, steps=299)) == (1, 2, 0.1)
    assert measured == []
    assert concurrent(jobs(2, steps=299), seeds=2) == (2, 1, 0.11)


def test_speed_off_measures_nothing_and_runs_one_at_a_time(jobs, cores, measured):
    cores(8)
    assert concurrent(jobs(8, speed="off")) == (1, 8, 0.1)
    assert measured == []


def test_the_memory_of_all_must_be_available_three_times(jobs, cores, measured, monkeypatch):
    cores(8)
    monkeypatch.setattr(memory, "estimate_memory", lambda job, plan, network: {"parameters": 100})
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 2 * 100 + 1)
    assert concurrent(jobs(8)) == (2, 4, 0.11)
    assert measured == [2]


def test_trainings_that_run_out_of_memory_together_run_one_at_a_time(jobs, cores, measured, monkeypatch):
    cores(8)
    monkeypatch.setattr(concurrency, "_seconds_together", lambda jobs, plans, log: None)
    assert concurrent(jobs(8)) == (1, 8, 0.1)


def test_without_a_cache_the_measured_times_are_used(jobs, monkeypatch):
    def failing(file: Path, value: object) -> None:
        raise WriteError(file, "the disk is full")

    monkeypatch.setattr(concurrency, "write_json", failing)
    monkeypatch.setattr(concurrency, "process_pool", ThreadPoolExecutor)
    seconds = count(0.5)
    monkeypatch.setattr(concurrency, "_seconds_per_step", lambda recipe, plan: next(seconds))
    plans = [Plan("cpu", ComputeMode(), 16, concurrent=2, threads=1)] * 2
    assert concurrency._seconds_together(jobs(2), plans, lambda line: None) == [1.0, 1.0]


@pytest.mark.long
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_steps_are_timed_in_processes_and_the_times_are_cached(tiny_recipe, cores):
    cores(2)
    fields = tiny_recipe | MANY | {"data": "digits", "batch": 16}
    dataset, device = open_dataset("digits"), torch.device("cpu")
    depths = [fields | {"config": tiny_recipe["config"] | {"depth": depth}} for depth in (1, 8)]
    jobs = [resolve(parse_training_recipe(one, "tiny"), dataset, device) for one in depths]
    plans = [Plan("cpu", ComputeMode(), 16, concurrent=2, threads=1)] * 2
    messages: list[str] = []
    shallow, deep = concurrency._seconds_together(jobs, plans, messages.append) or (0.0, 0.0)
    assert 0 < shallow < deep
    assert concurrency._seconds_together(jobs[::-1], plans, messages.append) == [deep, shallow]
    assert messages == ["Measuring 2 trainings at the same time."]
    assert total_steps(jobs[0]) == 3000
