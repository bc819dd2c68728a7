"""Chooses how many trainings run on this machine at the same time.

A small model does not use all cores of a machine efficiently. Several trainings with fewer threads each then finish
earlier than the same trainings one by one.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import replace
from statistics import median
from typing import TypeVar

import torch

from mixlab.files import WriteError, read_cached_json, write_json
from mixlab.measure.machine import pick_device, usable_cores
from mixlab.measure.timing import interleaved
from mixlab.report.progress import Log
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import Plan, pick_fastest
from mixlab.training.job import Job, resolve
from mixlab.training.objective import make_objective
from mixlab.training.planning.autotune import first_batch, select_common_plans, timings_file, total_steps
from mixlab.training.planning.memory import fits, unless_out_of_memory
from mixlab.training.planning.timed_steps import TimedSteps
from mixlab.training.processes import process_pool
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.schema import Recipe

_MIN_SECONDS = 60.0
"""Shorter trainings, in seconds of all together, run one at a time: the measurement would take longer than it saves."""

Planned = Sequence[tuple[Plan, float]]
T = TypeVar("T")


def select_concurrent_plans(jobs: Sequence[Job], log: Log, *, seeds: int = 1) -> Planned:
    """`select_common_plans`, with as many trainings at the same time as are fastest on this machine.

    The number is doubled as long as the total time falls and the memory of all fits. The seconds per step are those
    while the other trainings run. The timings are cached.

    seeds  number of trainings of each job
    """
    planned = select_common_plans(jobs, log)
    if any(job.recipe.speed == "off" for job in jobs) or seeds * _total_seconds(jobs, planned) < _MIN_SECONDS:
        return planned
    distinct = {timings_file(job): index for index, job in enumerate(jobs)}.values()  # without those of other seeds
    limit = min(torch.get_num_threads() if jobs[0].device.type == "cpu" else usable_cores(), seeds * len(jobs))
    while (number := min(2 * (current := planned[0][0].concurrent), limit)) > current:
        threads = max(1, torch.get_num_threads() // number)
        plans = [replace(plan, concurrent=number, threads=threads) for plan, _ in planned]
        fit = all(fits(jobs[index], plans[index]) for index in distinct)
        seconds = _seconds_together(jobs, plans, log) if fit else None
        if seconds is None:
            break
        together = list(zip(plans, seconds, strict=True))
        total = {current: _total_seconds(jobs, planned), number: _total_seconds(jobs, together)}
        if pick_fastest(total) != number:
            break
        planned = together
    return planned


def _total_seconds(jobs: Sequence[Job], planned: Planned) -> float:
    return sum(total_steps(job) * seconds / plan.concurrent for job, (plan, seconds) in zip(jobs, planned, strict=True))


def _seconds_together(jobs: Sequence[Job], plans: Sequence[Plan], log: Log) -> list[float] | None:
    """The seconds per step of each job while others are trained, or None if they do not fit into memory together."""
    files = [timings_file(job, plan) for job, plan in zip(jobs, plans, strict=True)]
    known = {file: stored["seconds"] for file in files if (stored := read_cached_json(file))}
    missing = {
        file: (job.recipe, plan) for file, job, plan in zip(files, jobs, plans, strict=True) if file not in known
    }
    if missing:
        number = plans[0].concurrent
        log(f"Measuring {number} trainings at the same time.")
        measured = unless_out_of_memory(
            lambda: {file: _seconds_in_processes(*training, number) for file, training in missing.items()}
        )
        if measured is None:
            return None
        with suppress(WriteError):  # without a cache, the next comparison measures again
            for file, seconds in measured.items():
                write_json(file, {"seconds": seconds})
        known |= measured
    return [known[file] for file in files]


def _seconds_in_processes(recipe: Recipe, plan: Plan, number: int) -> float:
    """The median of the `_seconds_per_step` of `number` new processes at the same time."""
    with ExitStack() as stack:
        pools = [stack.enter_context(process_pool(1)) for _ in range(number)]
        _in_all(pools, pick_device)  # all have started before the first one times
        return median(_in_all(pools, _seconds_per_step, recipe, plan))


def _in_all(pools: Sequence[Executor], call: Callable[..., T], *given: object) -> list[T]:
    started = [pool.submit(call, *given) for pool in pools]
    return [future.result() for future in started]


def _seconds_per_step(recipe: Recipe, plan: Plan) -> float:
    """The median seconds of a step in this process."""
    assert plan.threads is not None
    torch.set_num_threads(plan.threads)
    if plan.freed_memory == "retained":
        retain_freed_memory()
    device = pick_device()
    job = resolve(recipe, open_data(recipe), device)
    step = TimedSteps(job, first_batch(job), make_objective(job, device)).under(plan)
    (samples,) = interleaved({"step": step}, rounds=3, warmup=2, sample_seconds=0.2).values()
    return median(samples)
