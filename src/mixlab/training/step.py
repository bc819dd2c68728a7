"""One training step: the gradients of a batch, and the update of the weights."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mixlab.data.augmentation.mixing import mix
from mixlab.data.batches import Batch
from mixlab.speed.plan import Plan
from mixlab.training.distributed import no_gradient_sync
from mixlab.training.job import Job
from mixlab.training.objective import Objective
from mixlab.training.sam import perturbed


@dataclass(frozen=True, eq=False)
class StepResult:
    """Loss, accuracy and gradient norms of a step, on the device."""

    loss: Float[Tensor, ""]  # mean over this process's images
    correct: Int[Tensor, ""]  # correctly classified images of this process
    gradient_norms: Float[Tensor, " parameter"]  # of each parameter's gradient, over all processes, before clipping
    batch: Batch
    learning_rate: float

    def is_finite(self) -> bool:
        """Whether all gradients are finite. Synchronizes with the device."""
        return bool(self.gradient_norms.norm().isfinite())


class TrainStep:
    """Call it with a batch and a learning rate: it updates the weights once.

    With `non_finite = "skip"`, a step with gradients that are not finite is skipped: the weights and the statistics of
    batch normalisation do not change.
    """

    def __init__(
        self,
        job: Job,
        plan: Plan,
        accelerator: Accelerator,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        objective: Objective,
    ):
        """`model` is the result of `parallelize`, so that its gradients are averaged over the processes."""
        self.recipe, self.transform, self.plan = job.recipe, job.preprocess.transform, plan
        self.accelerator, self.model, self.optimizers, self.objective = accelerator, model, optimizers, objective
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def __call__(self, batch: Batch, learning_rate: float) -> StepResult:
        settings, skip_non_finite = self.recipe.optimizer, self.recipe.non_finite == "skip"
        images, labels = batch.on(self.accelerator.device)
        images, targets = mix(images, self.objective.targets(labels), self.recipe.augmentation)
        if self.transform is not None:
            images = self.transform(images)
        before = [buffer.clone() for buffer in self.model.buffers()] if skip_non_finite else []
        if settings.sam_rho is None:
            loss, correct = self._backward(images, targets, batch.weight)
        else:
            seed = int(torch.randint(2**63 - 1, ()))  # both passes use the same random numbers
            torch.manual_seed(seed)
            loss, correct = self._backward(images, targets, batch.weight)
            with perturbed(self.parameters, list(self.model.buffers()), settings.sam_rho):
                torch.manual_seed(seed)
                self._backward(images, targets, batch.weight)
        self.accelerator.unscale_gradients()
        result = StepResult(loss, correct, gradient_norms(self.parameters), batch, learning_rate)
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, settings.clip_norm, result.gradient_norms.norm())
        if skip_non_finite and not result.is_finite():
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(value)
        else:
            self._update(learning_rate)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        return result

    def _backward(
        self, images: Float[Tensor, "image channel row column"], targets: Float[Tensor, "image class"], weight: float
    ) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        # Gradients are averaged over processes: times their number, each image has the same weight as in one process.
        weight = weight * self.accelerator.num_processes
        return accumulate_gradients(
            self.model, images, targets, self.objective, self.plan, weight=weight, accelerator=self.accelerator
        )

    def _update(self, learning_rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["lr_scale"]
            optimizer.step()


def accumulate_gradients(
    model: nn.Module,
    images: Float[Tensor, "image channel row column"],
    targets: Float[Tensor, "image class"],
    objective: Callable[[Tensor, Tensor, Tensor], Tensor],
    plan: Plan,
    *,
    weight: float = 1.0,
    accelerator: Accelerator | None = None,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Add the gradients of `weight` times the batch's mean loss to the model's parameters.

    objective    the mean loss of (logits, images, targets)
    plan         precision, layout, and the size of the chunks: near-equal, at most `plan.micro_batch` images
    weight       factor of the loss
    accelerator  None for a single process; otherwise gradients are averaged over the processes with the last chunk

    Returns the mean loss and the number of images for which the class with the largest logit is the one with the
    largest target, both on the device.
    """
    count = -(-len(images) // plan.micro_batch)
    mean_loss, correct = images.new_zeros(()), torch.zeros((), dtype=torch.int64, device=images.device)
    images = images.contiguous(memory_format=plan.mode.memory_format)
    chunks = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
    for number, (chunk, chunk_targets) in enumerate(chunks, start=1):
        with nullcontext() if accelerator is None or number == count else no_gradient_sync(model, accelerator):
            with plan.forward_context(images.device):
                logits = model(chunk)
                mean = objective(logits, chunk, chunk_targets)
            share = mean * (len(chunk) / len(images))
            backward = Tensor.backward if accelerator is None else accelerator.backward
            backward(weight * share)
        mean_loss += share.detach()
        correct += (logits.detach().argmax(dim=1) == chunk_targets.argmax(dim=1)).sum()
    return mean_loss, correct


def gradient_norms(parameters: Sequence[nn.Parameter]) -> Float[Tensor, " parameter"]:
    """The L2 norm of each parameter's gradient. Collective for sharded parameters."""
    norms = torch.stack(torch._foreach_norm([parameter.grad for parameter in parameters]))  # pyright: ignore
    return norms.full_tensor() if isinstance(norms, DTensor) else norms
