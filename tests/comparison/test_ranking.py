"""Ranking: bounds, unstable models and pairs."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from mixlab.comparison import ranking as ranking_module
from mixlab.comparison.ranking import rank
from mixlab.errors import UserError
from mixlab.evaluation.paired_comparison import check_margin


def correct_answers(accuracies: Mapping[str, float], seeds: int = 3, images: int = 500) -> dict[str, np.ndarray]:
    """Models with about these accuracies in per cent; the same images are difficult for all of them."""
    random = np.random.default_rng(0)
    difficulty = np.linspace(0, 1, images)
    return {
        name: difficulty + random.normal(0, 0.02, (seeds, images)) < accuracy / 100
        for name, accuracy in accuracies.items()
    }


def test_the_bounds_are_ordered_by_accuracy_and_do_not_depend_on_the_given_order():
    answers = correct_answers({"worst": 70, "best": 95, "middle": 85})
    ranking = rank(answers, margin=1)
    assert list(ranking.behind) == ["best", "middle", "worst"]
    assert ranking.behind["best"] == 0 < ranking.behind["middle"] < ranking.behind["worst"]
    assert rank(dict(reversed(answers.items())), margin=1) == ranking


def test_models_within_the_margin_depend_on_the_margin():
    answers = correct_answers({"worst": 70, "one": 92, "other": 92.2})
    ranking = rank(answers, margin=3)
    assert set(ranking.within_margin) == {"one", "other"}
    narrower = min(ranking.behind.values()) / 2
    assert rank(answers, margin=narrower).within_margin == []


def test_an_unstable_model_is_never_within_the_margin():
    answers = correct_answers({"one": 90, "other": 90, "third": 90})
    answers["varying"] = correct_answers({"varying": 99})["varying"]
    answers["varying"][2, :100] = False  # 79 %
    ranking = rank(answers, margin=1)
    assert ranking.unstable == ("varying",)
    assert ranking.best_observed == "varying" != ranking.stable[0]
    assert set(replace(ranking, margin=99).within_margin) == {"one", "other", "third"}


def test_an_unstable_model_with_a_lower_mean_leaves_the_bounds_of_the_others_small():
    answers = correct_answers({"one": 90, "other": 90, "third": 90}, images=5_000)
    bounds = rank(answers, margin=1).behind
    answers["varying"] = correct_answers({"varying": 89}, images=5_000)["varying"]
    answers["varying"][2, :1_000] = False  # 69 %
    ranking = rank(answers, margin=1)
    assert ranking.unstable == ("varying",)
    assert ranking.behind["varying"] > 10
    for name, bound in bounds.items():
        assert ranking.behind[name] == pytest.approx(bound, abs=0.3)


@pytest.mark.parametrize("margin", [0.0, -1.0, 100.0, float("nan")])
def test_a_margin_out_of_range_is_refused(margin):
    with pytest.raises(UserError, match=rf"--margin {margin:g} is out of range: it must be above 0 and below 100 perc"):
        check_margin(margin)


def test_pairs_are_ordered_by_accuracy_and_subtract_the_worse_from_the_better():
    ranking = rank(correct_answers({"worst": 70, "best": 95, "middle": 85}), margin=1)
    assert [(pair.a, pair.b) for pair in ranking.pairs] == [("best", "middle"), ("best", "worst"), ("middle", "worst")]
    for pair in ranking.pairs:
        assert pair.difference.low < pair.difference.difference < pair.difference.high
        assert pair.difference.difference > 0


def test_a_pair_can_be_significant_alone_but_not_after_the_holm_adjustment():
    """`is_significant` uses the interval, which is not adjusted."""
    ranking = rank(correct_answers({"better": 91.6} | {f"{index}": 90 for index in range(10)}, images=1000), margin=1)
    alone = [pair for pair in ranking.pairs if pair.is_significant and not pair.is_significant_holm]
    assert alone
    for pair in alone:
        assert pair.difference.p < 0.05 <= pair.p_holm


def test_p_holm_is_adjusted_over_all_pairs():
    ranking = rank(correct_answers({"one": 90, "two": 89, "three": 88}), margin=1)
    assert [pair.p_holm for pair in ranking.pairs] == ranking_module.holm([pair.difference.p for pair in ranking.pairs])


def test_the_n_of_a_pair_is_the_number_of_trainings_of_both_models():
    (pair,) = rank(correct_answers({"one": 95, "other": 90}, seeds=4), margin=1).pairs
    estimate = pair.difference.estimate
    assert (estimate.value, estimate.low, estimate.high) == (
        pair.difference.difference,
        pair.difference.low,
        pair.difference.high,
    )
    assert (estimate.n, estimate.unit) == (8, "points")


def test_detectable_is_the_median_over_the_pairs_without_adjustment(monkeypatch):
    numbers_of_comparisons = []

    def detectable(standard_error: float, degrees_of_freedom: float, comparisons: int) -> float:
        numbers_of_comparisons.append(comparisons)
        return standard_error

    monkeypatch.setattr(ranking_module, "detectable_difference", detectable)
    ranking = rank(correct_answers({"one": 90, "two": 80, "three": 60}), margin=1)
    assert ranking.detectable == sorted(pair.difference.standard_error for pair in ranking.pairs)[1]
    assert numbers_of_comparisons == [1, 1, 1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_seeds_can_be_ranked(seeds):
    assert rank(correct_answers({"best": 97, "worst": 50}, seeds=seeds), margin=1).pairs[0].difference.difference > 40
