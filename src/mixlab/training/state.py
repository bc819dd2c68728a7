"""All that a training has to know between two steps in order to go on: what a checkpoint holds.

model/NAME           the weights, with batch normalisation's statistics
average/NAME         their moving average
optimizer/KEY/NAME   what the optimiser remembers of a parameter: exp_avg, momentum_buffer ...
epoch/losses, rights the steps of the epoch that is going on

Randomness is derived from the step, so it has no state. Tensors are whole, whatever number of processes wrote them.
"""

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
from mixlab.training.ema import Kept
from mixlab.training.recipes.schema import Recipe
from mixlab.training.step import StepResult


@dataclass
class Progress:
    """How far the training has come, and its epoch's mean loss and accuracy on the augmented images.

    The losses and counts of right answers are this process's shares; nothing is read from the device before `close`.
    """

    step: int = 0
    seconds: float = 0.0  # of the epochs that are closed
    images: int = 0  # of all steps, over all processes
    losses: list[Tensor] = field(default_factory=list)
    correct_counts: list[Tensor] = field(default_factory=list)
    epoch_images: int = 0  # that this process saw
    epoch_seconds: float = 0.0  # before an interruption
    _since: float = field(default_factory=time.perf_counter)

    def begin_epoch(self) -> None:
        self._since = time.perf_counter()

    def add(self, taken: StepResult) -> None:
        images = len(taken.batch.labels) if taken.batch.weight else 0
        self.losses.append(taken.loss * images)
        self.correct_counts.append(taken.correct)
        self.epoch_images += images

    def seconds_of_epoch(self) -> float:
        return self.epoch_seconds + time.perf_counter() - self._since

    def close_epoch(self, accelerator: Accelerator) -> dict[str, float]:
        """The mean loss and the per cent right of the epoch, which ends here; every process has to ask."""
        if not self.losses:
            raise UserError(
                "Every step of an epoch had a gradient that is no number, and was left out: the training diverged. "
                "Lower optimizer.learning_rate, or lengthen schedule.warmup."
            )
        images = self.images_of_epoch(accelerator)
        loss, correct = (_summed(values, accelerator).sum().item() for values in (self.losses, self.correct_counts))
        self.seconds += self.seconds_of_epoch()
        self.images += images
        self.losses, self.correct_counts, self.epoch_images, self.epoch_seconds = [], [], 0, 0.0
        return {"loss": loss / images, "top1": 100 * correct / images}

    def images_of_epoch(self, accelerator: Accelerator) -> int:
        """Over all processes, which have to ask."""
        here = torch.tensor(self.epoch_images, device=accelerator.device)
        return int(accelerator.reduce(here, "sum"))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class TrainingState:
    recipe: Recipe
    network: nn.Module
    optimizers: Sequence[Any]  # Accelerate's wrapping of torch's
    kept: Kept
    accelerator: Accelerator

    def snapshot(self, progress: Progress, journal: int) -> Checkpoint:
        """A copy of everything, what was asked for, and how long the journal was; every process has to ask."""
        tensors = {f"model/{name}": gather(tensor) for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.kept.average().items()}
        for name, cached in self._cached():
            tensors |= {
                f"optimizer/{key}/{name}": gather(value) for key, value in cached.items() if isinstance(value, Tensor)
            }
        if progress.losses:
            tensors["epoch/losses"] = _summed(progress.losses, self.accelerator).cpu()
            tensors["epoch/rights"] = _summed(progress.correct_counts, self.accelerator).cpu()
        scaler = self.accelerator.scaler
        metadata = {
            "step": progress.step,
            "seconds": progress.seconds,
            "images": progress.images,
            "epoch_images": progress.images_of_epoch(self.accelerator),
            "epoch_seconds": progress.seconds_of_epoch() if progress.losses else 0.0,
            "scaler": scaler and scaler.state_dict(),
            "recipe": self.recipe.to_dict(),
            "journal": journal,
        }
        return Checkpoint(tensors, metadata)

    def restore(self, checkpoint: Checkpoint, best_score: float | None) -> Progress:
        """Everything as it was when the checkpoint was written, here or in another number of processes."""
        weights, metadata = checkpoint.section("model"), checkpoint.metadata
        for name, tensor in self.network.state_dict().items():
            scatter(tensor, weights[name])
        self.kept.restore(checkpoint.section("average"), best_score)
        cached = checkpoint.section("optimizer")
        parameters = dict(self.network.named_parameters())
        for optimizer in self.optimizers:
            trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
            for key_and_name, value in cached.items():
                key, _, name = key_and_name.partition("/")
                if parameters[name] in trained:
                    optimizer.state[parameters[name]][key] = _like(parameters[name], value)
        if metadata["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(metadata["scaler"])
        losses, correct_counts = (self._share_of_sum(name, checkpoint) for name in ("losses", "rights"))
        return Progress(
            step=metadata["step"],
            seconds=metadata["seconds"],
            images=metadata["images"],
            losses=losses,
            correct_counts=correct_counts,
            epoch_images=metadata["epoch_images"] if self.accelerator.is_main_process else 0,
            epoch_seconds=metadata["epoch_seconds"],
        )

    def _cached(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The name of each parameter that an optimiser has moved, and what it remembers of it."""
        names = {parameter: name for name, parameter in self.network.named_parameters()}
        for optimizer in self.optimizers:
            for parameter, cached in optimizer.state.items():
                yield names[parameter], cached

    def _share_of_sum(self, name: str, checkpoint: Checkpoint) -> list[Tensor]:
        """What all processes had together goes on in the first."""
        summed = checkpoint.section("epoch").get(name)
        if summed is None:
            return []
        share = summed if self.accelerator.is_main_process else torch.zeros_like(summed)
        return list(share.to(self.accelerator.device))


def _summed(values: list[Tensor], accelerator: Accelerator) -> Tensor:
    """Step by step, over the processes."""
    return accelerator.reduce(torch.stack(values), "sum")  # pyright: ignore[reportReturnType]


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """In the parameter's place and layout; what is one number for all of it, such as AdamW's step, stays as it is."""
    if value.shape != parameter.shape:
        return value
    with_assignment = torch.empty_like(parameter)
    scatter(with_assignment, value)
    return with_assignment
