"""Interleaved timing: whose turn it is, how often, and what a ratio is worth. No test reads a real clock's answer."""

import pytest

from mixlab.measure import timing
from mixlab.measure.timing import interleaved, speed_ratio


class Clock:
    """Time passes only where a call says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def takes(self, name: str, seconds: float):
        def call() -> None:
            self.calls.append(name)
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_the_calls_take_turns_and_each_round_starts_with_another(clock):
    interleaved({name: clock.takes(name, 1.0) for name in "abc"}, rounds=3, warmup=1, sample_seconds=1.0)
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab"


def test_every_round_gives_one_sample_of_seconds_a_call(clock):
    seconds = interleaved({"quick": clock.takes("quick", 0.25), "slow": clock.takes("slow", 2.0)}, rounds=4)
    assert seconds == {"quick": [0.25] * 4, "slow": [2.0] * 4}


def test_a_sample_repeats_a_quick_call_until_its_time_is_filled(clock):
    interleaved({"quick": clock.takes("quick", 0.25)}, rounds=2, warmup=3, sample_seconds=1.0)
    assert len(clock.calls) == 3 + 2 * 4


def test_the_warm_up_is_not_in_the_samples(clock):
    first = iter([60.0, 0.5])

    def call() -> None:
        clock.now += next(first, 1.0)

    assert interleaved({"call": call}, rounds=3, warmup=2, sample_seconds=0.1) == {"call": [1.0, 1.0, 1.0]}


def test_the_accelerator_is_waited_for_on_both_sides_of_the_clock(clock, monkeypatch):
    monkeypatch.setattr(timing, "synchronize", clock.takes("wait", 0.125))
    seconds = interleaved({"call": clock.takes("call", 1.0)}, rounds=1, warmup=1, sample_seconds=0.5)
    assert clock.calls == ["wait", "call", "wait"] * 2
    assert seconds == {"call": [1.125]}


def test_a_speed_ratio_is_the_median_of_the_rounds_own_ratios():
    """A slow second round slows both sides and leaves the ratio."""
    ratio = speed_ratio([1.0, 10.0, 1.0], of=[2.0, 20.0, 3.0])
    assert (ratio.value, ratio.n) == (2.0, 3)
