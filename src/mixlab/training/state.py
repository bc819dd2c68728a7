"""The state of a training between two steps: what a checkpoint holds.

model/NAME             weights and buffers
ema/NAME               their moving average
optimizer/KEY/NAME     the optimiser's state of a parameter: exp_avg, momentum_buffer ...
epoch/losses, correct  of the steps of the current epoch

Random numbers are derived from the step, so they have no state. Tensors are whole, whatever number of processes wrote
them.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.runs.checkpoints import Checkpoint
from mixlab.training.distributed import gather, scatter
from mixlab.training.ema import ModelEma
from mixlab.training.job import Job
from mixlab.training.step import StepResult


@dataclass
class BestScore:
    """The best validation score so far."""

    score: float = -math.inf

    def update(self, score: float) -> bool:
        """Whether `score` is the best; of equal ones the later is, which was trained for longer."""
        is_best = score >= self.score
        self.score = max(score, self.score)
        return is_best


@dataclass
class Progress:
    """The current step, and the mean loss and accuracy of the current epoch on the augmented training images.

    `losses` and `correct` are this process's shares; `end_epoch` reads them from the device.
    """

    step: int = 0
    seconds: float = 0.0  # of the complete epochs
    images: int = 0  # of all steps, over all processes
    losses: list[Tensor] = field(default_factory=list)  # of each step, summed over its images
    correct: list[Tensor] = field(default_factory=list)  # images of each step
    epoch_images: int = 0  # of this process
    epoch_seconds: float = 0.0  # before an interruption
    _since: float = field(default_factory=time.perf_counter)

    def begin_epoch(self) -> None:
        self._since = time.perf_counter()

    def add(self, result: StepResult) -> None:
        images = len(result.batch.labels) if result.batch.weight else 0
        self.losses.append(result.loss * images)
        self.correct.append(result.correct)
        self.epoch_images += images

    def seconds_of_epoch(self) -> float:
        return self.epoch_seconds + time.perf_counter() - self._since

    def end_epoch(self, accelerator: Accelerator) -> dict[str, float]:
        """{"loss", "top1": per cent} of the epoch. Collective: call it on every rank."""
        if not self.losses:
            raise UserError(
                "The gradients of every step of an epoch were not finite, so all were skipped: the training diverged. "
                "Lower optimizer.learning_rate, or lengthen schedule.warmup."
            )
        images = self.images_of_epoch(accelerator)
        loss, correct = (_summed(values, accelerator).sum().item() for values in (self.losses, self.correct))
        self.seconds += self.seconds_of_epoch()
        self.images += images
        self.losses, self.correct, self.epoch_images, self.epoch_seconds = [], [], 0, 0.0
        return {"loss": loss / images, "top1": 100 * correct / images}

    def images_of_epoch(self, accelerator: Accelerator) -> int:
        """Over all processes. Collective: call it on every rank."""
        local = torch.tensor(self.epoch_images, device=accelerator.device)
        return int(accelerator.reduce(local, "sum"))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class TrainingState:
    job: Job
    network: nn.Module
    optimizers: Sequence[Any]  # Accelerate's wrappers of torch's
    ema: ModelEma | None
    best: BestScore
    accelerator: Accelerator

    def snapshot(self, progress: Progress, journal: int) -> Checkpoint:
        """A copy of everything, with the length of the journal in bytes. Collective: call it on every rank."""
        tensors = {f"model/{name}": gather(tensor) for name, tensor in self.network.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema/{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for name, of_parameter in self._optimizer_state():
            tensors |= {
                f"optimizer/{key}/{name}": gather(value)
                for key, value in of_parameter.items()
                if isinstance(value, Tensor)
            }
        if progress.losses:
            tensors["epoch/losses"] = _summed(progress.losses, self.accelerator).cpu()
            tensors["epoch/correct"] = _summed(progress.correct, self.accelerator).cpu()
        scaler = self.accelerator.scaler
        metadata = {
            "step": progress.step,
            "seconds": progress.seconds,
            "images": progress.images,
            "epoch_images": progress.images_of_epoch(self.accelerator),
            "epoch_seconds": progress.seconds_of_epoch() if progress.losses else 0.0,
            "scaler": scaler and scaler.state_dict(),
            "recipe": self.job.stored_recipe(),
            "journal": journal,
        }
        return Checkpoint(tensors, metadata)

    def restore(self, checkpoint: Checkpoint, best_score: float | None) -> Progress:
        """Load a checkpoint that this or another number of processes wrote."""
        weights, metadata = checkpoint.section("model"), checkpoint.metadata
        for name, tensor in self.network.state_dict().items():
            scatter(tensor, weights[name])
        if self.ema is not None:
            self.ema.load_state_dict(checkpoint.section("ema"))
        if best_score is not None:
            self.best.score = best_score
        optimizer_state = checkpoint.section("optimizer")
        parameters = dict(self.network.named_parameters())
        for optimizer in self.optimizers:
            own = {parameter for group in optimizer.param_groups for parameter in group["params"]}
            for key_and_name, value in optimizer_state.items():
                key, _, name = key_and_name.partition("/")
                if parameters[name] in own:
                    optimizer.state[parameters[name]][key] = _like(parameters[name], value)
        if metadata["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(metadata["scaler"])
        losses, correct = (self._share_of_sum(name, checkpoint) for name in ("losses", "correct"))
        return Progress(
            step=metadata["step"],
            seconds=metadata["seconds"],
            images=metadata["images"],
            losses=losses,
            correct=correct,
            epoch_images=metadata["epoch_images"] if self.accelerator.is_main_process else 0,
            epoch_seconds=metadata["epoch_seconds"],
        )

    def _optimizer_state(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The name of each parameter that an optimiser has updated, and its state."""
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        for optimizer in self.optimizers:
            for parameter, of_parameter in optimizer.state.items():
                yield names[parameter], of_parameter

    def _share_of_sum(self, name: str, checkpoint: Checkpoint) -> list[Tensor]:
        """The main process takes over the sum of all processes."""
        summed = checkpoint.section("epoch").get(name)
        if summed is None:
            return []
        share = summed if self.accelerator.is_main_process else torch.zeros_like(summed)
        return list(share.to(self.accelerator.device))


def _summed(values: list[Tensor], accelerator: Accelerator) -> Tensor:
    """Step by step, over the processes."""
    return accelerator.reduce(torch.stack(values), "sum")  # pyright: ignore[reportReturnType]


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` with the parameter's device, sharding and layout; a scalar, such as AdamW's step, as it is."""
    if value.shape != parameter.shape:
        return value
    laid_out = torch.empty_like(parameter)
    scatter(laid_out, value)
    return laid_out
