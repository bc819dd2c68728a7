"""How long calls take beside each other.

The calls take turns, round by round, so that whatever slows the machine for a while slows all of them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval

Call = Callable[[], object]


def interleaved(
    callables: Mapping[str, Call], rounds: int = 9, warmup: int = 2, sample_seconds: float = 0.1
) -> dict[str, list[float]]:
    """Seconds a call takes, by name: one sample a round, each the mean over about `sample_seconds` of calls.

    `warmup` calls, at least one, come first, and the quickest of them says how many make up a sample. Each round
    starts with another callable, so that none always follows the same.
    The queues of an accelerator are emptied before the clock is read.
    """
    names = list(callables)
    repeats = {name: _repeats(callables[name], warmup, sample_seconds) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_seconds_per_call(callables[name], repeats[name]))
    return seconds


def speed_ratio(seconds: Sequence[float], of: Sequence[float]) -> Estimate:
    """How many times as fast as `of` the first is, from the seconds of the same rounds: above 1 it is faster."""
    return median_interval([other / own for own, other in zip(seconds, of, strict=True)], unit="")


def synchronize() -> None:
    """Wait until the accelerator, where there is one, has done what was asked of it."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _repeats(call: Call, warmup: int, sample_seconds: float) -> int:
    quickest = min(_seconds_per_call(call, repeats=1) for _ in range(warmup))
    return max(1, math.ceil(sample_seconds / quickest))


def _seconds_per_call(call: Call, repeats: int) -> float:
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize()
    return (time.perf_counter() - start) / repeats
