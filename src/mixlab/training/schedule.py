"""The learning rate over a training, as a share of its peak."""

import math

from mixlab.training.sections import Schedule


def share_of_peak(schedule: Schedule, step: int, steps: int) -> float:
    """From 0 to 1, for the step that is about to be taken (0 .. steps - 1).

    Linear warm-up that reaches the peak at its end, then a half cosine or a line down to `final` at the last step.
    """
    warmup = round(schedule.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(steps - warmup - 1, 1)
    falling = (1 + math.cos(math.pi * progress)) / 2 if schedule.name == "cosine" else 1 - progress
    return schedule.final + (1 - schedule.final) * falling
