"""The state of a training between two steps, as it is saved in checkpoints.

model/NAME             weights and buffers
ema/NAME               their exponential moving average
optimizer/KEY/NAME     optimiser state of a parameter: exp_avg, momentum_buffer ...
epoch/losses, NAME     loss and counts of each step of the current epoch: correct ...

Random number generators are seeded in every step, so they have no state. Tensors are saved unsharded, so that a
training can be resumed with another number of processes.
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
from mixlab.tasks.task import Task
from mixlab.training.distributed import gather, scatter
from mixlab.training.ema import ModelEma
from mixlab.training.job import Job
from mixlab.training.step import StepResult


@dataclass
class BestScore:
    """The best validation score so far."""

    score: float = -math.inf

    def update(self, score: float) -> bool:
        """Update the best score and return whether `score` is at least as high: on a tie the later weights win."""
        is_best = score >= self.score
        self.score = max(score, self.score)
        return is_best


@dataclass
class Progress:
    """The current step, and the loss and counts of the current epoch on the augmented training images.

    `losses` and `counts` are those of this process's images; `end_epoch` reads them from the device.
    """

    step: int = 0
    seconds: float = 0.0  # of the complete epochs
    images: int = 0  # of all steps, over all processes
    losses: list[Tensor] = field(default_factory=list)  # of each step, summed over its images
    counts: dict[str, list[Tensor]] = field(default_factory=dict)  # of each step, by name
    scores: list[float] = field(default_factory=list)  # of each validation
    epoch_images: int = 0  # of this process
    epoch_seconds: float = 0.0  # before an interruption
    _since: float = field(default_factory=time.perf_counter)

    def begin_epoch(self) -> None:
        """Start to measure the time of an epoch, or of the rest of one after a resume."""
        self._since = time.perf_counter()

    def add(self, result: StepResult) -> None:
        """Add the loss and the counts of a step."""
        images = len(result.batch.labels) if result.batch.weight else 0
        self.losses.append(result.loss * images)
        for name, count in result.counts.items():
            self.counts.setdefault(name, []).append(count if images else torch.zeros_like(count))
        self.epoch_images += images

    def seconds_of_epoch(self) -> float:
        """Seconds of the current epoch so far, including those before an interruption."""
        return self.epoch_seconds + time.perf_counter() - self._since

    def end_epoch(self, task: Task, accelerator: Accelerator) -> dict[str, float]:
        """{"loss": mean} and the metrics of the epoch. Collective: call it on every rank.

        Raises UserError if every step of the epoch was skipped.
        """
        if not self.losses:
            raise UserError(
                "The gradients of every step of an epoch were not finite, so all were skipped: the training diverged. "
                "Lower optimizer.learning_rate, or lengthen schedule.warmup."
            )
        images = self.images_of_epoch(accelerator)
        loss = _summed(self.losses, accelerator).sum().item()
        counts = {name: _summed(values, accelerator).sum(dim=0) for name, values in self.counts.items()}
        self.seconds += self.seconds_of_epoch()
        self.images += images
        self.losses, self.counts, self.epoch_images, self.epoch_seconds = [], {}, 0, 0.0
        return {"loss": loss / images} | task.train_metrics(counts, images)

    def images_of_epoch(self, accelerator: Accelerator) -> int:
        """Images of the current epoch so far, over all processes. Collective: call it on every rank."""
        local = torch.tensor(self.epoch_images, device=accelerator.device)
        return int(accelerator.reduce(local, "sum"))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class TrainingState:
    """Everything that a checkpoint saves and restores, except `Progress`.

    optimizers  Accelerate's wrappers of torch's optimisers
    """

    job: Job
    network: nn.Module
    optimizers: Sequence[Any]
    ema: ModelEma | None
    best: BestScore
    accelerator: Accelerator

    def snapshot(self, progress: Progress, journal: int) -> Checkpoint:
        """A copy of the state on the CPU. Collective: call it on every rank.

        `journal` is the current length of the journal in bytes.
        """
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
            for name, values in {"losses": progress.losses, **progress.counts}.items():
                tensors[f"epoch/{name}"] = _summed(values, self.accelerator).cpu()
        scaler = self.accelerator.scaler
        metadata = {
            "step": progress.step,
            "seconds": progress.seconds,
            "images": progress.images,
            "scores": progress.scores,
            "epoch_images": progress.images_of_epoch(self.accelerator),
            "epoch_seconds": progress.seconds_of_epoch() if progress.losses else 0.0,
            "scaler": scaler and scaler.state_dict(),
            "recipe": self.job.stored_recipe(),
            "journal": journal,
        }
        return Checkpoint(tensors, metadata)

    def restore(self, checkpoint: Checkpoint, best_score: float | None) -> Progress:
        """Load a checkpoint, which may be from another number of processes, and return its progress.

        `best_score` is the best validation score before the interruption, or None without one.
        """
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
        steps = {name: self._share_of_sum(summed) for name, summed in checkpoint.section("epoch").items()}
        return Progress(
            step=metadata["step"],
            seconds=metadata["seconds"],
            images=metadata["images"],
            losses=steps.pop("losses", []),
            counts=steps,
            scores=metadata.get("scores", []),  # checkpoints from before early stopping have none
            epoch_images=metadata["epoch_images"] if self.accelerator.is_main_process else 0,
            epoch_seconds=metadata["epoch_seconds"],
        )

    def _optimizer_state(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(parameter name, optimiser state) of each parameter that has a state."""
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        for optimizer in self.optimizers:
            for parameter, of_parameter in optimizer.state.items():
                yield names[parameter], of_parameter

    def _share_of_sum(self, summed: Tensor) -> list[Tensor]:
        """The saved sum over all processes on the main process, zeros on the others, for each step."""
        share = summed if self.accelerator.is_main_process else torch.zeros_like(summed)
        return list(share.to(self.accelerator.device))


def _summed(values: list[Tensor], accelerator: Accelerator) -> Tensor:
    """The value of each step, summed over the processes."""
    return accelerator.reduce(torch.stack(values), "sum")  # pyright: ignore[reportReturnType]


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` with the device, sharding and layout of `parameter`; a scalar, such as the step, has only its device."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    result = torch.empty_like(parameter)
    scatter(result, value)
    return result
