"""Plans of this machine are decided once, and others are used only while they can't be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mixlab.files import WriteError
from mixlab.speed import training_rewrites
from mixlab.speed.kernels.library import KernelsUnavailableError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.job import Job
from mixlab.training.planning import memory
from mixlab.training.planning.concurrency import Planned
from mixlab.training.planning.stored_plans import local_plans, plans_without_storing

STOCK = Plan("cpu", ComputeMode(), 8)
pytestmark = pytest.mark.usefixtures("store")


def fail(file: Path, *given: object) -> None:
    raise WriteError(file, "the disk is full")


class Decisions:
    """Decides the given plan, and counts how often."""

    def __init__(self, plan: Plan):
        self.plan, self.number = plan, 0
        self.messages: list[str] = []

    def __call__(self, job: Job, way: str = "concurrent", seeds: int = 1) -> Planned:
        def decide() -> Planned:
            self.number += 1
            return [(self.plan, 0.1)] * seeds

        jobs = [replace(job, recipe=job.recipe.model_copy(update={"seed": seed})) for seed in range(seeds)]
        return local_plans(way, jobs, decide, self.messages.append)


def test_a_repeated_command_has_the_first_plan_also_with_more_seeds(make_job: Callable[..., Job], store: Path):
    decisions = Decisions(STOCK)
    assert decisions(make_job()) == [(STOCK, 0.1)]
    assert decisions.messages == []
    decisions.plan = replace(STOCK, mode=ComputeMode("bf16"))
    assert decisions(make_job(), seeds=3) == [(STOCK, 0.1)] * 3
    assert decisions.number == 1
    (file,) = (store / ".plans").rglob("*.json")
    (message,) = decisions.messages
    assert message.endswith(f"; to measure again, delete {file}.")


def test_deleting_the_file_decides_again(make_job: Callable[..., Job], store: Path):
    decisions = Decisions(STOCK)
    decisions(make_job())
    next((store / ".plans").rglob("*.json")).unlink()
    decisions(make_job())
    assert decisions.number == 2


def test_in_a_store_that_can_not_be_written_plans_are_not_stored(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mixlab.training.planning.stored_plans.create_file", fail)
    decisions = Decisions(STOCK)
    assert decisions(make_job()) == decisions(make_job()) == [(STOCK, 0.1)]
    assert (decisions.number, decisions.messages) == (2, [])


def test_a_dry_run_reads_stored_plans_and_stores_none(make_job: Callable[..., Job], store: Path):
    decisions, job = Decisions(STOCK), make_job()

    def planned() -> Planned:
        return plans_without_storing("concurrent", [job], lambda: [(replace(STOCK, micro_batch=4), 0.1)], [].append)

    assert planned() == [(replace(STOCK, micro_batch=4), 0.1)]
    assert not store.exists()
    decisions(job)
    assert planned() == [(STOCK, 0.1)]


@pytest.mark.parametrize("change", ["another number of threads", "another device", "alone", "another model"])
def test_other_conditions_have_their_own_plan(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, change):
    decisions = Decisions(STOCK)
    decisions(make_job())
    if change == "another number of threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    if change == "another device":
        monkeypatch.setattr("mixlab.training.planning.stored_plans.device_name", lambda device: "another")
    job = make_job("config.depth=3") if change == "another model" else make_job()
    decisions(job, "alone" if change == "alone" else "concurrent")
    assert (decisions.number, decisions.messages) == (2, [])


@pytest.mark.parametrize(("freed_memory", "needed"), [("released", 200), ("retained", 400)])
def test_while_its_memory_is_missing_another_plan_is_used(
    make_job: Callable[..., Job], store: Path, monkeypatch: pytest.MonkeyPatch, freed_memory, needed
):
    monkeypatch.setattr(memory, "estimate_memory", lambda job, plan, network: {"parameters": 100})
    monkeypatch.setattr(memory, "available_bytes", lambda: needed + 1)
    first = replace(STOCK, concurrent=2, freed_memory=freed_memory)
    decisions = Decisions(first)
    decisions(make_job())
    decisions.plan = STOCK
    assert decisions(make_job()) == [(first, 0.1)]
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    assert decisions(make_job()) == [(STOCK, 0.1)]
    assert decisions.number == 2
    (file,) = (store / ".plans").rglob("*.json")
    assert decisions.messages[1] == (
        f"The compute mode in {file} needs kernels or memory that are not available now: another one is used."
    )
    monkeypatch.setattr(memory, "available_bytes", lambda: needed + 1)
    assert decisions(make_job()) == [(first, 0.1)]


def test_finished_trainings_need_no_memory(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch):
    decisions = Decisions(STOCK)
    decisions(make_job())
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    monkeypatch.setattr("mixlab.training.planning.stored_plans.finished_run", lambda folder: folder)
    assert decisions(make_job()) == [(STOCK, 0.1)]
    assert decisions.number == 1


@pytest.mark.parametrize("build", [None, "another compiler"])
def test_while_its_kernels_are_missing_another_plan_is_used(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, build
):
    class Kernels:
        @property
        def build(self) -> str:
            if here is None:
                raise KernelsUnavailableError("no compiler")
            return here

    here: str | None = "g++"
    monkeypatch.setattr(training_rewrites, "kernels", Kernels)
    decisions = Decisions(replace(STOCK, rewrites=TrainingRewrites(("native_gelu",), "g++")))
    decisions(make_job())
    decisions(make_job())
    assert decisions.number == 1
    here, decisions.plan = build, STOCK
    assert decisions(make_job()) == [(STOCK, 0.1)]
    here = "g++"
    assert decisions(make_job()) != [(STOCK, 0.1)]
    assert decisions.number == 2
