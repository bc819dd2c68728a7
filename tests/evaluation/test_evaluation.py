"""What is kept of each image equals its definition, for any batch size."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from mixlab.evaluation.evaluation import ARRAYS, Evaluation, EvaluationBuffer, confusion_matrix, score

CLASSES = tuple("abcd")
LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0]])
LABELS = torch.tensor([1, 2, 2, 0])


@pytest.fixture
def evaluation() -> Evaluation:
    return score(LOGITS, LABELS, CLASSES)


def test_the_probabilities_are_the_softmax_of_the_logits(evaluation):
    probabilities = np.exp(LOGITS.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    one_hot = np.eye(4)[LABELS]
    np.testing.assert_allclose(evaluation.confidences, probabilities.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(evaluation.nll, -np.log((probabilities * one_hot).sum(axis=1)), rtol=1e-6)
    np.testing.assert_allclose(evaluation.brier, ((probabilities - one_hot) ** 2).sum(axis=1), rtol=1e-5)


def test_ties_are_ordered_by_class_index(evaluation):
    assert evaluation.ranks.tolist() == [1, 0, 2, 1]
    assert evaluation.predictions.tolist() == [0, 2, 0, 3]
    assert evaluation.correct.tolist() == [False, True, False, False]


def test_half_precision_logits_are_scored_in_fp32():
    logits = 10 * torch.randn(200, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(200) % 50
    half, full = (score(each, labels, tuple(map(str, range(50)))) for each in (logits, logits.float()))
    np.testing.assert_array_equal(half.nll, full.nll)


def test_batches_are_joined_in_order(evaluation):
    parts = [score(LOGITS[i : i + 2], LABELS[i : i + 2], CLASSES) for i in (0, 2)]
    joined = Evaluation.concat(parts)
    for name in ("labels", "predictions", "ranks", "confidences", "nll", "brier"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(evaluation, name))


def test_a_subset_has_the_selected_images_in_order(evaluation):
    chosen = evaluation.subset(np.array([3, 0]))
    assert chosen.labels.tolist() == [0, 1] and chosen.predictions.tolist() == [3, 0]


def test_the_confusion_matrix_has_a_row_for_each_true_class():
    counts = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]), 3)
    assert counts.toarray().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_a_buffer_collects_batches_in_order(evaluation):
    buffer = EvaluationBuffer(CLASSES, 10)
    for i in (0, 2):
        buffer.add(LOGITS[i : i + 2], LABELS[i : i + 2])
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(buffer.evaluation, name), getattr(evaluation, name))
        assert getattr(buffer.evaluation, name).dtype == getattr(evaluation, name).dtype


MEMORY = """
import resource, sys, torch
from mixlab.evaluation.evaluation import EvaluationBuffer
from mixlab.evaluation.metrics import summary
images, classes = 12_800, 21_843
buffer = EvaluationBuffer(tuple(map(str, range(classes))), images)
logits, labels = torch.randn(64, classes), torch.arange(64)
buffer.add(logits, labels)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(images // 64 - 1):
    buffer.add(logits, labels)
summary(buffer.evaluation)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is kibibytes on Linux only")
def test_memory_does_not_grow_with_images_times_classes():
    """12,800 x 21,843 probabilities would be 1.1 GB; a few small arrays per batch, kept one by one, were 3 GB."""
    ended = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    assert int(ended.stdout) < 100_000
