"""A short trial on this machine, before step 0: what a step takes, in which mode it is fastest, and what fits."""

import json
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from mixlab.data.batches import Batch
from mixlab.errors import UserError
from mixlab.files import write_json
from mixlab.measure.machine import device_name
from mixlab.measure.memory import available_bytes
from mixlab.runs.store import store_folder, store_key
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import ComputeMode, FreedMemory, Plan, candidates, pick_fastest, prepare_model
from mixlab.training.job import Job
from mixlab.training.objective import Objective, objective_of
from mixlab.training.optimizer import build_optimizers
from mixlab.training.planning.memory import estimate_memory
from mixlab.training.sam import perturbed
from mixlab.training.step import add_gradients
from mixlab.zoo.build import build

_MEMORY_MARGIN = 3
"""Times what a step is estimated to need: memory that is kept is in pieces, and up to twice as much of it was seen."""


def cached_plan(job: Job, log: Callable[[str], None], processes: int = 1) -> tuple[Plan, float]:
    """As `select_plan`, once: what goes on after an interruption finds what it finished by its plan."""
    file = plan_file(job, processes)
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        return Plan.from_dict(stored), stored["seconds_per_step"]
    plan, seconds = select_plan(job, log, processes)
    write_json(file, plan.to_dict() | {"seconds_per_step": seconds})
    return plan, seconds


def plan_file(job: Job, processes: int = 1) -> Path:
    """Where the store keeps the plan that was decided for this training on this machine, whatever its seed."""
    machine = {"device": device_name(job.device), "threads": torch.get_num_threads(), "processes": processes}
    return store_folder() / "plans" / f"{store_key(job.cache_key(seed=None) | machine)}.json"


def select_plan(job: Job, log: Callable[[str], None], processes: int = 1) -> tuple[Plan, float]:
    """The plan for this machine, and the seconds that one of its steps took in a short trial on real images.

    One of `processes` tries its share of a step. `speed = "off"` tries one mode only, the stock one. A batch that does
    not fit into memory goes through in halves, quarters ... until it does, their gradients added up; `log` is told.
    """
    recipe = job.recipe
    stock, *others = candidates(job.device, recipe.precision)
    modes = [stock] if recipe.speed == "off" else [stock, *others]
    share = -(-job.batch // processes)
    few = job.dataset.splits["train"].subset(np.arange(share))  # no other image is read for it
    batch = next(job.batches_of(few, quiet=True).epoch(0))
    objective = objective_of(job, job.device)
    micro_batch = -(-share // recipe.accumulate)
    freed_memory = _freed_memory(job, Plan(job.device.type, stock, micro_batch, processes))
    if freed_memory == "kept":
        retain_freed_memory()
    while True:
        try:
            mode, seconds = pick_fastest({mode: _TimedStep(job, batch, objective, mode, micro_batch) for mode in modes})
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):  # pyright: ignore
                raise
            micro_batch = _halve(micro_batch, job, error)
            log(f"{share} images at once do not fit into memory: they go through in parts of {micro_batch}.")
        else:
            return Plan(job.device.type, mode, micro_batch, processes, freed_memory), seconds


def _freed_memory(job: Job, plan: Plan) -> FreedMemory:
    """Kept on a processor where there is room for it, unless `speed = "off"`."""
    if job.device.type != "cpu" or job.recipe.speed == "off":
        return "returned"
    with torch.device("meta"):
        network = build(job.family, job.config)
    needed = plan.processes * sum(estimate_memory(job, plan, network).values())
    return "kept" if _MEMORY_MARGIN * needed < available_bytes() else "returned"


class _TimedStep:
    """One step on one batch; the model is built at the first call, so that too little memory shows there as well."""

    def __init__(self, job: Job, batch: Batch, objective: Objective, mode: ComputeMode, micro_batch: int):
        self._job, self._batch, self._objective = job, batch, objective
        self._mode, self._micro_batch = mode, micro_batch

    @cached_property
    def _model(self) -> nn.Module:
        return prepare_model(self._job.build(), self._job.device, self._mode)

    @cached_property
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return build_optimizers(self._job.recipe.optimizer, self._model)

    def __call__(self) -> None:
        images, labels = self._batch.on(self._job.device)
        add = partial(
            add_gradients,
            self._model,
            images.contiguous(memory_format=self._mode.memory_format),
            self._objective.targets(labels),
            self._objective,
            micro_batch=self._micro_batch,
            backward=Tensor.backward,
            cast=partial(self._mode.autocast, self._job.device),
        )
        add()
        if (rho := self._job.recipe.optimizer.sam_rho) is not None:
            trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
            with perturbed(trained, list(self._model.buffers()), rho):
                add()
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()


def _halve(micro_batch: int, job: Job, error: Exception) -> int:
    recipe = job.recipe
    if micro_batch == 1:
        raise UserError(
            f"{recipe.model} at {recipe.image_size} pixels does not fit into this machine's memory, not even with one "
            "image at a time: take a smaller model or a smaller image_size."
        ) from error
    return -(-micro_batch // 2)
