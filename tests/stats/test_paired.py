import math

import numpy as np
import pytest
from scipy import stats

from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.paired import (
    cluster_values,
    crossed_bootstrap,
    crossed_interval,
    crossed_t,
    detectable_difference,
    disagreements,
    holm,
    paired_p,
)


def simulate(accuracy, seeds, images=510, seed=0):
    """(seed, image) Whether each image is correct, independently with a probability of `accuracy` per cent."""
    return np.random.default_rng(seed).random((seeds, images)) < accuracy / 100


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def disagreeing(only_a, only_b, images):
    """One training each: `only_a` images that only a classifies correctly, `only_b` images that only b does."""
    a, b = np.ones((1, images), dtype=bool), np.ones((1, images), dtype=bool)
    b[0, :only_a] = False
    a[0, only_a : only_a + only_b] = False
    return a, b


def test_the_difference_is_in_percentage_points_of_mean_accuracy():
    a, b = simulate(95, seeds=3), simulate(90, seeds=4, seed=1)
    assert crossed_bootstrap(a, b).difference == pytest.approx(100 * (a.mean() - b.mean()))


def test_the_same_seed_gives_the_same_numbers():
    a, b = simulate(95, seeds=3), simulate(94, seeds=3, seed=1)
    assert crossed_bootstrap(a, b, seed=5) == crossed_bootstrap(a, b, seed=5)
    assert crossed_bootstrap(a, b, seed=5) != crossed_bootstrap(a, b, seed=6)


def test_swapping_the_models_negates_the_interval():
    a, b = simulate(96, seeds=3), simulate(94, seeds=3, seed=1)
    a_minus_b, b_minus_a = crossed_bootstrap(a, b), crossed_bootstrap(b, a)
    assert (a_minus_b.low, a_minus_b.high) == pytest.approx((-b_minus_a.high, -b_minus_a.low), abs=0.15)


def test_p_is_below_5_per_cent_if_and_only_if_the_interval_excludes_0():
    outcomes = set()
    for seed in range(200):
        a, b = simulate(95, seeds=3, seed=2 * seed), simulate(93, seeds=3, seed=2 * seed + 1)
        difference = crossed_bootstrap(a, b, resamples=199 + seed, seed=seed)
        excludes_zero = difference.low > 0 or difference.high < 0
        assert (difference.p < 0.05) == excludes_zero
        outcomes.add(excludes_zero)
    assert outcomes == {True, False}


def test_with_one_training_each_the_standard_error_is_that_of_matched_proportions():
    a, b = disagreeing(only_a=20, only_b=8, images=500)
    n = 502
    wald_plus_two = 100 / n * math.sqrt((20 + 8 + 1) - (20 - 8) ** 2 / n)  # Agresti and Min, 2005
    assert crossed_bootstrap(a, b).standard_error == pytest.approx(wald_plus_two, rel=0.002)


def test_images_that_are_difficult_for_both_models_do_not_widen_the_interval():
    solvable, other_solvable = simulate(70, seeds=1), simulate(70, seeds=1, seed=3)
    a, b = simulate(98, seeds=3, seed=1), simulate(98, seeds=3, seed=2)
    paired = crossed_bootstrap(a & solvable, b & solvable)
    unpaired = crossed_bootstrap(a & solvable, b & other_solvable)
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


def test_with_a_large_spread_over_seeds_it_equals_welchs_test():
    rng = np.random.default_rng(0)
    accuracies_a, accuracies_b = [0.60, 0.70, 0.80], [0.30, 0.45, 0.50, 0.55]
    a = rng.random((3, 50_000)) < np.array(accuracies_a)[:, np.newaxis]
    b = rng.random((4, 50_000)) < np.array(accuracies_b)[:, np.newaxis]
    variances = np.var(accuracies_a, ddof=1) / 3, np.var(accuracies_b, ddof=1) / 4
    welch = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3)
    difference = crossed_bootstrap(a, b)
    assert difference.standard_error == pytest.approx(100 * math.sqrt(sum(variances)), rel=0.03)
    assert difference.degrees_of_freedom == pytest.approx(welch, rel=0.05)


def test_with_a_large_spread_over_seeds_the_interval_is_students_t():
    accuracies = np.linspace(0.60, 0.80, 3)[:, np.newaxis]
    a = np.random.default_rng(0).random((3, 20_000)) < accuracies
    b = np.random.default_rng(1).random((3, 20_000)) < accuracies
    difference = crossed_bootstrap(a, b)
    half = (difference.high - difference.low) / 2
    assert half == pytest.approx(2.776 * difference.standard_error, rel=0.08)  # t with 4 degrees of freedom


