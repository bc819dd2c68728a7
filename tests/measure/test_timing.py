"""Interleaved timing: the order of the calls, their number, and the speed ratio. The clock is simulated."""

import pytest

from mixlab.measure import timing
from mixlab.measure.timing import interleaved, speed_ratio


class Clock:
    """A simulated clock that only the calls advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def call_of(self, name: str, seconds: float):
        def call() -> None:
            self.calls.append(name)
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_each_round_starts_with_the_next_callable(clock):
    interleaved({name: clock.call_of(name, 1.0) for name in "abc"}, rounds=3, warmup=1, sample_seconds=1.0)
    assert "".join(clock.calls) == "abc" + "abc" + "bca" + "cab"


def test_every_round_gives_one_sample_in_seconds_per_call(clock):
    seconds = interleaved({"fast": clock.call_of("fast", 0.25), "slow": clock.call_of("slow", 2.0)}, rounds=4)
    assert seconds == {"fast": [0.25] * 4, "slow": [2.0] * 4}


def test_a_fast_call_is_repeated_to_fill_the_sample(clock):
    interleaved({"fast": clock.call_of("fast", 0.25)}, rounds=2, warmup=3, sample_seconds=1.0)
    assert len(clock.calls) == 3 + 2 * 4


def test_the_samples_exclude_the_warmup(clock):
    first = iter([60.0, 0.5])

    def call() -> None:
        clock.now += next(first, 1.0)

    assert interleaved({"call": call}, rounds=3, warmup=2, sample_seconds=0.1) == {"call": [1.0, 1.0, 1.0]}


def test_what_is_called_before_each_turn_is_not_timed(clock):
    def before(name: str) -> None:
        clock.calls.append(f"before {name}")
        clock.now += 5.0

    calls = {name: clock.call_of(name, 1.0) for name in "ab"}
    seconds = interleaved(calls, rounds=1, warmup=2, sample_seconds=0.0, before=before)
    assert clock.calls == ["before a", "a", "a", "before b", "b", "b", "before a", "a", "before b", "b"]
    assert seconds == {"a": [1.0], "b": [1.0]}


def test_the_accelerator_is_synchronized_before_and_after_each_sample(clock, monkeypatch):
    monkeypatch.setattr(timing, "synchronize", clock.call_of("synchronize", 0.125))
    seconds = interleaved({"call": clock.call_of("call", 1.0)}, rounds=1, warmup=1, sample_seconds=0.5)
    assert clock.calls == ["synchronize", "call", "synchronize"] * 2
    assert seconds == {"call": [1.125]}


def test_a_speed_ratio_is_the_median_of_the_ratios_of_the_rounds():
    """A slow second round slows both sides and does not change the ratio."""
    ratio = speed_ratio([1.0, 10.0, 1.0], of=[2.0, 20.0, 3.0])
    assert (ratio.value, ratio.n) == (2.0, 3)
