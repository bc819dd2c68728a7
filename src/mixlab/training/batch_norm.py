"""Whether batch normalisation has at least two values per channel in every forward pass of a training.

Maps of a single place, such as the coarsest level of a decoder for images below 64 pixels, have one value per image.
Then a pass with a single image has no variance, and PyTorch stops.
"""

from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mixlab.data.batches import steps_per_epoch
from mixlab.errors import UserError
from mixlab.report.text import pluralize
from mixlab.speed.plan import Plan
from mixlab.training.job import Job


def require_enough_images(job: Job, plan: Plan, images: int) -> None:
    """Raises UserError if batch normalisation of the model needs two images and a forward pass would have one.

    plan    its processes and micro-batch decide how a batch is split
    images  number of training images that can be read
    """
    recipe, batch, noun = job.recipe, job.batch, job.dataset.noun
    if _smallest_pass(job, images, batch, plan) > 1 or not _has_single_places(job):
        return
    processes = f"{plan.processes} process{'' if plan.processes == 1 else 'es'}"
    raise UserError(
        f"batch={batch} leaves a single {noun} for a forward pass ({pluralize(images, f'training {noun}')}, "
        f"{processes}, micro-batches of at most {plan.micro_batch}), but "
        f"{recipe.model} at {' x '.join(map(str, job.preprocess.input_shape[-2:]))} pixels normalises maps of one "
        f"place, which needs at least two: {_way_out(job, plan, images)}"
    )


def _smallest_pass(job: Job, images: int, batch: int, plan: Plan) -> int:
    """The fewest images of a forward pass in an epoch, as `TrainingBatches` and `accumulate_gradients` split them."""
    per_epoch = steps_per_epoch(images, batch)
    last = images - (per_epoch - 1) * batch
    batches = {min(batch, images)} | ({min(batch, last)} if job.steps(per_epoch) >= per_epoch else set())
    return min(max(size // plan.processes, 1) // plan.micro_batches(size / plan.processes) for size in batches)


def _way_out(job: Job, plan: Plan, images: int) -> str:
    """The nearest batch with which every forward pass has two images."""
    limited_by_memory = plan.micro_batch < job.micro_batch(job.batch, plan.processes)
    limit = plan.micro_batch if limited_by_memory else images
    for batch in sorted(range(2, images + 1), key=lambda size: (abs(size - job.batch), size)):
        micro_batch = min(job.micro_batch(batch, plan.processes), limit)
        if _smallest_pass(job, images, batch, replace(plan, micro_batch=micro_batch)) > 1:
            return f"set batch={batch}."
    return f"use more training {job.dataset.noun}s, fewer processes, accumulate=1 or a smaller model."


def _has_single_places(job: Job) -> bool:
    """Whether a batch normalisation of the model has a single value per channel and image."""
    network: nn.Module = job.architecture.on_meta()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    values: list[int] = []
    for norm in norms:
        norm.register_forward_pre_hook(lambda _, given: values.append(given[0][0, 0].numel()))
    if norms:
        network.train()(torch.empty(2, *job.preprocess.input_shape, device="meta"))
    return 1 in values