def test_an_interval_from_one_training_does_not_cover_seeds():
    assert not crossed_bootstrap(simulate(95, seeds=3), simulate(95, seeds=1, seed=1)).covers_seeds
    assert crossed_bootstrap(simulate(95, seeds=3), simulate(95, seeds=2, seed=1)).covers_seeds


def test_the_difference_has_both_numbers_of_seeds():
    assert crossed_bootstrap(simulate(95, seeds=3), simulate(95, seeds=5, seed=1)).seeds == (3, 5)


@pytest.mark.parametrize("accuracy", [100, 98])
def test_a_perfect_tie_has_an_interval_of_positive_width(accuracy):
    same = simulate(accuracy, seeds=1).repeat(3, axis=0)
    tie = crossed_bootstrap(same, same)
    assert tie.difference == 0
    assert tie.p == 1
    assert 100 * 1.5 / 510 < -tie.low == pytest.approx(tie.high, abs=0.05)
    assert tie.high < 100 * 3 / 510


def test_a_tie_of_trainings_with_different_errors_has_a_wide_interval():
    correct = np.ones((2, 40), dtype=bool)
    correct[0, :10] = correct[1, 10:20] = False
    tie = crossed_bootstrap(correct, correct)
    assert tie.low <= -100 * 1 / 40
    assert tie.high >= 100 * 1 / 40


def test_errors_that_differ_between_all_trainings_still_give_an_interval():
    a, b = np.ones((2, 20_000), dtype=bool), np.ones((2, 20_000), dtype=bool)
    a[0, :5_000] = a[1, 5_000:10_000] = b[0, 10_000:15_000] = b[1, 15_000:] = False
    tie = crossed_bootstrap(a, b)  # the interaction explains nearly all of the variance over images
    assert tie.low < 0 < tie.high
    assert tie.degrees_of_freedom == 1


def test_the_standard_error_is_unbiased():
    errors = [
        crossed_bootstrap(simulate(90, 2, 300, seed), simulate(90, 2, 300, 1_000 + seed), resamples=99).standard_error
        for seed in range(300)
    ]
    assert np.mean(np.square(errors)) == pytest.approx(2 * 90 * 10 / 600, rel=0.1)  # noise alone: p (100 - p) / n


def test_an_interval_is_clipped_to_100_points():
    correct = np.ones((2, 12), dtype=bool)
    difference = crossed_bootstrap(correct, ~correct)
    assert difference.low < difference.high == 100


def test_the_interval_of_one_training_is_close_to_that_of_a_proportion():
    correct = np.arange(2_000)[None] < 1_800
    crossed, wilson = crossed_interval(correct), proportion_interval(1_800, 2_000)
    assert (crossed.value, crossed.n, crossed.spread) == (90, 1, None)
    assert ends(crossed) == pytest.approx(ends(wilson), abs=0.15)


def test_the_interval_of_an_accuracy_covers_seeds_and_images():
    equal = np.tile(np.arange(2_000) < 1_800, (3, 1))
    different = np.stack([np.arange(2_000) < correct for correct in (1_700, 1_800, 1_900)])
    narrow, wide = crossed_interval(equal), crossed_interval(different)
    assert (narrow.spread, wide.spread) == pytest.approx((0, 5))
    assert ends(wide)[0] < ends(narrow)[0] < ends(narrow)[1] < ends(wide)[1]


def test_an_accuracy_of_100_per_cent_has_an_interval_below_100():
    estimate = crossed_interval(np.ones((3, 510), dtype=bool))
    low, high = ends(estimate)
    assert 99.0 < low < 99.8
    assert high == 100


def test_four_disagreements_in_one_direction_are_not_significant_but_nine_are():
    assert crossed_bootstrap(*disagreeing(only_a=4, only_b=0, images=510)).p > 0.05  # sign test: 0.125
    assert crossed_bootstrap(*disagreeing(only_a=9, only_b=0, images=510)).p < 0.05  # sign test: 0.004


def test_trainings_that_agree_leave_an_error_due_to_the_images_alone():
    a, b = simulate(95, seeds=1).repeat(3, axis=0), simulate(90, seeds=1, seed=1).repeat(3, axis=0)
    difference = crossed_t(a, b)
    assert difference.seed_error == pytest.approx(0, abs=1e-9)
    assert difference.image_error == pytest.approx(crossed_t(a[:1], b[:1]).standard_error)


def test_the_error_due_to_the_seeds_is_that_of_the_means_over_seeds():
    a, b = simulate(95, seeds=4), simulate(90, seeds=3, seed=1)
    expected = 100 * math.sqrt(a.mean(axis=1).var(ddof=1) / 4 + b.mean(axis=1).var(ddof=1) / 3)
    difference = crossed_bootstrap(a, b)
    assert difference.seed_error == pytest.approx(expected)
    assert difference.standard_error == pytest.approx(math.hypot(difference.image_error, difference.seed_error))


