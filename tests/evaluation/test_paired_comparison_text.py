"""The conclusion of a paired comparison, in words."""

import pytest

from mixlab.evaluation.paired_comparison import compare_predictions
from mixlab.evaluation.paired_comparison_text import conclusion, scope, what_would_decide
from paired_methods import random_method, run


def test_a_significant_difference_names_the_better_method_first():
    better, worse = run("mixer", []), run("davit", list(range(30)), images=60)
    for comparison in (compare_predictions(better, worse, margin=1.0), compare_predictions(worse, better, margin=1.0)):
        assert conclusion(comparison).startswith("mixer is more accurate than davit by 50.00 points [3")
        assert conclusion(comparison).endswith("] (p < 0.001).")
        assert what_would_decide(comparison) == []


def test_a_significant_difference_within_the_margin_is_called_so():
    wrong = list(range(100))
    comparison = compare_predictions(run("mixer", [], images=20_000), run("davit", wrong, images=20_000), margin=1.0)
    assert conclusion(comparison).startswith(
        "mixer is more accurate than davit by 0.50 points [0.40, 0.60] (p < 0.001)."
    )
    assert " The difference is within the margin of 1 point (90 % interval [0.4" in conclusion(comparison)


def test_equivalent_methods_are_called_equally_accurate():
    comparison = compare_predictions(run("mixer", [1, 2], images=2_000), run("davit", [1, 3], images=2_000), margin=0.5)
    assert conclusion(comparison).startswith(
        "mixer and davit are equally accurate within 0.5 points: the difference is 0.00 points, 90 % interval [−0."
    )
    assert what_would_decide(comparison) == []


def test_an_undecided_comparison_says_how_many_images_would_decide():
    comparison = compare_predictions(
        run("mixer", [1, 2, 3], images=200), run("davit", [4, 5, 6, 7], images=200), margin=1.0
    )
    assert conclusion(comparison).startswith("Undecided: the difference between mixer and davit, 0.50 points [−2.")
    assert ", is not significant (p = 1.000), and equivalence within 1 point is not shown (p = 0." in conclusion(
        comparison
    )
    difference, equivalence = what_would_decide(comparison)
    assert difference.startswith("To show a true difference of 0.50 points with a probability of 80 %, use about ")
    assert difference.endswith(" images instead of 200.")
    assert equivalence.startswith("To show equivalence within 1 point with a probability of 80 %, use about ")


def test_an_undecided_comparison_with_seeds_says_how_many_runs_would_decide():
    a, b = random_method("mixer", 0.93, runs=3, seed=0), random_method("davit", 0.92, runs=5, seed=1)
    difference, *_ = what_would_decide(compare_predictions(a, b, margin=1.0))
    assert difference.endswith(" runs of each instead of 3 and 5.")


def test_no_number_of_runs_decides_if_the_images_are_too_few():
    a = random_method("mixer", 0.75, runs=1, seed=0, images=100)
    b = random_method("davit", 0.75, runs=1, seed=3, images=100)
    a, b = (each.__class__(each.model, each.data, each.fingerprint, each.correct.repeat(3, axis=0)) for each in (a, b))
    comparison = compare_predictions(a, b, margin=1.0)
    assert comparison.difference.difference != 0
    for sentence in what_would_decide(comparison):
        assert "runs of each instead of" not in sentence
        assert sentence.endswith(
            "No number of runs suffices for it, because the images alone leave too much uncertainty."
        )


def test_sizes_beyond_the_limits_do_not_suffice():
    a, b = run("mixer", [1, 2], images=40), run("davit", [1, 3], images=40)
    (sentence,) = what_would_decide(compare_predictions(a, b, margin=0.1))
    assert sentence == "To show equivalence within 0.1 points, even 100 times as many images do not suffice."


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((1, 1), "One run of each compares these two trainings; other trainings of the same methods may differ."),
        ((3, 1), "davit has one run: the result does not cover other trainings of it."),
        ((1, 3), "mixer has one run: the result does not cover other trainings of it."),
        ((2, 5), "With two runs of a method, false alarms are more frequent than 5 %: use three or more."),
        ((3, 3), ""),
    ],
)
def test_the_scope_depends_on_the_runs(runs, expected):
    a, b = (random_method(name, 0.9, runs=each, seed=each) for name, each in zip(("mixer", "davit"), runs, strict=True))
    assert scope(compare_predictions(a, b, margin=1.0)) == expected
