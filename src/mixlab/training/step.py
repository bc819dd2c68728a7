"""One step: the gradients of a batch, and what the optimiser makes of them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mixlab.data.augmentation.mixing import mix
from mixlab.data.batches import Batch
from mixlab.speed.plan import Plan
from mixlab.training.distributed import no_gradient_sync
from mixlab.training.objective import Objective
from mixlab.training.recipes.schema import Recipe
from mixlab.training.sam import perturbed, with_fixed_rng


@dataclass(frozen=True, eq=False)
class StepResult:
    """What came of a step, on the device; the loss is the mean over this process's images."""

    loss: Float[Tensor, ""]
    correct: Int[Tensor, ""]  # images
    norms: Float[Tensor, " parameter"]  # of the gradients, over all processes
    batch: Batch
    learning_rate: float

    def is_finite(self) -> bool:
        """Waits for the device."""
        return bool(self.norms.norm().isfinite())


@dataclass(frozen=True)
class TrainStep:
    """Called with a batch and the learning rate, moves the weights.

    Where a gradient is no number and such steps are left out, the model stays as it was, its buffers too.
    """

    recipe: Recipe
    plan: Plan
    accelerator: Accelerator
    model: nn.Module  # as the processes share it
    parameters: Sequence[nn.Parameter]
    optimizers: Sequence[torch.optim.Optimizer]
    objective: Objective

    def __call__(self, batch: Batch, learning_rate: float) -> StepResult:
        accelerator, settings = self.accelerator, self.recipe.optimizer
        images, labels = batch.on(accelerator.device)
        images, targets = mix(images, self.objective.targets(labels), self.recipe.augmentation)
        add = partial(
            add_gradients,
            self.model,
            images.contiguous(memory_format=self.plan.mode.memory_format),
            targets,
            self.objective,
            micro_batch=self.plan.micro_batch,
            backward=accelerator.backward,
            cast=partial(self.plan.mode.autocast, accelerator.device),
            weight=batch.weight * accelerator.num_processes,  # by which averaging over them divides
            unaveraged=partial(no_gradient_sync, self.model, accelerator),
        )
        skips = self.recipe.non_finite == "skip"
        before = [buffer.clone() for buffer in self.model.buffers()] if skips else []
        if settings.sam_rho is None:
            loss, correct = add()
        else:
            add = with_fixed_rng(add)
            loss, correct = add()
            with perturbed(self.parameters, list(self.model.buffers()), settings.sam_rho):
                add()
        accelerator.unscale_gradients()
        taken = StepResult(loss, correct, gradient_norms(self.parameters), batch, learning_rate)
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, settings.clip_norm, taken.norms.norm())
        moves = not skips or taken.is_finite()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["lr_scale"]
            if moves:
                optimizer.step()
            optimizer.zero_grad()
        if not moves:
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(value)
        return taken


def add_gradients(
    model: nn.Module,
    images: Float[Tensor, "image channel row column"],
    targets: Float[Tensor, "image class"],
    objective: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    micro_batch: int,
    backward: Callable[[Tensor], object],
    cast: Callable[[], AbstractContextManager[object]] = nullcontext,
    weight: float = 1.0,
    unaveraged: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Add the gradients of `weight` times the batch's mean loss to the parameters.

    `objective` makes the mean loss of logits, images and targets. The batch goes through in near-equal parts of at
    most `micro_batch` images: each forward pass, a teacher's too, within `cast()`, all parts but the last within
    `unaveraged()`.
    Returns the mean loss and how many images were given the class that weighs most in their target, both still on
    the device.
    """
    chunks = -(-len(images) // micro_batch)
    mean_loss, correct = images.new_zeros(()), torch.zeros((), dtype=torch.int64, device=images.device)
    pairs = zip(images.tensor_split(chunks), targets.tensor_split(chunks), strict=True)
    for chunk, (part_images, part_targets) in enumerate(pairs, start=1):
        with nullcontext() if chunk == chunks else unaveraged():
            with cast():
                logits = model(part_images)
                mean = objective(logits, part_images, part_targets)
            share = mean * (len(part_images) / len(images))
            backward(weight * share)
        mean_loss += share.detach()
        correct += (logits.detach().argmax(dim=1) == part_targets.argmax(dim=1)).sum()
    return mean_loss, correct


def gradient_norms(parameters: Sequence[nn.Parameter]) -> Float[Tensor, " parameter"]:
    norms = torch.stack(torch._foreach_norm([parameter.grad for parameter in parameters]))  # pyright: ignore
    return norms.full_tensor() if isinstance(norms, DTensor) else norms
