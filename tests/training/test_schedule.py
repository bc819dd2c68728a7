"""The schedule, beside its formula written out."""

import math

import pytest

from mixlab.training.schedule import share_of_peak
from mixlab.training.sections import Schedule

STEPS = 100


def shares(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [share_of_peak(schedule, step, steps) for step in range(steps)]


def test_the_warm_up_is_linear_and_reaches_the_peak_at_its_end():
    assert shares(Schedule(warmup=0.1))[:11] == pytest.approx([0.1 * step for step in range(1, 11)] + [1.0])


def test_a_cosine_falls_from_the_peak_to_the_final_share_at_the_last_step():
    falling = shares(Schedule(name="cosine", warmup=0.2, final=0.1))[20:]
    assert falling == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * k / 79)) / 2 for k in range(80)])


def test_a_line_falls_from_the_peak_to_the_final_share_at_the_last_step():
    falling = shares(Schedule(name="linear", warmup=0.2, final=0.1))[20:]
    assert falling == pytest.approx([1 - 0.9 * k / 79 for k in range(80)])


def test_without_a_warm_up_the_first_step_has_the_peak():
    assert shares(Schedule())[0] == 1.0


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_a_training_of_one_step_has_the_peak(name):
    assert shares(Schedule(name=name), steps=1) == [1.0]
