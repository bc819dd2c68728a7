"""Autotuning: time a few steps in every compute mode of this machine, and select the plan of a training.

The timings are cached in the user's cache folder, so that `--dry-run` and the training after it measure once. With
`speed = "off"`, the cache is not used.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mixlab.data.batches import Batch, steps_per_epoch
from mixlab.errors import UserError
from mixlab.files import WriteError, cache_folder, read_cached_json, write_json
from mixlab.measure.machine import device_name
from mixlab.measure.timing import seconds_per_call
from mixlab.report.numbers import duration
from mixlab.report.progress import Log
from mixlab.report.text import join_words, pluralize
from mixlab.runs.store import store_key
from mixlab.speed.allocator import release_freed_memory, retain_freed_memory
from mixlab.speed.kernels.library import KernelsUnavailableError
from mixlab.speed.plan import (
    ComputeMode,
    FreedMemory,
    Plan,
    affordable,
    pick_fastest,
    time_steps,
    training_candidates,
)
from mixlab.training.activation_checkpointing import build_for_steps
from mixlab.training.batch_norm import require_enough_images
from mixlab.training.job import Job
from mixlab.training.objective import make_objective
from mixlab.training.planning.compilation import may_compile, time_compilation
from mixlab.training.planning.memory import fits, has_memory, is_out_of_memory
from mixlab.training.planning.timed_rewrites import has_time_for_kernels, kernel_build, rewrites_to_time
from mixlab.training.planning.timed_steps import TimedSteps
from mixlab.training.planning.timings import Compilation, Timings

_SHARE, _MOST_SECONDS, _SHARE_OF_LONG = 0.2, 30.0, 0.02
"""Timing takes at most the first share of the training's time, and at most that many seconds or the second share,
whichever is longer."""

_NOT_PART_OF_A_STEP = (
    *(
        "data",
        "subset",
        "transform",
        "epochs",
        "steps",
        "seed",
        "schedule",
        "early_stopping",
        "validation",
        "validate_every",
        "checkpoints",
    ),
    *("expected", "trackers", "workers", "max_unreadable", "non_finite"),
)
"""Keys of a recipe that do not change the time of a step. What they imply for a step, such as the number of classes, is
in the config."""

_RATES = ("learning_rate", "weight_decay")
"""Keys of an optimizer that do not change the time of a step either. They differ in every trial of a tuning."""

_LONG = 2.0  # seconds without a message

_EXPIRY = 3_600.0
"""Seconds after which timings are measured again if there was no time for all modes, for example under other load. They
are measured again at once for a longer training, which has more time for them."""


def select_plan(job: Job, log: Log, processes: int = 1) -> tuple[Plan, float]:
    """The fastest plan on this machine, and its seconds per step, measured now or read from the cache.

    log        called with a message about the cache, or if timing takes long or the batch does not fit into memory
    processes  number of processes that share each batch
    """
    timings = _cached_timings(job, log, processes).for_training(total_steps(job))
    mode = pick_fastest(timings.seconds)
    return timings.plan(job, mode, processes), timings.seconds[mode]


def select_common_plans(jobs: Sequence[Job], log: Log) -> list[tuple[Plan, float]]:
    """`select_plan` for trainings that are compared: all get the compute mode with the shortest total time.

    Raises UserError if the trainings have no mode in common.
    """
    files = [timings_file(job) for job in jobs]
    longest = dict(sorted(zip(files, jobs, strict=True), key=lambda of_file: total_steps(of_file[1])))
    by_file = {file: _cached_timings(longest[file], log) for file in dict.fromkeys(files)}
    timings = [by_file[file].for_training(total_steps(job)) for file, job in zip(files, jobs, strict=True)]
    common = [mode for mode in timings[0].seconds if all(mode in of_job.seconds for of_job in timings)]
    if not common:
        precisions = join_words([*dict.fromkeys(job.recipe.precision for job in jobs)])
        raise UserError(
            f"These trainings are compared, which needs a common precision, but their recipes ask for {precisions}: "
            "set the same precision in all."
        )
    total = {
        mode: sum(of_job.seconds[mode] * total_steps(job) for job, of_job in zip(jobs, timings, strict=True))
        for mode in common
    }
    mode = pick_fastest(total)
    return [(of_job.plan(job, mode), of_job.seconds[mode]) for job, of_job in zip(jobs, timings, strict=True)]


def timings_file(job: Job, plan: Plan | None = None, processes: int = 1) -> Path:
    """The file in the cache with the timings of `job` on this machine: the same for all trainings with the same steps.

    plan       None: the timings in all compute modes; otherwise the timing under this plan
    processes  number of processes that share each batch
    """
    machine = {"device": device_name(job.device), "threads": torch.get_num_threads()}
    training = job.cache_key(seed=None)
    step = {key: value for key, value in training["recipe"].items() if key not in _NOT_PART_OF_A_STEP}
    step["optimizer"] = {key: value for key, value in step["optimizer"].items() if key not in _RATES}
    # A permutation of the images takes far less time than a step, and every seed of a study has another one.
    preprocess = {name: value for name, value in training["preprocess"].items() if name != "transform"}
    key = training | machine | {"recipe": step, "preprocess": preprocess, "data": None}
    key |= {"plan": plan and plan.to_dict(), "processes": processes}
    return cache_folder() / "timings" / f"{store_key(key)}.json"


def time_job(job: Job, log: Log, processes: int = 1) -> Timings:
    """Time steps of one process of `processes`, with its share of a batch of training images.

    With `speed = "off"`, only the stock mode is timed. Models with rewrites (timed_rewrites.py) are timed with these
    as well. This takes at most a fifth of the training's time, and at most half a minute or two per cent of it,
    whichever is longer: if there is little time, there are fewer rounds, and the modes that are rarely the fastest are
    left out. If the batch does not fit into memory, the micro-batch is halved until it fits, and gradients are
    accumulated. Raises UserError if not even one image fits.

    log  called with a message if the batch does not fit, or if timing takes long
    """
    modes = _modes(job)
    share = -(-job.batch // processes)
    micro_batch = job.micro_batch(job.batch, processes)
    try:
        batch = first_batch(job, processes)
    except MemoryError as error:
        raise UserError(
            f"A batch of {share} {job.dataset.noun}s of {job.recipe.image_size} pixels does not fit into this "
            "machine's memory: use a smaller batch or image_size."
        ) from error
    objective = make_objective(job, job.device)
    freed_memory = _freed_memory(job, Plan(job.device.type, modes[0], micro_batch, processes))
    if freed_memory == "retained":
        retain_freed_memory()
    while True:
        stock = Plan(job.device.type, modes[0], micro_batch, processes)
        require_enough_images(job, stock, len(job.dataset.splits["train"]))
        steps = TimedSteps(job, batch, objective)
        try:
            stock_seconds = _seconds_per_step(steps.under(stock))
            training_seconds = total_steps(job) * stock_seconds
            images_per_pass = stock.images_per_pass(job.batch)
            to_time, kernels = rewrites_to_time(job, modes, batch, images_per_pass, training_seconds, log)
            plans = [replace(stock, mode=mode, rewrites=each) for mode, of_mode in to_time.items() for each in of_mode]
            seconds = _time_plans(steps, plans, stock_seconds, _limit(job, stock_seconds), log)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            micro_batch = _halve(micro_batch, job, error)
            log(
                f"{share} {job.dataset.noun}s do not fit into memory at once: gradients are accumulated over "
                f"micro-batches of {micro_batch}."
            )
        else:
            by_mode = {mode: {plan: seconds[plan] for plan in seconds if plan.mode == mode} for mode in modes}
            fastest = {mode: _fastest(of_mode, stock, seconds[stock]) for mode, of_mode in by_mode.items() if of_mode}
            return Timings(
                micro_batch,
                freed_memory,
                {mode: seconds[plan] for mode, plan in fastest.items()},
                {mode: plan.rewrites for mode, plan in fastest.items()},
                complete=len(seconds) == len(plans) and has_time_for_kernels(training_seconds),
                kernels=kernels,
            )


def _fastest(of_mode: Mapping[Plan, float], stock: Plan, stock_seconds: float) -> Plan:
    """The plan of a mode: without rewrites, unless they are clearly faster, or the mode is so only with them."""
    plan = pick_fastest(of_mode)
    if pick_fastest({stock: stock_seconds, plan: of_mode[plan]}) == plan:
        return plan
    return min(of_mode, key=of_mode.__getitem__)


def total_steps(job: Job) -> int:
    """The number of steps of the training."""
    return job.steps(steps_per_epoch(len(job.dataset.splits["train"]), job.batch))


def _cached_timings(job: Job, log: Log, processes: int = 1) -> Timings:
    timings = _read_or_measure(job, log, processes)
    release_freed_memory()  # of the timed steps: the training may need less, or run in another process
    return timings


def _read_or_measure(job: Job, log: Log, processes: int) -> Timings:
    if job.recipe.speed == "off":
        return time_job(job, log, processes)
    file = timings_file(job, processes=processes)
    stored = read_cached_json(file)
    timings = Timings.from_dict(stored) if stored and _is_sufficient(stored, file.stat().st_mtime, job) else None
    if timings is not None and _has_kernels(timings, job) and _has_memory(timings, job, processes):
        measured = datetime.fromtimestamp(file.stat().st_mtime)
        log(f"Timings are from the cache of {measured:%Y-%m-%d %H:%M}; to measure again, delete {file}.")
    else:
        timings, stored = time_job(job, log, processes), None
    seconds = total_steps(job) * min(timings.seconds.values())
    if timings.compilation is None and may_compile(job, processes, seconds):
        timings, stored = replace(timings, compilation=_time_compilation(job, timings, log)), None
    if stored is None:
        with suppress(WriteError):  # without a cache, the next training measures again
            limit = _limit(job, next(iter(timings.seconds.values())))
            write_json(file, timings.to_dict() | {"limit": limit})
    return timings


def _is_sufficient(stored: Mapping[str, Any], measured: float, job: Job) -> bool:
    """Whether stored timings have all modes and rewrites, or as many as there is time for.

    measured  the time of the measurement, in seconds since the epoch
    """
    if stored["complete"]:
        return True
    stock_seconds = stored["modes"][0]["seconds"]
    return time.time() < measured + _EXPIRY and _limit(job, stock_seconds) <= stored["limit"]


def _has_kernels(timings: Timings, job: Job) -> bool:
    """Whether the kernels that were tried are those of this machine now, or are not available for the same reason.

    Computers can share the cache, and a compiler can be installed.
    """
    if timings.kernels is None:
        return True
    try:
        return kernel_build(job) == timings.kernels
    except KernelsUnavailableError as error:
        return str(error) == timings.kernels


def _has_memory(timings: Timings, job: Job, processes: int) -> bool:
    """Whether the memory of the timed steps is available now."""
    return has_memory(job, timings.plan(job, next(iter(timings.seconds)), processes))


def _limit(job: Job, stock_seconds: float) -> float:
    """The seconds that timing may take."""
    training = total_steps(job) * stock_seconds
    return max(min(_SHARE * training, _MOST_SECONDS), _SHARE_OF_LONG * training)


def _time_compilation(job: Job, timings: Timings, log: Log) -> Compilation:
    plan = timings.plan(job, pick_fastest(timings.seconds))
    batch, objective = first_batch(job), make_objective(job, job.device)
    images, _ = batch.on(job.device)

    def make_steps(models: Mapping[Plan, nn.Module]) -> dict[Plan, Callable[[], None]]:
        steps = TimedSteps(job, batch, objective, models)
        return {each: steps.under(each) for each in models}

    return time_compilation(
        build_for_steps(job, job.device, plan).train(),
        images[: plan.images_per_pass(job.batch)],
        plan,
        make_steps,
        log,
    )


def _modes(job: Job) -> list[ComputeMode]:
    """The modes to time, the stock mode first."""
    modes = training_candidates(job.device, job.recipe.precision, job.architecture.on_meta())
    if job.architecture.reads_texts:  # the layouts are those of images
        modes = [mode for mode in modes if mode.layout == "contiguous"]
    return modes[:1] if job.recipe.speed == "off" else modes


def _freed_memory(job: Job, plan: Plan) -> FreedMemory:
    """ "retained" on a CPU with enough memory, unless `speed = "off"`."""
    if job.device.type != "cpu" or job.recipe.speed == "off":
        return "released"
    return "retained" if fits(job, plan) else "released"


def first_batch(job: Job, processes: int = 1) -> Batch:
    """The share of one process in a batch of the first training images.

    Few others are read: as many as may be unreadable, but at most another batch.
    """
    train = job.dataset.splits["train"]
    images = min(job.batch + min(job.recipe.max_unreadable, job.batch), len(train))
    return next(job.augmented_batches(train.subset(np.arange(images)), quiet=True).epoch(0, share=(0, processes)))


def _seconds_per_step(step: Callable[[], object]) -> float:
    """The seconds of one call after a first one, which builds the model."""
    step()
    return seconds_per_call(step)


def _time_plans(
    steps: TimedSteps, plans: Sequence[Plan], stock_seconds: float, limit: float, log: Log
) -> dict[Plan, float]:
    """The seconds per step under each plan, in the same order, without those for which there is no time."""
    stock, *others = plans
    number, rounds = affordable(len(plans), int(limit / stock_seconds))
    if number == 1 < len(plans):
        return {stock: stock_seconds}
    if (total := number * (rounds + 1) * stock_seconds) > _LONG:
        log(f"Timing {pluralize(number, 'kind')} of training steps first, for about {duration(total)}.")
    chosen = [stock, *reversed(others)][:number]  # the last plans are most often the fastest
    seconds_of = time_steps({plan: steps.under(plan) for plan in chosen}, rounds=rounds, before=steps.prepare)
    return {plan: seconds_of[plan] for plan in plans if plan in seconds_of}


def _halve(micro_batch: int, job: Job, error: Exception) -> int:
    recipe = job.recipe
    if micro_batch == 1:
        if job.architecture.reads_texts:
            raise UserError(
                f"{recipe.model} does not fit into this machine's memory, even with one text at a time: use a smaller "
                "model, for example with less config.tokens."
            ) from error
        raise UserError(
            f"{recipe.model} at {recipe.image_size} pixels does not fit into this machine's memory, even with one "
            f"{job.dataset.noun} at a time: use a smaller model or image_size."
        ) from error
    return -(-micro_batch // 2)
