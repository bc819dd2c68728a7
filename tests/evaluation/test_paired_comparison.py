"""Two methods on the same images: which one is better, or that they are equivalent."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mixlab.errors import UserError
from mixlab.evaluation.correctness import read_correctness, write_correctness
from mixlab.evaluation.paired_comparison import compare_predictions, fewest_class_images
from mixlab.evaluation.predictions import predictions_of_run, stack_runs
from mixlab.stats.paired import crossed_bootstrap, crossed_t, detectable_difference, holm
from paired_methods import random_method, run


def test_one_run_each_is_tested_with_mcnemars_exact_test():
    comparison = compare_predictions(run("a", [0, 1, 2]), run("b", list(range(2, 14))), margin=1.0)
    assert comparison.mcnemar_p == comparison.p == pytest.approx(stats.binomtest(2, 13).pvalue)
    assert comparison.is_significant
    assert comparison.difference.difference == pytest.approx(100 * (12 - 3) / 60)
    assert not comparison.difference.covers_seeds


def test_several_runs_are_compared_by_the_crossed_bootstrap():
    a, b = random_method("a", 0.95, runs=3, seed=0), random_method("b", 0.9, runs=4, seed=1)
    comparison = compare_predictions(a, b, margin=1.0)
    assert comparison.difference == crossed_bootstrap(a.correct, b.correct)
    assert comparison.mcnemar_p is None
    assert comparison.p == comparison.difference.p
    assert comparison.detectable == detectable_difference(
        comparison.difference.standard_error, comparison.difference.degrees_of_freedom, comparisons=1
    )


def test_images_are_compared_by_name_whatever_their_order():
    rng = np.random.default_rng(0)
    labels, order = np.arange(40) % 2, rng.permutation(40)
    names, predicted = np.array([f"{index:02}" for index in range(40)]), labels * (rng.random(40) < 0.8)
    a = predictions_of_run("a", "d", names=names.tolist(), classes=("x", "y"), labels=labels, predicted=predicted)
    b = predictions_of_run(
        "b", "d", names=names[order].tolist(), classes=("x", "y"), labels=labels[order], predicted=predicted[order]
    )
    comparison = compare_predictions(a, b, margin=1.0)
    assert comparison.only_a == comparison.only_b == ()


def test_images_that_only_one_run_classifies_correctly_have_names_labels_and_both_predictions():
    comparison = compare_predictions(run("a", [3, 4]), run("b", [4, 9, 10]), margin=1.0)
    assert [(image.name, image.label, image.predicted_a, image.predicted_b) for image in comparison.only_a] == [
        ("image00009", "cow", "cow", "dog"),
        ("image00010", "dog", "dog", "owl"),
    ]
    assert [(image.name, image.predicted_a, image.predicted_b) for image in comparison.only_b] == [
        ("image00003", "cat", "owl")
    ]


def test_with_several_runs_an_image_has_changed_if_most_runs_have():
    a = stack_runs("a", [run("", [0, 1]), run("", [0, 1]), run("", [0, 2])])
    b = stack_runs("b", [run("", [2, 3]), run("", [3])])
    comparison = compare_predictions(a, b, margin=1.0)
    assert [image.name for image in comparison.only_a] == ["image00003"]  # 00002: half of the runs of b
    assert [(image.name, image.share_a, image.share_b) for image in comparison.only_b] == [
        ("image00000", 0, 1),
        ("image00001", pytest.approx(1 / 3), 1),
    ]
    assert comparison.only_a[0].predicted_a is None


def test_every_class_has_its_difference_and_a_p_value_adjusted_by_holm():
    a, b = random_method("a", 0.95, runs=3, seed=0), random_method("b", 0.9, runs=3, seed=1)
    comparison = compare_predictions(a, b, margin=1.0)
    assert a.labels is not None and a.classes is not None
    expected = {
        name: crossed_t(a.correct[:, a.labels == label], b.correct[:, b.labels == label])
        for label, name in enumerate(a.classes)
    }
    assert {each.name: each.difference for each in comparison.classes} == expected
    adjusted = dict(zip(expected, holm([difference.p for difference in expected.values()]), strict=True))
    assert {each.name: each.p_holm for each in comparison.classes} == adjusted
    assert [each.p_holm for each in comparison.classes] == sorted(adjusted.values())
    assert {each.images for each in comparison.classes} == {150}


def test_the_classes_of_single_runs_are_tested_with_mcnemars_exact_test():
    owls = list(range(3, 60, 4))  # all 15
    comparison = compare_predictions(run("a", [0]), run("b", owls), margin=1.0)
    p_values = {each.name: each.p_holm for each in comparison.classes}
    assert p_values["owl"] == pytest.approx(4 * 2 / 2**15)
    assert p_values["cat"] == p_values["cow"] == p_values["dog"] == 1
    assert comparison.classes[0].name == "owl"


@pytest.mark.parametrize("classes", [1, 2, 4, 5, 10, 1_000])
def test_the_fewest_images_of_a_class_are_those_with_which_it_can_be_significant(classes):
    fewest = fewest_class_images(classes)
    assert classes * stats.binomtest(0, fewest).pvalue < 0.05 <= classes * stats.binomtest(0, fewest - 1).pvalue


def test_classes_with_too_few_images_are_not_tested():
    assert fewest_class_images(4) == 8
    comparison = compare_predictions(run("a", [0], images=30), run("b", [1], images=30), margin=1.0)
    untested = [(each.name, each.images) for each in comparison.classes if each.p_holm is None]
    assert untested == [("dog", 7), ("owl", 7)]


def test_different_sets_are_rejected_with_their_difference():
    with pytest.raises(UserError, match="1 image only for b, such as image00060"):
        compare_predictions(run("a", []), run("b", [], images=61), margin=1.0)


def test_a_single_image_is_rejected_and_two_images_are_not():
    with pytest.raises(UserError, match="pets has one image: a comparison needs at least two"):
        compare_predictions(run("a", [], images=1), run("b", [], images=1), margin=1.0)
    two = compare_predictions(random_method("a", 0.5, runs=2, seed=0, images=2), run("b", [0], images=2), margin=1.0)
    assert two.difference.low < two.difference.high


def test_two_correctness_files_are_compared_without_names_and_classes(tmp_path):
    a, b = run("a", [0, 1]), run("b", [1, 2, 3])
    for each in (a, b):
        write_correctness(tmp_path / each.model, each)
    files = [read_correctness(tmp_path / name) for name in ("a", "b")]
    comparison, expected = compare_predictions(*files, margin=1.0), compare_predictions(a, b, margin=1.0)
    assert (comparison.p, comparison.difference) == (expected.p, expected.difference)
    assert [image.name for image in comparison.only_a] == [None, None]
    assert comparison.classes == ()


def test_a_correctness_file_gets_names_and_classes_from_the_other_method(tmp_path):
    write_correctness(tmp_path / "a", run("a", [0, 1]))
    b = run("b", [1, 2, 3])
    comparison = compare_predictions(read_correctness(tmp_path / "a"), b, margin=1.0)
    assert [(image.name, image.predicted_a, image.predicted_b) for image in comparison.only_a] == [
        ("image00002", None, "owl"),
        ("image00003", None, "cat"),
    ]
    assert comparison.classes == compare_predictions(run("a", [0, 1]), b, margin=1.0).classes


def test_methods_with_the_same_name_are_numbered():
    assert compare_predictions(run("a", []), run("a", [0]), margin=1.0).names == ("a (1)", "a (2)")
    assert compare_predictions(run("a", []), run("b", [0]), margin=1.0).names == ("a", "b")


@pytest.mark.parametrize("runs", [1, 3])
def test_the_result_is_strict_json(runs):
    a, b = random_method("a", 0.95, runs=runs, seed=0), random_method("b", 0.9, runs=runs, seed=1)
    result = json.loads(json.dumps(compare_predictions(a, b, margin=1.0).to_dict(), allow_nan=False))
    assert result["a"] == {"model": "a", "runs": runs, "top1": (100 * a.correct.mean(axis=1)).tolist()}
    assert (result["images"], result["fingerprint"], result["equivalence"]["margin"]) == (600, a.fingerprint, 1)
    difference = result["difference"]
    parts = difference["image_error"] ** 2 + difference["seed_error"] ** 2
    assert difference["standard_error"] == pytest.approx(parts**0.5)


def test_methods_with_other_orders_of_the_same_classes_are_compared():
    a = run("a", [0])
    assert a.labels is not None and a.predicted is not None and a.classes is not None
    reordered = replace(a, model="b", classes=a.classes[::-1], labels=3 - a.labels, predicted=3 - a.predicted)
    comparison = compare_predictions(run("a", [1]), reordered, margin=1.0)
    assert [(image.label, image.predicted_a, image.predicted_b) for image in comparison.only_a] == [
        ("cat", "cat", "cow")
    ]
