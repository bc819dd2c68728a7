"""What a training step needs of a machine's memory, from shapes alone."""

from collections.abc import Iterable
from functools import partial
from math import ceil

import torch
from torch import Tensor, nn

from mixlab.measure.activations import activation_bytes
from mixlab.speed.plan import Plan
from mixlab.training.job import Job
from mixlab.training.loss import class_weights_of, loss_of
from mixlab.training.optimizer import build_optimizers
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import build_with_weights, load_pretrained

_TENSORS_PER_PARAMETER = {torch.optim.AdamW: 2, torch.optim.SGD: 1, torch.optim.Muon: 1}


def estimate_memory(job: Job, plan: Plan, network: nn.Module) -> dict[str, int]:
    """Estimated bytes of one process, of what: all that lies there at once when the last of a batch's parts has gone
    through the model. `network` may lie on the meta device.
    """
    recipe, teacher = job.recipe, _teacher(job.recipe)
    class_weights = class_weights_of(recipe.loss, job.dataset.splits["train"].labels, job.dataset.classes)
    several = plan.processes > 1
    shards = plan.processes if recipe.parallel == "fsdp" else 1
    weights = _bytes(network.state_dict().values())
    trained = _bytes(parameter for parameter in network.parameters() if parameter.requires_grad)
    # elsewhere than on CUDA the shapes are the processor's, which is always here
    device = job.device if job.device.type == "cuda" else torch.device("cpu")
    found = {
        "parameters": weights // shards,
        "gradients": trained // shards,
        "buckets that gradients are averaged in": trained if several and shards == 1 else 0,
        f"state of {recipe.optimizer.name}": _state_bytes(job, network) // shards,
        "moving average of the weights": weights // shards if recipe.ema else 0,
        "way back of a sharpness-aware step": trained // shards if recipe.optimizer.sam_rho else 0,
        "the teacher": _bytes(teacher.state_dict().values()) if teacher else 0,
        "images": 4 * image_bytes(job) * ceil(job.batch / plan.processes),
        "activations kept for the backward pass": activation_bytes(
            network,
            (max_micro_batch(job, plan), 3, *job.preprocess.image_size),
            lambda logits, images: loss_of(logits, torch.zeros_like(logits), recipe.loss, class_weights),
            device=device,
            cast=partial(plan.mode.autocast, device),
        ),
    }
    return {what: taken for what, taken in found.items() if taken}


def max_micro_batch(job: Job, plan: Plan) -> int:
    """Of the largest share, which goes through in near-equal parts."""
    share = ceil(job.batch / plan.processes)
    return ceil(share / ceil(share / plan.micro_batch))


def _teacher(recipe: Recipe) -> nn.Module | None:
    return build_with_weights(load_pretrained(recipe.distillation.teacher).weights) if recipe.distillation else None


def _state_bytes(job: Job, network: nn.Module) -> int:
    total = 0
    for optimizer in build_optimizers(job.recipe.optimizer, network):
        moved = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        total += _TENSORS_PER_PARAMETER[type(optimizer)] * _bytes(moved)
    return total


def image_bytes(job: Job) -> int:
    """Of a resized image, a byte a number."""
    rows, columns = job.preprocess.image_size
    return 3 * rows * columns


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
