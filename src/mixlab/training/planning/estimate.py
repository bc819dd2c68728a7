"""What a training would be, before it begins: its steps, its cost, its memory and its time. Nothing is written.

`forecast_page` puts it in words.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from time import perf_counter

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from mixlab.data.batches import PRELOAD_BYTES, steps_per_epoch
from mixlab.report.curves import Curve
from mixlab.speed.plan import Plan
from mixlab.training import sam
from mixlab.training.job import Job
from mixlab.training.planning.memory import estimate_memory, image_bytes, max_micro_batch
from mixlab.training.schedule import lr_factor

_FORWARD_AND_BACKWARD = 3
"""Forward passes that a step costs; the backward pass makes a gradient of the weights and one of what came in."""
_IMAGES_READ = 64
_POINTS = 480
"""Of the curve of rates."""


@dataclass(frozen=True, slots=True)
class EstimatedTime:
    """Estimated seconds of a training, without its checkpoints.

    `steps`: as fast as the trial's; `reading`: what it waits for images, which one process reads alone and workers
    read meanwhile; `validating`: the validation part after each epoch.
    """

    steps: float
    reading: float
    validating: float

    @property
    def whole(self) -> float:
        return self.steps + self.reading + self.validating


@dataclass(frozen=True)
class TrainingEstimate:
    """`image_seconds`: to read an image for the first time, and to have it again in each epoch."""

    job: Job
    plan: Plan
    seconds_per_step: float
    parameters: int
    macs: int  # of one image's forward pass
    memory: Mapping[str, int]  # estimated bytes of one process: of what, how many
    has_batch_norm: bool
    image_seconds: tuple[float, float]

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.job.dataset.splits["train"]), self.job.batch)

    @cached_property
    def steps(self) -> int:
        return self.job.steps(self.steps_per_epoch)

    @property
    def epochs(self) -> float:
        return self.steps / self.steps_per_epoch

    @property
    def images(self) -> int:
        """That all steps together see."""
        found, batch = len(self.job.dataset.splits["train"]), self.job.batch
        whole, rest = divmod(self.steps, self.steps_per_epoch)
        return whole * (found - (found % batch == 1)) + rest * batch

    @property
    def training_macs(self) -> int:
        """Three forward passes' worth for every image that a step sees, or six; what a teacher takes is not in it."""
        passes = 1 if self.job.recipe.optimizer.sam_rho is None else sam.PASSES
        return passes * _FORWARD_AND_BACKWARD * self.macs * self.images

    @property
    def shares(self) -> list[int]:
        """The images of a whole batch that each process sees."""
        return [len(share) for share in np.array_split(np.empty(self.job.batch), self.plan.processes)]

    @property
    def at_once(self) -> int:
        """The most images that go through the model together."""
        return max_micro_batch(self.job, self.plan)

    @cached_property
    def rates(self) -> Curve:
        """The learning rate at the end of the steps, by epochs; of a long training at some of them."""
        recipe = self.job.recipe
        steps = np.unique(np.linspace(0, self.steps - 1, _POINTS).astype(int)).tolist()
        rates = [
            recipe.optimizer.learning_rate * lr_factor(recipe.schedule, step, self.steps, self.steps_per_epoch)
            for step in steps
        ]
        return [(step + 1) / self.steps_per_epoch for step in steps], rates

    @property
    def time(self) -> EstimatedTime:
        job, (read, altered) = self.job, self.image_seconds
        train, evaluated = job.dataset.splits["train"], len(job.dataset.splits.get("validation", ()))
        too_large = job.recipe.augmentation.crop is None and len(train) * image_bytes(job) > PRELOAD_BYTES
        once, always = (0.0, read + altered) if too_large else (read, altered)
        stepping = self.steps * self.seconds_per_step
        reading = always * self.images / self.plan.processes
        if job.recipe.workers:
            reading = max(0.0, reading / job.recipe.workers - stepping)
        forward = self.seconds_per_step / self.shares[0] / _FORWARD_AND_BACKWARD
        judgings = ceil(self.epochs) * evaluated / self.plan.processes
        return EstimatedTime(
            stepping, reading + once * (len(train) + evaluated) / max(1, job.recipe.workers), judgings * forward
        )


def estimate(job: Job, plan: Plan, seconds_per_step: float) -> TrainingEstimate:
    """`seconds_per_step`: what the trial that decided the `plan` took. Some images are read, for the time it takes."""
    network = job.architecture.on_meta()
    return TrainingEstimate(
        job=job,
        plan=plan,
        seconds_per_step=seconds_per_step,
        parameters=job.architecture.parameters,
        macs=job.architecture.macs,
        memory=estimate_memory(job, plan, network),
        has_batch_norm=any(isinstance(module, _BatchNorm) for module in network.modules()),
        image_seconds=_image_seconds(job),
    )


def _image_seconds(job: Job) -> tuple[float, float]:
    """The first images, in one process."""
    split = job.dataset.splits["train"]
    few = split.subset(np.arange(min(len(split), job.batch, _IMAGES_READ)))
    alone = replace(job, recipe=job.recipe.model_copy(update={"workers": 0}))
    began = perf_counter()
    batches = alone.batches_of(few, quiet=True)
    read = perf_counter()
    deque(batches.epoch(0), maxlen=0)
    return (read - began) / len(few), (perf_counter() - read) / len(few)
