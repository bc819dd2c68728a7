"""Seeds and images that a comparison with the best would need."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mixlab.stats.best import behind_the_best
from mixlab.stats.components import Components, image_sample, variance_components
from mixlab.stats.paired import POWER, detectable_difference
from mixlab.stats.sample_size import (
    detectable_margin,
    needed,
    needed_for_equivalence,
    needed_for_significance,
    predicted_bounds,
    repeats_needed,
    spread_factors,
)

BOTH, SECOND = np.array([True, True]), np.array([False, True])


def components(image: float, seed: float, interaction: float = 0.0, means: tuple[float, ...] = (0.98, 0.98)):
    """Standard errors in percentage points, of the difference due to images and of each mean due to seeds."""
    models = len(means)
    return Components(
        means=np.array(means),
        image_variance=np.full((models, models), (image / 100) ** 2),
        seed_variance=np.full(models, (seed / 100) ** 2),
        interaction=np.full(models, (interaction / 100) ** 2),
        seeds=np.full(models, 3),
        images=500,
    )


def test_more_seeds_reduce_the_variance_over_seeds_only():
    more = components(image=0.4, seed=0.5).with_sizes(seeds=12, images=500)
    assert more.variance[0, 1] == pytest.approx((0.4**2 + 2 * 0.5**2 / 4) / 100**2)


def test_more_images_reduce_the_interaction_as_well():
    more = components(image=0.4, seed=0.5, interaction=0.3).with_sizes(seeds=3, images=2_000)
    assert more.variance[0, 1] == pytest.approx((0.4**2 / 4 + 2 * (0.5**2 - 0.3**2 + 0.3**2 / 4)) / 100**2)


def test_the_needed_numbers_are_the_smallest_that_are_predicted_to_decide():
    given = components(image=0.3, seed=0.5)
    result = needed(given, stable=BOTH, may_be_best=BOTH, margin=1)
    assert result.seeds is not None and result.image_factor is None  # the seeds alone leave more than the margin
    bounds = [predicted_bounds(given.with_sizes(seeds=seeds, images=500), BOTH).min() for seeds in range(2, 12)]
    assert result.seeds == 2 + int(np.argmax(np.array(bounds) <= 1))


def test_no_number_of_seeds_is_enough_if_the_images_alone_leave_more_than_the_margin():
    result = needed(components(image=0.8, seed=0.1), stable=BOTH, may_be_best=BOTH, margin=1)
    assert result.seeds is None
    assert result.image_part == pytest.approx(1.645 * 0.8, rel=0.01)
    assert result.image_factor == pytest.approx((1.645 * 0.8) ** 2, rel=0.3)


def test_a_model_that_is_no_candidate_does_not_decide():
    given = components(image=0.1, seed=0.1, means=(0.99, 0.95))
    assert needed(given, stable=BOTH, may_be_best=BOTH, margin=1).seeds == 3
    assert needed(given, stable=SECOND, may_be_best=BOTH, margin=1).seeds is None
    assert needed(given, stable=SECOND, may_be_best=SECOND, margin=1).seeds == 3


def test_a_prediction_at_the_given_size_is_about_the_bound():
    rng = np.random.default_rng(0)
    correct = [rng.random((8, 2_000)) < rng.normal(accuracy, 0.005, (8, 1)) for accuracy in (0.95, 0.94, 0.9)]
    predicted = predicted_bounds(variance_components(correct, image_sample(correct)), np.ones(3, dtype=bool))
    np.testing.assert_allclose(predicted, behind_the_best(correct), rtol=0.1, atol=0.02)


def test_images_that_show_a_difference_follow_from_normal_quantiles():
    pair = replace(components(image=0.5, seed=0.0, means=(0.98, 0.97)), seeds=np.ones(2))
    assert needed_for_significance(pair).image_factor == pytest.approx((0.5 * (1.960 + 0.842)) ** 2, rel=0.02)


def test_images_that_show_equivalence_follow_from_normal_quantiles():
    pair = replace(components(image=0.5, seed=0.0), seeds=np.ones(2))
    needed_images = needed_for_equivalence(pair, margin=0.8).image_factor
    assert needed_images == pytest.approx((0.5 / 0.8 * (1.645 + 1.282)) ** 2, rel=0.02)  # 10 % on either side


@pytest.mark.parametrize("gap", [0.6, 1.5])
def test_the_needed_seeds_are_the_smallest_with_a_power_of_80_per_cent(gap):
    pair = components(image=0.1, seed=0.5, means=(0.98, 0.98 - gap / 100))
    powers = {}
    for seeds in range(3, 100):
        by_seed, by_image = 0.5**2 * 3 / seeds, 0.1**2
        variance = 2 * by_seed + by_image
        freedom = variance**2 / (2 * by_seed**2 / (seeds - 1) + by_image**2 / 500)
        critical = stats.t.isf(0.025, freedom)
        powers[seeds] = stats.nct.sf(critical, freedom, gap / variance**0.5)
    expected = min(seeds for seeds, power in powers.items() if power >= 0.8)
    assert needed_for_significance(pair).seeds == expected > 3


def test_no_number_of_seeds_decides_if_the_images_alone_are_too_few():
    pair = components(image=0.8, seed=0.1, means=(0.98, 0.97))
    for result in (needed_for_significance(pair), needed_for_equivalence(pair, margin=2)):
        assert (result.seeds, result.images_suffice) == (None, False)
    assert needed_for_significance(replace(pair, means=np.array([0.98, 0.95]))).images_suffice


def test_a_difference_beyond_the_margin_can_never_be_shown_to_be_equivalent():
    result = needed_for_equivalence(components(image=0.1, seed=0.1, means=(0.98, 0.96)), margin=1)
    assert (result.seeds, result.image_factor, result.images_suffice) == (None, None, False)


def test_the_seeds_are_unknown_if_a_model_was_trained_once():
    pair = replace(components(image=0.1, seed=0.0, means=(0.98, 0.97)), seeds=np.array([1, 3]))
    result = needed_for_significance(pair)
    assert (result.seeds, result.image_factor) == (None, 1.0)


def test_unequal_numbers_of_seeds_stay_as_they_are_while_images_are_added():
    pair = replace(components(image=0.5, seed=0.2, means=(0.98, 0.97)), seeds=np.array([3, 9]))
    np.testing.assert_array_equal(pair.with_sizes(seeds=pair.seeds, images=2_000).seeds, [3, 9])
    np.testing.assert_allclose(pair.with_sizes(seeds=9, images=500).seed_variance, [0.002**2 / 3, 0.002**2])


@pytest.mark.parametrize("mean", [0.5, 1.0, 2.0, 4.243, 10.0, 40.0])
def test_the_needed_repetitions_are_the_first_with_a_power_of_80_per_cent(mean):
    """Also for large effects, whose power at many repetitions SciPy's distribution function does not have."""

    def power(repeats: int) -> float:
        critical = stats.t.ppf(0.975, repeats - 1)
        return float(stats.nct.sf(critical, repeats - 1, mean * repeats**0.5 / 1.3))

    assert repeats_needed(mean, 1.3, level=0.05) == next(n for n in range(2, 1_000) if power(n) >= POWER)


