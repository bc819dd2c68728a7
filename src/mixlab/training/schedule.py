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
    """The steps of the whole training: `epochs` or `steps`, plus the cool-down.

    Raises UserError if the warm-up is not shorter than `epochs` or `steps`.
    """
    steps = recipe.steps or (recipe.epochs or 0) * steps_per_epoch
    warmup = _warmup(recipe.schedule, steps, steps_per_epoch)
    if warmup >= steps:
        raise UserError(
            f"the warm-up of {warmup:g} steps is not shorter than the training of {steps} steps: train longer, or set "
            "schedule.warmup to a fraction of the training, such as 0.1, instead of warmup_steps or warmup_epochs."
        )
    return steps + recipe.schedule.cooldown_epochs * steps_per_epoch


def lr_factor(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """The factor of the peak learning rate for `step` of `steps`, which include the cool-down. Steps count from 0.

    A linear warm-up from `warmup_factor` to 1 is followed by a cosine or linear decay to `final_factor`, which stays
    constant during the cool-down. The knots of "piecewise" define the whole schedule. In a training of a single step
    the factor is 1.
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
            moments, factors = zip(*schedule.knots or (), strict=True)
            return float(np.interp(progress, moments, factors))
        case "cosine":
            decay = (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            decay = 1 - progress
    return schedule.final_factor + (1 - schedule.final_factor) * decay


def _warmup(schedule: Schedule, steps: int, steps_per_epoch: int) -> float:
    """The length of the warm-up in steps, possibly fractional. `steps` excludes the cool-down."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    if schedule.warmup_epochs is not None:
        return schedule.warmup_epochs * steps_per_epoch
    return schedule.warmup * steps
