"""The tables of a paired comparison."""

from dataclasses import replace

import pytest

from mixlab.evaluation.paired_comparison import compare_predictions
from mixlab.evaluation.paired_comparison_tables import (
    accuracy_table,
    changed_tables,
    claims_table,
    class_tables,
    difference_table,
    tables,
)
from mixlab.evaluation.paired_comparison_text import conclusion
from mixlab.report.table import render
from paired_methods import random_method, run


@pytest.fixture
def single():
    return compare_predictions(run("mixer", [0, 1]), run("davit", list(range(1, 30))), margin=1.0)


@pytest.fixture
def several():
    a, b = random_method("mixer", 0.95, runs=3, seed=0), random_method("davit", 0.85, runs=3, seed=1)
    return compare_predictions(a, b, margin=2.0)


def test_the_first_note_is_the_conclusion_and_the_scope_follows(single, several):
    assert list(accuracy_table(single).notes) == [
        conclusion(single),
        "One run of each compares these two trainings; other trainings of the same methods may differ.",
        "Brackets are 95 % intervals over images.",
    ]
    assert list(accuracy_table(several).notes) == [
        conclusion(several),
        "Brackets are 95 % intervals over images and runs.",
    ]


def test_the_accuracies_are_in_the_given_order(single):
    assert [row["model"] for row in accuracy_table(single).rows] == ["mixer", "davit"]
    text = render(accuracy_table(single), "table")
    assert "mixer and davit on the 60 images of pets" in text
    assert "96.67 [" in text


def test_the_difference_has_two_parts_and_the_part_of_single_runs_is_unknown(single, several):
    cells = [row["value"] for row in difference_table(several).rows]
    assert cells[1:] == [several.difference.image_error, several.difference.seed_error, several.detectable]
    assert difference_table(single).rows[2]["value"] is None


def test_the_tests_are_named(single, several):
    assert [row["test"] for row in claims_table(single).rows] == ["McNemar, exact", "two one-sided tests"]
    assert [row["test"] for row in claims_table(several).rows] == ["crossed bootstrap", "two one-sided tests"]
    assert [row["p"] for row in claims_table(several).rows] == [several.p, several.equivalence.p]
    assert claims_table(several).rows[1]["claim"] == "they differ by less than 2 points"


def test_changed_images_of_single_runs_show_both_predictions(single):
    only_a, only_b = changed_tables(single)
    assert only_a.title == "Correct with mixer, wrong with davit: 28 images"
    assert only_a.rows[0] == {"image": "image00002", "class": "dog", "a": "dog", "b": "owl"}
    assert len(only_a.rows) == 20
    assert list(only_a.notes) == ["The first 20 by name of 28; results.json has all."]
    assert only_b.title == "Wrong with mixer, correct with davit: 1 image"
    assert only_b.notes == []


def test_changed_images_of_several_runs_show_the_shares_of_correct_runs(several):
    only_a = changed_tables(several)[0]
    assert [column.head for column in only_a.columns[2:]] == ["correct runs, mixer (%)", "correct runs, davit (%)"]
    assert only_a.notes[0] == "Correct: more than half of the runs are."
    shares = [(image.share_a, image.share_b) for image in several.only_a]
    assert [(row["a"], row["b"]) for row in only_a.rows] == [(100 * a, 100 * b) for a, b in shares[:20]]
    assert all(a > 0.5 > b for a, b in shares)


def test_changed_images_without_names_are_counted():
    a, b = (replace(each, names=None) for each in (run("mixer", [0]), run("davit", [1, 2])))
    only_a, only_b = changed_tables(compare_predictions(a, b, margin=1.0))
    assert (only_a.title, only_a.rows) == ("Correct with mixer, wrong with davit: 2 images", [])
    assert only_b.notes == ["The names of the images are not known: they are not stored in a correctness file."]


def test_equal_runs_have_no_changed_images():
    assert changed_tables(compare_predictions(run("mixer", [3]), run("davit", [3]), margin=1.0)) == []


def test_classes_are_ordered_by_p_and_those_that_are_not_tested_are_named():
    comparison = compare_predictions(run("a", [], images=30), run("b", list(range(1, 30, 4)), images=30), margin=1.0)
    (table,) = class_tables(comparison)
    assert [row["class"] for row in table.rows] == ["cow", "cat"]
    assert table.notes[-1] == "Not tested because they have fewer than 8 images: dog and owl."
    assert class_tables(compare_predictions(run("a", [], images=8), run("b", [], images=8), margin=1.0)) == []


def test_at_most_20_classes_are_shown():
    names = tuple(f"class {index:02}" for index in range(25))
    comparison = compare_predictions(
        run("a", [1], images=500, classes=names), run("b", [2], images=500, classes=names), margin=1.0
    )
    (table,) = class_tables(comparison)
    assert len(table.rows) == 20
    assert table.notes[-1] == "The 20 classes with the smallest p of 25."


def test_all_tables_can_be_rendered(single, several):
    for comparison in (single, several):
        assert len(tables(comparison)) == 6
        assert all(render(table, "markdown") and table.html() for table in tables(comparison))
