"""Coverage, false alarms and power of the crossed bootstrap, measured in simulations with known accuracy.

An image is correct if ability + seed + difficulty + interaction + noise > 0. All terms except ability are normally
distributed: difficulty belongs to an image and is the same for every model, interaction belongs to an image and a
model, noise belongs to a single training. The true accuracy then has a closed form.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from mixlab.stats.best import behind_the_best
from mixlab.stats.equivalence import crossed_equivalence
from mixlab.stats.over_sets import mean_difference
from mixlab.stats.paired import Difference, crossed_bootstrap, crossed_t, detectable_difference, holm

DIFFICULTY, INTERACTION, NOISE = 1.5, 0.7, 1.0  # standard deviations


@dataclass(frozen=True)
class World:
    """Two models: a has `accuracy` per cent, b is `gap` percentage points below it.

    seed_spread is the standard deviation of a model's accuracy over all seeds, in percentage points.
    """

    accuracy: float
    seeds: tuple[int, int]
    images: int
    seed_spread: float
    gap: float = 0.0

    def simulate(self, models: list[tuple[float, int]], repetition: int) -> list[NDArray[np.bool_]]:
        """For each (accuracy, seeds) one array (seed, image): whether each image is correct."""
        rng = np.random.default_rng([repetition, 2])
        scale = math.hypot(DIFFICULTY, INTERACTION, NOISE)
        difficulty = rng.normal(0, DIFFICULTY, self.images)
        correct = []
        for accuracy, seeds in models:
            point = float(ndtri(accuracy / 100))
            points_per_unit = 100 * math.exp(-(point**2) / 2) / math.sqrt(2 * math.pi) / scale
            seed_spread = self.seed_spread / points_per_unit
            ability = point * math.hypot(scale, seed_spread)
            seed = rng.normal(0, seed_spread, (seeds, 1))
            interaction = rng.normal(0, INTERACTION, self.images)
            noise = rng.normal(0, NOISE, (seeds, self.images))
            correct.append(ability + seed + difficulty + interaction + noise > 0)
        return correct

    def pairs(self, repetitions: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        models = [(self.accuracy, self.seeds[0]), (self.accuracy - self.gap, self.seeds[1])]
        for repetition in range(repetitions):
            a, b = self.simulate(models, repetition)
            yield a, b

    def differences(self, repetitions: int) -> list[Difference]:
        return [
            crossed_bootstrap(a, b, resamples=1_999, seed=repetition)
            for repetition, (a, b) in enumerate(self.pairs(repetitions))
        ]

    def coverage(self, repetitions: int) -> float:
        """Percentage of the 95 % intervals that contain the true gap."""
        return self.coverage_of(self.differences(repetitions))

    def coverage_of(self, differences: Iterable[Difference]) -> float:
        return 100 * float(np.mean([each.low <= self.gap <= each.high for each in differences]))


MEASURED = [  # coverage in per cent, 3,000 repetitions: standard error 0.4; the test runs the first 1,000
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
def test_an_interval_has_about_its_nominal_coverage(world):
    assert 93 <= world.coverage(repetitions=600) <= 98.5


@pytest.mark.long
@pytest.mark.parametrize(("world", "measured"), MEASURED)
def test_the_coverage_is_the_measured_one(world, measured):
    coverage = world.coverage(repetitions=1_000)
    assert 93 <= coverage <= 98.5
    assert coverage == pytest.approx(measured, abs=1.0)


@pytest.mark.parametrize("expected_disagreements", [0.5, 1, 2, 3, 4, 6, 8])
def test_near_a_tie_at_least_nine_in_ten_intervals_cover_the_true_difference(expected_disagreements):
    images = 510  # a is always correct, b is wrong on a few; a plain bootstrap covers 40 % in the first case
    correct = np.ones((3, images), dtype=bool)
    covered = 0
    for repetition in range(300):
        wrong = np.random.default_rng(repetition).random(images) < expected_disagreements / images
        difference = crossed_bootstrap(correct, correct & ~wrong, resamples=999, seed=repetition)
        covered += difference.low <= 100 * expected_disagreements / images <= difference.high
    assert covered / 300 >= 0.9


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "measured"),
    [  # percentage of the comparisons, 800 repetitions; the test runs the first 200
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3), 5.0),
        (World(95, seeds=(2, 2), images=1_000, seed_spread=0.5), 12.5),  # the reason to use at least three seeds
    ],
)
def test_the_false_alarm_rate_of_five_equal_models_is_the_measured_one(world, measured):
    models = [(world.accuracy, world.seeds[0])] * 5
    alarms = 0
    for repetition in range(200):
        pairs = combinations(world.simulate(models, repetition), 2)
        alarms += min(holm([crossed_bootstrap(a, b, resamples=4_999, seed=repetition).p for a, b in pairs])) < 0.05
    assert 100 * alarms / 200 == pytest.approx(measured, abs=3.0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "comparisons", "measured"),
    [  # the gap is the detectable difference at the mean standard error; power in per cent
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3, gap=2.33), 1, 79),
        (World(95, seeds=(5, 5), images=2_000, seed_spread=0.3, gap=1.19), 1, 79),
        (World(95, seeds=(5, 5), images=2_000, seed_spread=0.3, gap=1.66), 10, 75),
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3, gap=3.60), 10, 69),  # few seeds cost power
    ],
)
def test_a_detectable_difference_is_detected_with_the_measured_power(world, comparisons, measured):
    differences = world.differences(repetitions=1_000)
    error = math.sqrt(np.mean([each.standard_error**2 for each in differences]))
    freedom = float(np.median([each.degrees_of_freedom for each in differences]))
    assert detectable_difference(error, freedom, comparisons) == pytest.approx(world.gap, rel=0.05)
    power = 100 * np.mean([each.p < 0.05 / comparisons for each in differences])
    assert power == pytest.approx(measured, abs=3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "measured"),
    [  # coverage in per cent, 1,000 repetitions: standard error 0.7
        (World(90, seeds=(1, 1), images=60, seed_spread=0.0), 95.5),
        (World(90, seeds=(1, 1), images=510, seed_spread=0.0, gap=3), 94.5),
        (World(90, seeds=(1, 1), images=2_000, seed_spread=0.0, gap=1), 94.8),
        (World(90, seeds=(5, 5), images=2_000, seed_spread=0.3, gap=1), 93.8),
        (World(98, seeds=(5, 5), images=510, seed_spread=0.3, gap=1), 96.3),
    ],
)
def test_the_coverage_with_one_or_five_trainings_is_between_93_and_97_per_cent(world, measured):
    coverage = world.coverage(repetitions=600)
    assert 93 <= coverage <= 97
    assert coverage == pytest.approx(measured, abs=1.2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "measured"),
    [  # the true difference is the margin; percentage of 1,000 comparisons, standard error 0.7
        (World(90, seeds=(1, 1), images=2_000, seed_spread=0.0, gap=2), 5.7),
        (World(98, seeds=(1, 1), images=510, seed_spread=0.0, gap=2), 5.9),
        (World(98, seeds=(3, 3), images=510, seed_spread=0.3, gap=2), 4.6),
        (World(90, seeds=(3, 3), images=2_000, seed_spread=0.3, gap=1), 2.9),
        (World(90, seeds=(5, 5), images=2_000, seed_spread=0.3, gap=1), 4.9),
        (World(90, seeds=(3, 3), images=2_000, seed_spread=1.0, gap=2), 3.4),
        (World(95, seeds=(2, 2), images=1_000, seed_spread=0.5, gap=2), 4.2),
    ],
)
def test_equivalence_is_wrongly_shown_in_about_5_per_cent_or_less(world, measured):
    shown = [
        crossed_equivalence(a, b, world.gap, resamples=1_999, seed=repetition).is_shown
        for repetition, (a, b) in enumerate(world.pairs(600))
    ]
    assert 100 * np.mean(shown) == pytest.approx(measured, abs=1.2)
    assert 100 * np.mean(shown) < 5 + 2 * 0.9  # two standard errors


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "measured"),
    [  # coverage of the closed form in per cent, 1,000 repetitions; it is too wide for classes with 20 or 50 images
        (World(90, seeds=(1, 1), images=20, seed_spread=0.0), 98.4),
        (World(90, seeds=(1, 1), images=50, seed_spread=0.0), 97.4),
        (World(90, seeds=(1, 1), images=200, seed_spread=0.0, gap=5), 95.2),
        (World(90, seeds=(1, 1), images=2_000, seed_spread=0.0, gap=1), 94.7),
        (World(90, seeds=(3, 3), images=20, seed_spread=0.5), 99.7),
        (World(90, seeds=(3, 3), images=50, seed_spread=0.5), 98.3),
        (World(90, seeds=(3, 3), images=200, seed_spread=0.5), 95.2),
        (World(90, seeds=(5, 5), images=1_000, seed_spread=0.3, gap=1), 95.4),
        (World(98, seeds=(3, 3), images=50, seed_spread=0.3), 100),
    ],
)
def test_the_closed_form_has_its_nominal_coverage_or_more(world, measured):
    coverage = world.coverage_of(crossed_t(a, b) for a, b in world.pairs(600))
    assert coverage >= 93
    assert coverage == pytest.approx(measured, abs=1.2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "measured"),
    [
        (World(90, seeds=(1, 1), images=2_000, seed_spread=0.0, gap=1), 94.1),
        (World(90, seeds=(3, 3), images=2_000, seed_spread=0.5, gap=1), 95.5),
        (World(90, seeds=(5, 5), images=2_000, seed_spread=0.5, gap=1), 95.3),
    ],
)
def test_the_mean_over_two_sets_is_covered_if_the_same_trainings_are_evaluated_on_both(world, measured):
    small = world.images // 4
    sets = ([(a[:, :small], b[:, :small]), (a[:, small:], b[:, small:])] for a, b in world.pairs(600))
    coverage = world.coverage_of(mean_difference(pairs) for pairs in sets)
    assert 93 <= coverage <= 97
    assert coverage == pytest.approx(measured, abs=1.2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "pairs", "bounds"),
    [
        (World(80, (3, 3), 100, seed_spread=1.0, gap=1.0), 98.0, 96.9),
        (World(80, (3, 3), 510, seed_spread=1.0, gap=1.0), 94.5, 94.2),
        (World(60, (3, 3), 510, seed_spread=0.5, gap=1.0), 94.7, 94.7),
    ],
)
def test_intervals_and_bounds_cover_scores_between_0_and_1(world: World, pairs: float, bounds: float):
    """The score of an image is the mean of three decisions. Measured with 1,000 repetitions, standard error 0.7."""
    covered, bounded, repetitions = [], [], 300
    models = [(world.accuracy, world.seeds[0]), (world.accuracy - world.gap, world.seeds[1])]
    for repetition in range(repetitions):
        decisions = [world.simulate(models, 10 * repetition + part) for part in range(3)]
        a, b = (np.mean([of_models[model] for of_models in decisions], axis=0) for model in range(2))
        difference = crossed_bootstrap(a, b, resamples=999, seed=repetition)
        covered.append(difference.low <= world.gap <= difference.high)
        bounded.append(behind_the_best([a, b], resamples=999, seed=repetition)[1] >= world.gap)
    tolerance = 3 * math.sqrt(5 * 95 / repetitions)
    assert 100 * np.mean(covered) == pytest.approx(pairs, abs=tolerance)
    assert 100 * np.mean(bounded) == pytest.approx(bounds, abs=tolerance)
