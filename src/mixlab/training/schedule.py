"""The learning rate schedule: a factor from 0 to 1 for every step, relative to the peak rate.

With `update_every = "step"` the factor of step i is that at the end of step i: the first step already moves the
weights, and the last one has `final_factor`. ConvMixer's authors do the same; the Mixer authors' JAX code evaluates
the schedule at the beginning of the step, one step later. With `update_every = "epoch"` the factor is that at the
beginning of the epoch, as in timm.
"""

import math

import numpy as np

from mixlab.errors import UserError
from mixlab.training.recipes.schema import Recipe, Schedule


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Of the whole training: `epochs` or `steps`, and the cool-down behind them. Raises UserError."""
    steps = recipe.steps or (recipe.epochs or 0) * steps_per_epoch
    warmup = _warmup(recipe.schedule, steps, steps_per_epoch)
    if warmup >= steps:
        raise UserError(
            f"the warm-up of {warmup:g} steps leaves nothing of the training's {steps}: train for longer, or give "
            "schedule.warmup as a share of the training, such as 0.1, in the place of steps or epochs."
        )
    return steps + recipe.schedule.cooldown_epochs * steps_per_epoch


def lr_factor(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """The factor for `step`, counted from 0 to `steps` - 1 with the steps of the cool-down.

    A linear warm-up from `warmup_factor` to 1, then a cosine or linear decay to `final_factor`, which the cool-down
    keeps. The knots of "piecewise" define the whole schedule. A training of a single step takes it at the peak.
    """
    if steps == 1:
        return 1.0
    moment = step // steps_per_epoch * steps_per_epoch if schedule.update_every == "epoch" else step + 1
    end = steps - schedule.cooldown_epochs * steps_per_epoch
    warmup = _warmup(schedule, end, steps_per_epoch)
    if moment < warmup:
        return schedule.warmup_factor + (1 - schedule.warmup_factor) * moment / warmup
    begin = warmup if schedule.decay_start == "warmup" else 0
    progress = min((moment - begin) / (end - begin), 1.0)
    match schedule.name:
        case "piecewise":
            moments, heights = zip(*schedule.knots or (), strict=True)
            return float(np.interp(progress, moments, heights))
        case "cosine":
            falling = (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            falling = 1 - progress
    return schedule.final_factor + (1 - schedule.final_factor) * falling


def _warmup(schedule: Schedule, steps: int, steps_per_epoch: int) -> float:
    """In steps, and parts of them, of `steps` without the cool-down."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    if schedule.warmup_epochs is not None:
        return schedule.warmup_epochs * steps_per_epoch
    return schedule.warmup * steps
