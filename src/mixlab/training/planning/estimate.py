"""The estimate of a training before it starts: steps, compute, memory and time. No file is written.

`estimate_page` formats it.
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
from mixlab.training.planning.memory import estimate_memory, image_bytes
from mixlab.training.recipes.schema import Recipe
from mixlab.training.schedule import lr_factor

_FORWARD_AND_BACKWARD = 3
"""The cost of a step in forward passes: the backward pass computes the gradients of the weights and of the inputs."""
_IMAGES_READ = 64
_POINTS = 480
"""Maximum number of points of the learning rate curve."""


@dataclass(frozen=True, slots=True)
class EstimatedTime:
    """Estimated seconds of a training, without writing checkpoints.

    steps       computing the steps, from the measured seconds per step
    reading     waiting for images; workers read images during the steps
    validating  evaluating the validation split after each epoch
    """

    steps: float
    reading: float
    validating: float

    @property
    def total(self) -> float:
        """The sum of all."""
        return self.steps + self.reading + self.validating


@dataclass(frozen=True)
class TrainingEstimate:
    """The cost of a training.

    macs              multiply-accumulates of the forward pass of one image
    memory            estimated bytes of one process, by purpose
    image_seconds     seconds to read an image for the first time, and seconds to load and augment it in each epoch
    """

    job: Job
    plan: Plan
    seconds_per_step: float
    parameters: int
    macs: int
    memory: Mapping[str, int]
    has_batch_norm: bool
    image_seconds: tuple[float, float]

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return steps_per_epoch(len(self.job.dataset.splits["train"]), self.job.batch)

    @cached_property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.job.steps(self.steps_per_epoch)

    @property
    def epochs(self) -> float:
        """Epochs of the whole training, possibly fractional."""
        return self.steps / self.steps_per_epoch

    @property
    def images(self) -> int:
        """Images of all steps, with repetitions."""
        n_train, batch = len(self.job.dataset.splits["train"]), self.job.batch
        epochs, remaining_steps = divmod(self.steps, self.steps_per_epoch)
        return epochs * (n_train - (n_train % batch == 1)) + remaining_steps * batch

    @property
    def training_macs(self) -> int:
        """Three times the forward pass for every image, six times with SAM. The cost of a teacher is not included."""
        return forward_passes(self.job.recipe) * self.macs * self.images

    @property
    def images_per_process(self) -> list[int]:
        """The number of images of a full batch for each process."""
        return [len(share) for share in np.array_split(np.empty(self.job.batch), self.plan.processes)]

    @property
    def largest_micro_batch(self) -> int:
        """The largest micro-batch, in images."""
        return self.plan.images_per_pass(self.job.batch)

    @cached_property
    def lr_curve(self) -> Curve:
        """(epochs, learning rates): the learning rate at the end of steps, for a long training of some of the steps."""
        recipe = self.job.recipe
        steps = np.unique(np.linspace(0, self.steps - 1, _POINTS).astype(int)).tolist()
        rates = [
            recipe.optimizer.learning_rate * lr_factor(recipe.schedule, step, self.steps, self.steps_per_epoch)
            for step in steps
        ]
        return [(step + 1) / self.steps_per_epoch for step in steps], rates

    @property
    def time(self) -> EstimatedTime:
        """The estimated time of the whole training."""
        job, (first_read, each_epoch) = self.job, self.image_seconds
        train, n_validation = job.dataset.splits["train"], len(job.dataset.splits.get("validation", ()))
        too_large = job.recipe.augmentation.crop is None and len(train) * image_bytes(job) > PRELOAD_BYTES
        once, per_use = (0.0, first_read + each_epoch) if too_large else (first_read, each_epoch)
        steps = self.steps * self.seconds_per_step
        reading = per_use * self.images / self.plan.processes
        if job.recipe.workers:
            reading = max(0.0, reading / job.recipe.workers - steps)
        forward = self.seconds_per_step / self.images_per_process[0] / forward_passes(job.recipe)
        validations = ceil(ceil(self.epochs) / job.recipe.validate_every)
        evaluations = validations * n_validation / self.plan.processes
        return EstimatedTime(
            steps, reading + once * (len(train) + n_validation) / max(1, job.recipe.workers), evaluations * forward
        )


def forward_passes(recipe: Recipe) -> int:
    """The forward passes that cost as much as a step on the same images."""
    passes = 1 if recipe.optimizer.sam_rho is None else sam.PASSES
    return passes * _FORWARD_AND_BACKWARD


def estimate(job: Job, plan: Plan, seconds_per_step: float) -> TrainingEstimate:
    """Estimate the cost of `job` under `plan`, with the `seconds_per_step` that `select_plan` measured.

    A few training images are read to measure the time that reading takes.
    """
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
    """Seconds per image to read it for the first time, and to load and augment it, in one process."""
    split = job.dataset.splits["train"]
    images = split.subset(np.arange(min(len(split), job.batch, _IMAGES_READ)))
    without_workers = replace(job, recipe=job.recipe.model_copy(update={"workers": 0}))
    start = perf_counter()
    batches = without_workers.augmented_batches(images, quiet=True)
    end_of_first_read = perf_counter()
    deque(batches.epoch(0), maxlen=0)
    return (end_of_first_read - start) / len(images), (perf_counter() - end_of_first_read) / len(images)
