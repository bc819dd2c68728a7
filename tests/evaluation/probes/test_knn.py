"""Nearest neighbours agree with scikit-learn's brute force."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from mixlab.errors import UserError
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.knn import KNN

CLASSES = ("a", "b", "c")


def votes(distances):
    return np.exp((1 - distances) / 0.07)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_predictions_are_those_of_scikit_learn(blobs, neighbours):
    train, test = blobs(90, noise=1.5), blobs(600, noise=1.5, seed=2)
    centred = Features(train.values - 20, train.labels, {})
    weights: Any = votes  # scikit-learn's annotations have the names only
    reference = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute", weights=weights)
    expected = reference.fit(train.values.astype(np.float64) - 20, train.labels).predict(test.values - 20)
    assert 0.5 < (expected == test.labels).mean() < 0.95  # the problem is neither trivial nor hopeless
    fitted = KNN(neighbours).fit(centred, None, CLASSES)
    assert (fitted.classifier.predict(test.values - 20) == expected).all()


def test_nearer_neighbours_have_a_larger_weight():
    train = Features(np.array([[1, 0], [0.2, 1], [0.2, 1]], dtype=np.float32), np.array([0, 1, 1]), {})
    fitted = KNN(3).fit(train, None, ("a", "b"))
    assert fitted.classifier.predict(np.array([[1, 0.1]], dtype=np.float32)).tolist() == [0]


def test_the_length_of_features_has_no_effect(blobs):
    train, test = blobs(90), blobs(50, seed=2)
    longer = Features(train.values * np.arange(1, 91, dtype=np.float32)[:, None], train.labels, {})
    predictions = [KNN(5).fit(each, None, CLASSES).classifier.predict(test.values) for each in (train, longer)]
    assert (predictions[0] == predictions[1]).all()


def test_validation_images_are_neighbours_too(blobs):
    fitted = KNN(40).fit(blobs(30), blobs(10, seed=2), CLASSES)
    assert fitted.images == 40


@pytest.mark.parametrize("noun", ["image", "sound"])
def test_more_neighbours_than_images_are_an_error(blobs, noun):
    message = rf"knn:40 needs 40 training {noun}s, but there are 30: give knn:30 or a smaller number\."
    with pytest.raises(UserError, match=f"^{message}$"):
        KNN(40).fit(replace(blobs(20), noun=noun), blobs(10), CLASSES)
