"""Interleaved timing of several callables.

The callables are timed in turn, round by round, so that a temporary slowdown of the machine affects all of them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from mixlab.stats.estimate import Estimate

Call = Callable[[], object]


def interleaved(
    callables: Mapping[str, Call],
    rounds: int = 9,
    warmup: int = 2,
    sample_seconds: float = 0.1,
    before: Callable[[str], object] = lambda name: None,
) -> dict[str, list[float]]:
    """Time callables in turn. Returns seconds per call by name: one sample per round.

    callables:      functions without arguments, by name.
    rounds:         number of samples of each callable.
    warmup:         untimed calls before the first round, at least 1. The fastest one determines how many calls make
                    up a sample.
    sample_seconds: approximate duration of a sample; a sample is the mean over the calls in it.
    before:         called with the name before the warm-up and before each sample, untimed.

    Each round starts with the next callable, so that the order rotates. The accelerator is synchronized before the
    clock is read.
    """
    names = list(callables)
    repeats: dict[str, int] = {}
    for name in names:
        before(name)
        repeats[name] = _repeats(callables[name], warmup, sample_seconds)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            before(name)
            seconds[name].append(seconds_per_call(callables[name], repeats[name]))
    return seconds


def speed_ratio(seconds: Sequence[float], of: Sequence[float]) -> Estimate:
    """Median of the ratios `of / seconds`, round by round: above 1, `seconds` is the faster side.

    Both are seconds per call of the same rounds, as `interleaved` returns them.
    """
    from mixlab.stats.intervals import (
        median_interval,
    )  # loads SciPy, which takes longer than torch's first forward pass

    return median_interval([reference / own for own, reference in zip(seconds, of, strict=True)], unit="")


def synchronize() -> None:
    """Wait until the accelerator, if any, has finished all queued work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def seconds_per_call(call: Call, repeats: int = 1) -> float:
    """The mean seconds of successive calls."""
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize()
    return (time.perf_counter() - start) / repeats


def _repeats(call: Call, warmup: int, sample_seconds: float) -> int:
    fastest = min(seconds_per_call(call) for _ in range(warmup))
    return max(1, math.ceil(sample_seconds / fastest))
