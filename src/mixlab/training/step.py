"""One training step: the gradients of a batch, and the update of the weights."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mixlab.data.batches import Batch
from mixlab.speed.plan import Plan
from mixlab.tasks.task import Counts, Images, Outputs, Targets, add
from mixlab.training.distributed import no_gradient_sync
from mixlab.training.job import Job
from mixlab.training.objective import Objective
from mixlab.training.sam import perturbed


@dataclass(frozen=True, eq=False)
class StepResult:
    """Loss, counts and gradient norms of a step, on the device."""

    loss: Float[Tensor, ""]  # mean over this process's images
    counts: Counts  # of this process's images, see `mixlab.tasks.task.Task.counts`
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
        self.task, self.recipe, self.transform, self.plan = job.task, job.recipe, job.preprocess.transform, plan
        self.accelerator, self.model, self.optimizers, self.objective = accelerator, model, optimizers, objective
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def __call__(self, batch: Batch, learning_rate: float) -> StepResult:
        settings, skip_non_finite = self.recipe.optimizer, self.recipe.non_finite == "skip"
        images, labels = batch.on(self.accelerator.device)
        images, targets = self.task.mix(images, self.objective.targets(labels), self.recipe.augmentation)
        if self.transform is not None:
            images = self.transform(images)
        before = [buffer.clone() for buffer in self.model.buffers()] if skip_non_finite else []
        if settings.sam_rho is None:
            loss, counts = self._backward(images, targets, batch.weight)
        else:
            seed = int(torch.randint(2**63 - 1, ()))  # both passes use the same random numbers
            torch.manual_seed(seed)
            loss, counts = self._backward(images, targets, batch.weight)
            with perturbed(self.parameters, list(self.model.buffers()), settings.sam_rho):
                torch.manual_seed(seed)
                self._backward(images, targets, batch.weight)
        self.accelerator.unscale_gradients()
        result = StepResult(loss, counts, gradient_norms(self.parameters), batch, learning_rate)
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

    def _backward(self, images: Images, targets: Targets, weight: float) -> tuple[Float[Tensor, ""], Counts]:
        # Gradients are averaged over processes: times their number, each image has the same weight as in one process.
        weight = weight * self.accelerator.num_processes
        return accumulate_gradients(
            self.model,
            images,
            targets,
            self.objective,
            self.task.counts,
            self.plan,
            weight=weight,
            accelerator=self.accelerator,
        )

    def _update(self, learning_rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["lr_scale"]
            optimizer.step()


def accumulate_gradients(
    model: nn.Module,
    images: Images,
    targets: Targets,
    objective: Callable[[Outputs, Tensor, Targets], Tensor],
    counts_of: Callable[[Outputs, Targets], Counts],
    plan: Plan,
    *,
    weight: float = 1.0,
    accelerator: Accelerator | None = None,
) -> tuple[Float[Tensor, ""], Counts]:
    """Add the gradients of `weight` times the batch's mean loss to the model's parameters.

    objective    the mean loss of (outputs, images, targets)
    counts_of    the counts of (outputs, targets)
    plan         precision, layout, and the number of chunks, which have near-equal sizes
    weight       factor of the loss: the images of this process, divided by the mean number of images of a process
    accelerator  None for a single process; otherwise gradients are averaged over the processes with the last chunk

    Returns the mean loss and the counts of all chunks, on the device.
    """
    count = plan.micro_batches(round(len(images) / weight, 6) if weight else 1)
    mean_loss, counts = torch.zeros((), device=images.device), Counts()
    images = images.contiguous(memory_format=plan.mode.memory_format)
    chunks = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
    for number, (chunk, chunk_targets) in enumerate(chunks, start=1):
        with nullcontext() if accelerator is None or number == count else no_gradient_sync(model, accelerator):
            with plan.forward_context(images.device):
                outputs = model(chunk)
                mean = objective(outputs, chunk, chunk_targets)
            share = mean * (len(chunk) / len(images))
            backward = Tensor.backward if accelerator is None else accelerator.backward
            backward(weight * share)
        mean_loss = mean_loss + share.detach()
        counts = add(counts, counts_of(outputs.detach(), chunk_targets))
    return mean_loss, counts


def gradient_norms(parameters: Sequence[nn.Parameter]) -> Float[Tensor, " parameter"]:
    """The L2 norm of each parameter's gradient. Collective for sharded parameters."""
    norms = torch.stack(torch._foreach_norm([parameter.grad for parameter in parameters]))  # pyright: ignore
    return norms.full_tensor() if isinstance(norms, DTensor) else norms