def test_images_that_are_difficult_for_one_model_only_are_an_error_due_to_the_images():
    rng = np.random.default_rng(0)
    difficult = rng.random((2, 20_000)) < 0.2  # in all trainings of the model, which otherwise differ at random
    a, b = (simulate(95, seeds=8, images=20_000, seed=seed) & ~difficult[seed] for seed in (0, 1))
    expected = 100 * math.sqrt(2 * 0.95**2 * 0.2 * 0.8 / 20_000)
    assert crossed_t(a, b).image_error == pytest.approx(expected, rel=0.03)


def test_the_closed_form_is_close_to_the_bootstrap():
    a, b = simulate(95, seeds=10, images=4_000), simulate(94, seeds=10, images=4_000, seed=1)
    closed, resampled = crossed_t(a, b), crossed_bootstrap(a, b)
    assert (closed.low, closed.high) == pytest.approx((resampled.low, resampled.high), abs=0.06)
    assert closed.p == pytest.approx(resampled.p, abs=0.02)
    assert closed.standard_error == resampled.standard_error


def test_the_closed_form_excludes_0_if_and_only_if_p_is_below_5_per_cent():
    outcomes = set()
    for seed in range(100):
        difference = crossed_t(simulate(95, seeds=3, seed=2 * seed), simulate(93, seeds=3, seed=2 * seed + 1))
        excludes_zero = difference.low > 0 or difference.high < 0
        assert (difference.p < 0.05) == excludes_zero
        outcomes.add(excludes_zero)
    assert outcomes == {True, False}


def test_the_p_value_of_single_trainings_is_exact_and_that_of_several_is_students_t():
    a, b = disagreeing(only_a=9, only_b=2, images=510)
    assert disagreements(a, b) == (9, 2)
    assert paired_p(a, b) == pytest.approx(stats.binomtest(2, 11).pvalue)
    several = simulate(95, seeds=3), simulate(94, seeds=3, seed=1)
    assert paired_p(*several) == crossed_t(*several).p


def test_holm_adjusts_in_the_given_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )  # 3 x 0.01, 2 x 0.03 twice, 4 x 0.005


def test_holms_p_values_are_at_most_1_and_monotonic():
    adjusted = holm([0.2, 0.5, 0.6, 0.9])
    assert adjusted == sorted(adjusted)
    assert adjusted[-1] == 1


def test_holm_does_not_change_a_single_p_value_or_an_empty_list():
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_with_many_degrees_of_freedom_the_detectable_difference_is_2_8_standard_errors():
    assert detectable_difference(0.5, 1e5, comparisons=1) == pytest.approx(0.5 * (1.960 + 0.842), rel=1e-3)


@pytest.mark.parametrize(("freedom", "comparisons"), [(2.5, 1), (4, 10), (30, 45)])
def test_the_detectable_difference_has_a_power_of_80_per_cent(freedom, comparisons):
    critical = stats.t.isf(0.025 / comparisons, freedom)
    difference = detectable_difference(0.5, freedom, comparisons)
    assert stats.nct.sf(critical, freedom, difference / 0.5) == pytest.approx(0.80, abs=1e-3)


def test_groups_of_one_image_have_the_values_of_the_images():
    a, b = simulate(95, seeds=3), simulate(90, seeds=4, seed=1)
    singles = np.random.default_rng(0).permutation(510)
    np.testing.assert_allclose(cluster_values(a, singles)[:, singles], a, atol=1e-12)
    assert crossed_bootstrap(cluster_values(a, singles), cluster_values(b, singles)).low == pytest.approx(
        crossed_bootstrap(a, b).low, abs=0.2
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_copies_in_one_group_do_not_change_the_values(seeds):
    a, b = simulate(95, seeds), simulate(90, seeds, seed=1)
    groups = np.arange(510)
    copied = [cluster_values(np.repeat(each, 4, axis=1), np.repeat(groups, 4)) for each in (a, b)]
    original = [cluster_values(each, groups) for each in (a, b)]
    np.testing.assert_allclose(copied, original, atol=1e-12)


def test_groups_of_any_sizes_do_not_change_the_mean_over_images():
    a = simulate(80, seeds=2)
    groups = np.random.default_rng(0).integers(0, 40, 510)
    np.testing.assert_allclose(cluster_values(a, groups).mean(axis=1), a.mean(axis=1))


def test_correlated_images_widen_the_interval():
    a = np.repeat(simulate(80, seeds=1, images=102), 5, axis=1)
    independent, clustered = crossed_interval(a), crossed_interval(cluster_values(a, np.repeat(np.arange(102), 5)))
    wide, narrow = (high - low for low, high in map(ends, (clustered, independent)))
    assert wide / narrow == pytest.approx(5**0.5, rel=0.1)
