"""What is kept of each image equals its definition, for any batch size."""

import tracemalloc

import numpy as np
import pytest
import torch

from mixlab.evaluation.evaluation import Evaluation, confusion_matrix, score

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


def test_memory_grows_with_the_images_and_not_with_images_times_classes():
    def stored_bytes(classes: int) -> int:
        logits = torch.zeros(64, classes)
        names = tuple(map(str, range(classes)))
        tracemalloc.start()
        evaluation = Evaluation.concat([score(logits, torch.arange(64), names) for _ in range(50)])
        confusion = evaluation.confusion
        current, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert confusion.nnz == 64
        return current

    few, many = stored_bytes(100), stored_bytes(21_843)
    assert many - few < 3 * 8 * 21_843  # the rows of the sparse matrix, and not 3,200 x 21,843 probabilities
