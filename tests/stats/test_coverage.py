"""What the crossed bootstrap promises, measured in simulated worlds whose truth is known.

An image is right where ability + seed + difficulty + taste + luck > 0. All but ability are normal draws: difficulty
is an image's own and the same for every model, taste is how one model sees it, luck is a single training's. The true
accuracy then has a closed form.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from mixlab.stats.paired import Difference, crossed_bootstrap, detectable_difference, holm

DIFFICULTY, TASTE, LUCK = 1.5, 0.7, 1.0  # standard deviations


@dataclass(frozen=True)
class World:
    """Two models: a's accuracy in per cent, b `gap` percentage points below it.

    seed_spread is the standard deviation of a model's accuracy over all seeds, in percentage points.
    """

    accuracy: float
    seeds: tuple[int, int]
    images: int
    seed_spread: float
    gap: float = 0.0

    def trained(self, models: list[tuple[float, int]], draw: int) -> list[NDArray[np.bool_]]:
        """For each (accuracy, seeds) one array (seed, image): what was right."""
        random = np.random.default_rng([draw, 2])
        scale = math.hypot(DIFFICULTY, TASTE, LUCK)
        difficulty = random.normal(0, DIFFICULTY, self.images)
        correct = []
        for accuracy, seeds in models:
            point = float(ndtri(accuracy / 100))
            points_per_unit = 100 * math.exp(-(point**2) / 2) / math.sqrt(2 * math.pi) / scale
            seed_spread = self.seed_spread / points_per_unit
            ability = point * math.hypot(scale, seed_spread)
            seed = random.normal(0, seed_spread, (seeds, 1))
            taste = random.normal(0, TASTE, self.images)
            luck = random.normal(0, LUCK, (seeds, self.images))
            correct.append(ability + seed + difficulty + taste + luck > 0)
        return correct

    def compared(self, uniforms: int) -> list[Difference]:
        models = [(self.accuracy, self.seeds[0]), (self.accuracy - self.gap, self.seeds[1])]
        return [crossed_bootstrap(*self.trained(models, draw), resamples=1_999, seed=draw) for draw in range(uniforms)]

    def coverage(self, uniforms: int) -> float:
        """Per cent of the 95 % intervals that hold the true gap."""
        return 100 * float(np.mean([each.low <= self.gap <= each.high for each in self.compared(uniforms)]))


MEASURED = [  # coverage in per cent, 3,000 draws: a standard error of 0.4; the test makes the first 1,000
    (World(98, seeds=(3, 3), images=510, seed_spread=0.3), 96.6),
    (World(98, seeds=(3, 3), images=510, seed_spread=0.3, gap=2), 95.9),
    (World(98, seeds=(3, 3), images=510, seed_spread=0.0), 96.4),
    (World(90, seeds=(5, 5), images=10_000, seed_spread=0.3), 94.5),
    (World(90, seeds=(5, 5), images=10_000, seed_spread=0.0), 95.5),
    (World(90, seeds=(3, 3), images=10_000, seed_spread=0.3), 95.1),
    (World(90, seeds=(3, 3), images=2_000, seed_spread=1.0), 95.6),
    (World(95, seeds=(3, 8), images=2_000, seed_spread=0.5), 93.3),
    (World(95, seeds=(2, 2), images=1_000, seed_spread=0.5), 94.2),
    (World(80, seeds=(3, 3), images=60, seed_spread=1.0, gap=10), 96.6),
    (World(98, seeds=(1, 1), images=510, seed_spread=0.0), 95.3),
]


@pytest.mark.parametrize(
    "world",
    [
        World(98, seeds=(3, 3), images=510, seed_spread=0.3),
        World(98, seeds=(3, 3), images=510, seed_spread=0.0),
        World(90, seeds=(3, 3), images=1_000, seed_spread=1.0),
    ],
)
def test_an_interval_covers_the_truth_about_as_often_as_it_says(world):
    assert 93 <= world.coverage(uniforms=600) <= 98.5


@pytest.mark.long
@pytest.mark.parametrize(("world", "measured"), MEASURED)
def test_the_measured_coverage_is_what_is_written_here(world, measured):
    coverage = world.coverage(uniforms=1_000)
    assert 93 <= coverage <= 98.5
    assert coverage == pytest.approx(measured, abs=1.0)


@pytest.mark.parametrize("expected_disagreements", [0.5, 1, 2, 3, 4, 6, 8])
def test_near_a_tie_nine_in_ten_intervals_cover_the_truth(expected_disagreements):
    images = 510  # a is always right, b wrong on a few; a plain bootstrap covers 40 % of the first case
    right = np.ones((3, images), dtype=bool)
    covered = 0
    for draw in range(300):
        wrong = np.random.default_rng(draw).random(images) < expected_disagreements / images
        difference = crossed_bootstrap(right, right & ~wrong, resamples=999, seed=draw)
        covered += difference.low <= 100 * expected_disagreements / images <= difference.high
    assert covered / 300 >= 0.9


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "measured"),
    [  # per cent of the studies, 800 draws; the test makes the first 200
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3), 5.0),
        (World(95, seeds=(2, 2), images=1_000, seed_spread=0.5), 12.5),  # why three seeds are the least
    ],
)
def test_five_equal_models_raise_a_false_alarm_as_rarely_as_is_written_here(world, measured):
    models = [(world.accuracy, world.seeds[0])] * 5
    alarms = 0
    for draw in range(200):
        pairs = combinations(world.trained(models, draw), 2)
        alarms += min(holm([crossed_bootstrap(a, b, resamples=4_999, seed=draw).p for a, b in pairs])) < 0.05
    assert 100 * alarms / 200 == pytest.approx(measured, abs=3.0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "comparisons", "measured"),
    [  # the gap is the one that is detectable at the mean standard error of such worlds; power in per cent
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3, gap=2.33), 1, 79),
        (World(95, seeds=(5, 5), images=2_000, seed_spread=0.3, gap=1.19), 1, 79),
        (World(95, seeds=(5, 5), images=2_000, seed_spread=0.3, gap=1.66), 10, 75),
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3, gap=3.60), 10, 69),  # the price of few seeds
    ],
)
def test_a_detectable_difference_is_found_about_eight_times_in_ten(world, comparisons, measured):
    differences = world.compared(uniforms=1_000)
    error = math.sqrt(np.mean([each.standard_error**2 for each in differences]))
    freedom = float(np.median([each.degrees_of_freedom for each in differences]))
    assert detectable_difference(error, freedom, comparisons) == pytest.approx(world.gap, rel=0.05)
    power = 100 * np.mean([each.p < 0.05 / comparisons for each in differences])
    assert power == pytest.approx(measured, abs=3)
