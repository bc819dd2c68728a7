"""The learning rate over a training, as a share of its peak.

Rates that change with the step are read at the end of the step: the first one moves the weights, and the last one has
`final`. So do ConvMixer's authors; Mixer's in JAX read them at its beginning, which is one step later. Rates that
change with the epoch are read at the beginning of the epoch, as timm does.
"""

import math

import numpy as np

from mixlab.errors import UserError
from mixlab.training.recipes.schema import Recipe, Schedule


def total_steps(recipe: Recipe, steps_an_epoch: int) -> int:
    """Of the whole training: `epochs` or `steps`, and the cool-down behind them. Raises UserError."""
    steps = recipe.steps or (recipe.epochs or 0) * steps_an_epoch
    warmup = _warmup(recipe.schedule, steps, steps_an_epoch)
    if warmup >= steps:
        raise UserError(
            f"the warm-up of {warmup:g} steps leaves nothing of the training's {steps}: train for longer, or give "
            "schedule.warmup as a share of the training, such as 0.1, in the place of steps or epochs."
        )
    return steps + recipe.schedule.cooldown_epochs * steps_an_epoch


def share_of_peak(schedule: Schedule, step: int, steps: int, steps_an_epoch: int) -> float:
    """From 0 to 1, for the step that is about to be taken (0 .. `steps` - 1, with those of the cool-down).

    A line up from `warmup_from` to the peak; then half a cosine or a line down to `final`, which the cool-down keeps.
    The knots of "piecewise" are the whole course, up and down. A training of one step takes it at the peak.
    """
    if steps == 1:
        return 1.0
    moment = step // steps_an_epoch * steps_an_epoch if schedule.changes == "epoch" else step + 1
    end = steps - schedule.cooldown_epochs * steps_an_epoch
    warmup = _warmup(schedule, end, steps_an_epoch)
    if moment < warmup:
        return schedule.warmup_from + (1 - schedule.warmup_from) * moment / warmup
    begin = warmup if schedule.falls_from == "warmup" else 0
    progress = min((moment - begin) / (end - begin), 1.0)
    match schedule.name:
        case "piecewise":
            moments, heights = zip(*schedule.knots or (), strict=True)
            return float(np.interp(progress, moments, heights))
        case "cosine":
            falling = (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            falling = 1 - progress
    return schedule.final + (1 - schedule.final) * falling


def _warmup(schedule: Schedule, steps: int, steps_an_epoch: int) -> float:
    """In steps, and parts of them, of `steps` without the cool-down."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    if schedule.warmup_epochs is not None:
        return schedule.warmup_epochs * steps_an_epoch
    return schedule.warmup * steps
