"""The verdict: a recommendation only where chance could not have made it."""

from collections.abc import Mapping

import numpy as np
import pytest

from mixlab.comparison import ranking
from mixlab.comparison.ranking import rank


def answers(accuracies: Mapping[str, float], seeds: int = 3, images: int = 500) -> dict[str, np.ndarray]:
    """Per cent right of each model, on the same easy and hard images for all."""
    random = np.random.default_rng(0)
    difficulty = np.linspace(0, 1, images)
    return {
        name: difficulty + random.normal(0, 0.02, (seeds, images)) < accuracy / 100
        for name, accuracy in accuracies.items()
    }


def test_a_clear_winner_is_recommended():
    found = rank(answers({"worst": 70, "best": 95, "middle": 85}))
    assert (found.recommended, found.leaders) == ("best", ("best",))


def test_a_tie_behind_the_winner_does_not_matter():
    assert rank(answers({"best": 95, "one": 80, "other": 80.2})).recommended == "best"


def test_models_that_are_not_told_apart_lead_together_and_none_is_recommended():
    found = rank(answers({"worst": 70, "one": 92, "other": 92.2}))
    assert found.recommended is None
    assert set(found.leaders) == {"one", "other"}


def test_a_perfect_tie_recommends_none():
    same = answers({"one": 90})["one"]
    found = rank({"one": same, "twin": same})
    assert (found.recommended, found.leaders) == (None, ("one", "twin"))


def test_the_best_mean_comes_first_and_every_pair_is_the_better_minus_the_worse():
    found = rank(answers({"worst": 70, "best": 95, "middle": 85}))
    assert [(pair.a, pair.b) for pair in found.pairs] == [("best", "middle"), ("best", "worst"), ("middle", "worst")]
    for pair in found.pairs:
        assert pair.difference.low < pair.difference.difference < pair.difference.high
        assert pair.difference.difference > 0


def test_a_pair_of_many_may_be_told_apart_by_itself_and_not_stand_among_all():
    """The interval decides, since a lead over every other is a claim whose parts all have to hold."""
    found = rank(answers({"better": 91.6} | {f"{place}": 90 for place in range(10)}, images=1000))
    alone = [pair for pair in found.pairs if pair.is_significant and not pair.is_significant_holm]
    assert alone
    for pair in alone:
        assert pair.difference.p < 0.05 <= pair.p_holm


def test_the_adjusted_p_is_holm_s_over_all_pairs():
    found = rank(answers({"one": 90, "two": 89, "three": 88}))
    assert [pair.p_holm for pair in found.pairs] == ranking.holm([pair.difference.p for pair in found.pairs])


def test_the_estimate_of_a_pair_counts_the_trainings_of_both():
    (pair,) = rank(answers({"one": 95, "other": 90}, seeds=4)).pairs
    estimate = pair.estimate
    assert (estimate.value, estimate.low, estimate.high) == (
        pair.difference.difference,
        pair.difference.low,
        pair.difference.high,
    )
    assert (estimate.n, estimate.unit) == (8, "points")


def test_what_could_have_been_detected_is_that_of_a_typical_pair_taken_by_itself(monkeypatch):
    seen = []

    def detectable(standard_error: float, degrees_of_freedom: float, comparisons: int) -> float:
        seen.append(comparisons)
        return standard_error

    monkeypatch.setattr(ranking, "detectable_difference", detectable)
    found = rank(answers({"one": 90, "two": 80, "three": 60}))
    assert found.detectable == sorted(pair.difference.standard_error for pair in found.pairs)[1]
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_are_evaluated_as_well(seeds):
    assert rank(answers({"best": 97, "worst": 50}, seeds=seeds)).pairs[0].difference.difference > 40
