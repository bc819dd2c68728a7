"""Predictions of runs in the order of the image names, and the sets that they belong to."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from mixlab.errors import UserError
from mixlab.evaluation.predictions import check_same_set, predictions_of_run, set_fingerprint, stack_runs
from paired_methods import CLASSES, DATA, run


def shuffled(seed: int, **changes):
    """The same run of three images in another order."""
    order = np.random.default_rng(seed).permutation(3)
    names, labels, predicted = np.array(["b", "a", "c"]), np.array([0, 1, 2]), np.array([0, 2, 2])
    arguments = {"names": names[order].tolist(), "labels": labels[order], "predicted": predicted[order], **changes}
    return predictions_of_run("mixer", DATA, classes=CLASSES, **arguments)


@pytest.mark.parametrize("seed", range(4))
def test_images_are_in_the_order_of_their_names(seed):
    predictions = shuffled(seed)
    assert predictions.names == ("a", "b", "c")
    assert predictions.correct.tolist() == [[False, True, True]]
    assert predictions.labels is not None and predictions.labels.tolist() == [1, 0, 2]
    assert predictions.predicted is not None and predictions.predicted.tolist() == [[2, 0, 2]]
    assert (predictions.runs, predictions.images) == (1, 3)


def test_the_fingerprint_is_sha256_of_a_json_line_for_each_image():
    expected = hashlib.sha256(b'["a", "cow"]\n["b", "cat"]\n["c", "dog"]\n').hexdigest()
    assert {shuffled(seed).fingerprint for seed in range(4)} == {expected}


def test_the_fingerprint_depends_on_names_and_labels_and_not_on_predictions():
    fingerprint = set_fingerprint(["a", "b"], ["cat", "dog"])
    assert set_fingerprint(["a", "c"], ["cat", "dog"]) != fingerprint != set_fingerprint(["a", "b"], ["cat", "cat"])
    assert run("a", [1]).fingerprint == run("b", [2, 3]).fingerprint


def test_the_order_of_the_classes_does_not_change_the_fingerprint():
    labels = np.array([1, 0])
    first = predictions_of_run("a", DATA, names=["x", "y"], classes=("cat", "dog"), labels=labels, predicted=labels)
    other = predictions_of_run(
        "b", DATA, names=["x", "y"], classes=("dog", "cat"), labels=1 - labels, predicted=1 - labels
    )
    assert first.fingerprint == other.fingerprint


def test_names_that_are_not_utf_8_have_a_fingerprint():
    assert len(set_fingerprint(["\udcff.png"], ["cat"])) == 64


def test_two_images_with_the_same_name_are_rejected():
    with pytest.raises(UserError, match="pets has more than one image with the name b: images are paired by name"):
        shuffled(0, names=["b", "a", "b"])


def test_runs_are_stacked():
    runs = [run("seed 0", [1]), run("seed 1", [2, 3])]
    method = stack_runs("mixer", runs)
    assert (method.model, method.runs) == ("mixer", 2)
    assert np.flatnonzero(~method.correct[1]).tolist() == [2, 3]
    assert method.predicted is not None
    assert (method.predicted == np.concatenate([each.predicted for each in runs if each.predicted is not None])).all()


def test_stacked_runs_have_the_names_of_the_first_run_that_has_them():
    named = run("seed 1", [2])
    unnamed = replace(run("seed 0", [1]), names=None, classes=None, labels=None, predicted=None)
    method = stack_runs("mixer", [unnamed, named])
    assert (method.names, method.classes, method.predicted) == (named.names, CLASSES, None)
    assert np.argwhere(~method.correct).tolist() == [[0, 1], [1, 2]]


def test_runs_on_different_images_are_not_stacked():
    with pytest.raises(UserError, match="seed 0 and seed 1 were evaluated on different sets"):
        stack_runs("mixer", [run("seed 0", []), run("seed 1", [], images=61)])


def difference(a, b) -> str:
    with pytest.raises(UserError) as caught:
        check_same_set(a, b)
    message = str(caught.value)
    assert message.startswith(
        "mixer and convmixer were evaluated on different sets, so they can't be compared image by image: "
    )
    assert message.endswith(". Evaluate both on the same images with the same labels.")
    return message.partition(": ")[2].partition(". ")[0]


def test_images_of_one_set_only_are_counted_and_named():
    mixer, convmixer = run("mixer", [], images=62), run("convmixer", [], images=60)
    assert difference(mixer, convmixer) == "2 images only for mixer, such as image00060 and image00061"
    renamed = run("convmixer", [], images=60, prefix="photo-")
    assert difference(mixer, renamed) == (
        "62 images only for mixer, such as image00000, image00001 and 60 others, and "
        "60 images only for convmixer, such as photo-00000, photo-00001 and 58 others"
    )


def test_images_with_other_labels_are_counted_and_one_is_named():
    other = run("convmixer", [], classes=("cat", "cow", "cat", "owl"))
    assert difference(run("mixer", []), other) == (
        "15 images with another label, such as image00002, which is dog for mixer and cat for convmixer"
    )


def test_sets_without_names_differ_in_size_or_in_an_unknown_way():
    unnamed = replace(run("convmixer", [], images=62), names=None, labels=None, classes=None, predicted=None)
    assert difference(run("mixer", []), unnamed) == "60 images of pets and 62 of pets"
    assert difference(run("mixer", [], images=62, prefix="x"), unnamed) == (
        "both have 62 images, but their names or labels differ (the names are not stored in the file of convmixer)"
    )