@pytest.mark.parametrize("repeats", [3, 5, 8, 30])
@pytest.mark.parametrize("claims", [1, 11])
def test_what_is_detectable_has_a_power_of_80_per_cent(repeats, claims):
    """Compared with the frequency of significant samples."""
    level = 0.05 / claims
    samples = np.random.default_rng(0).normal(scale=1.3, size=(20_000, repeats))
    error = samples.std(axis=1, ddof=1) / repeats**0.5
    means = samples.mean(axis=1) + detectable_difference(1.3 / repeats**0.5, repeats - 1, claims)
    assert np.mean(means / error > stats.t.ppf(1 - level / 2, repeats - 1)) == pytest.approx(POWER, abs=0.01)
    within = detectable_margin(1.3, repeats, level=level) - np.abs(samples.mean(axis=1))
    assert POWER - 0.01 < np.mean(within / error > stats.t.ppf(1 - level, repeats - 1)) < POWER + 0.1


@pytest.mark.parametrize(("repeats", "low", "high"), [(3, 0.521, 6.285), (5, 0.599, 2.874), (30, 0.796, 1.344)])
def test_the_interval_of_a_spread_has_the_factors_of_published_tables(repeats, low, high):
    assert spread_factors(repeats) == pytest.approx((low, high), abs=5e-4)


def test_the_interval_of_a_spread_covers_the_true_one_in_95_per_cent():
    low, high = spread_factors(4)
    spreads = np.random.default_rng(0).standard_normal((20_000, 4)).std(axis=1, ddof=1)
    assert np.mean((low * spreads <= 1) & (high * spreads >= 1)) == pytest.approx(0.95, abs=0.005)
