"""Methods on several test sets."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mixlab.errors import UserError
from mixlab.evaluation.several_sets import compare_over_sets
from mixlab.report.table import render
from mixlab.stats.intervals import mean_interval
from mixlab.stats.over_sets import mean_difference
from mixlab.stats.paired import crossed_t
from paired_methods import random_method, run


def one_set(data, accuracies, *, runs=3, images=600):
    """Methods a, b, c, ... with these accuracies."""
    return [
        replace(random_method(name, accuracy, runs=runs, seed=len(data) + 10 * ord(name), images=images), data=data)
        for name, accuracy in zip("abcdefgh", accuracies, strict=False)
    ]


@pytest.fixture
def sets():
    return [
        [replace(run(name, list(range(wrong)), images=400), data=data) for name, wrong in zip("abc", row, strict=True)]
        for data, row in {"pets": (40, 20, 200), "birds": (30, 10, 150), "cars": (20, 20, 180)}.items()
    ]


def test_the_mean_rank_is_the_mean_over_the_sets_and_ties_share_their_ranks(sets):
    result = compare_over_sets(sets)
    assert {method.name: method.rank.value for method in result.methods} == pytest.approx(
        {"b": (1 + 1 + 1.5) / 3, "a": (2 + 2 + 1.5) / 3, "c": 3}
    )
    assert [method.name for method in result.methods] == ["b", "a", "c"]


def test_ranks_are_bounded_by_the_methods_that_are_significantly_better_or_worse(sets):
    bounds = {method.name: (method.rank.low, method.rank.high) for method in compare_over_sets(sets).methods}
    # b and a differ significantly on pets (20 images, p = 2e-6) and birds, not on cars; c is worse on all sets.
    assert bounds == {"b": (1, pytest.approx(4 / 3)), "a": (pytest.approx(5 / 3), 2), "c": (3, 3)}


def test_methods_that_are_not_significantly_different_can_have_any_rank():
    equal = [[run(name, [index], images=400) for index, name in enumerate("abc")] for _ in range(2)]
    assert {(method.rank.low, method.rank.high) for method in compare_over_sets(equal).methods} == {(1, 3)}


def test_differences_are_from_the_first_method_of_the_first_set():
    sets = [one_set("pets", (0.9, 0.8, 0.7)), one_set("birds", (0.85, 0.8, 0.75))]
    result = compare_over_sets([sets[0], sets[1][::-1]])
    methods = {method.name: method for method in result.methods}
    assert result.reference == "a"
    assert (methods["a"].differences, methods["a"].mean, methods["a"].other_sets) == ((), None, None)
    pairs = [(b.correct, a.correct) for a, b, _ in sets]
    assert methods["b"].differences == tuple(crossed_t(*pair) for pair in pairs)
    assert methods["b"].mean == mean_difference(pairs)
    assert methods["b"].other_sets == mean_interval(
        [crossed_t(*pair).difference for pair in pairs], "points", least=-100, most=100
    )
    assert methods["c"].top1 == pytest.approx([100 * each[2].correct.mean() for each in sets])


def test_one_table_has_ranks_and_the_differences_on_every_set(sets):
    table = compare_over_sets(sets).table("image")
    assert [column.title for column in table.columns] == [
        "method", "mean rank", "pets", "birds", "cars", "mean, these sets", "mean, other sets",
    ]  # fmt: skip
    lines = render(table, "table").splitlines()
    assert lines[0] == "3 test sets"
    assert any(line.split()[:3] == ["b", "1.2", "[1.0,"] and "5.00 [" in line for line in lines)
    assert "the accuracy minus that of a" in "\n".join(lines)


def test_the_result_is_strict_json(sets):
    result = json.loads(json.dumps(compare_over_sets(sets).to_dict(), allow_nan=False))
    assert (result["sets"], result["reference"], len(result["methods"])) == (["pets", "birds", "cars"], "a", 3)


def test_a_set_that_lacks_a_method_is_rejected(sets):
    with pytest.raises(UserError, match="birds has no predictions of b: evaluate every model on every set"):
        compare_over_sets([sets[0], [sets[1][0], sets[1][2]]])


def test_methods_on_different_images_of_a_set_are_rejected(sets):
    with pytest.raises(UserError, match="1 image only for b"):
        compare_over_sets([sets[0], [sets[1][0], run("b", [], images=401), sets[1][2]]])


@pytest.mark.long
def test_the_simultaneous_ranks_cover_the_true_ranks_in_at_least_95_per_cent():
    accuracies = {"pets": (0.9, 0.9, 0.85, 0.7), "birds": (0.8, 0.9, 0.85, 0.7)}
    true_ranks = (2.25, 1.25, 2.5, 4.0)  # a and b are tied on pets
    covered = 0
    for repetition in range(300):
        sets = []
        for data, row in accuracies.items():
            seeds = np.random.default_rng([repetition, len(data)]).integers(2**30, size=len(row))
            sets.append([
                replace(random_method(name, accuracy, runs=1, seed=seed, images=400), data=data)
                for name, accuracy, seed in zip("abcd", row, seeds, strict=True)
            ])  # fmt: skip
        ranks = {method.name: (method.rank.low, method.rank.high) for method in compare_over_sets(sets).methods}
        covered += all(
            low is not None and high is not None and low <= rank <= high
            for rank, (low, high) in zip(true_ranks, map(ranks.__getitem__, "abcd"), strict=True)
        )
    assert covered / 300 >= 0.95
