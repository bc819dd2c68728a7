"""Evaluation of a model: how the model is called, and its metrics with their intervals."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor, nn

from mixlab.data.batches import EvalBatches
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.evaluate import Evaluation, evaluate, predict_fn
from mixlab.speed.plan import ComputeMode
from mixlab.stats.intervals import proportion_interval

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Logits of dark and light: the distance of the mean pixel from grey. Records how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, bool, torch.dtype, bool]] = []
        self.mean = nn.Linear(192, 1)

    def forward(self, images: Tensor) -> Tensor:
        dtype = self.mean(images.flatten(1)).dtype
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        self.calls.append((self.training, torch.is_grad_enabled(), dtype, channels_last))
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


@pytest.fixture
def batches(shades) -> EvalBatches:
    return EvalBatches(shades.splits["test"], Preprocess((8, 8)), batch=5)


@pytest.fixture
def evaluation() -> Evaluation:
    """Four classes: the third is never predicted, and the fourth has no images either."""
    random = np.random.default_rng(0)
    probabilities = np.zeros((40, 4))
    probabilities[:, :2] = random.dirichlet(np.ones(2), size=40)
    return Evaluation(("a", "b", "c", "d"), random.integers(3, size=40), probabilities)


def test_every_image_is_evaluated_once_and_in_order(shades, batches):
    evaluated = evaluate(predict_fn(Brightness(), CPU, ComputeMode()), batches, shades.classes)
    assert (evaluated.labels == shades.splits["test"].labels).all()
    assert evaluated.top1 == proportion_interval(12, 12)


def test_probabilities_are_the_softmax_of_the_logits_in_fp32(shades, batches):
    logits = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    evaluated = evaluate(lambda batch: logits[batch.indices].bfloat16(), batches, shades.classes)
    np.testing.assert_allclose(evaluated.probabilities, logits.bfloat16().float().softmax(dim=1).numpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", [ComputeMode(), ComputeMode("bf16", "channels_last")], ids=str)
def test_the_model_runs_in_evaluation_mode_without_gradients_and_in_the_given_compute_mode(shades, batches, mode):
    model = Brightness().train()
    evaluate(predict_fn(model, CPU, mode), batches, shades.classes)
    dtype = torch.float32 if mode.precision == "fp32" else torch.bfloat16
    assert set(model.calls) == {(False, False, dtype, mode.layout == "channels_last")}


def test_the_metrics_are_in_per_cent(evaluation):
    labels_and_predictions = evaluation.labels, evaluation.predictions
    assert evaluation.top1.value == pytest.approx(100 * sklearn_metrics.accuracy_score(*labels_and_predictions))
    assert evaluation.balanced_accuracy.value == pytest.approx(
        100 * sklearn_metrics.balanced_accuracy_score(*labels_and_predictions)
    )
    assert evaluation.macro_f1.value == pytest.approx(
        100 * sklearn_metrics.f1_score(*labels_and_predictions, average="macro")
    )


def test_topk_counts_true_classes_among_the_k_most_probable(evaluation):
    first_two = np.isin(evaluation.labels, [0, 1]).mean()
    assert evaluation.topk(2).value == pytest.approx(100 * first_two)


@pytest.mark.parametrize("metric", ["top1", "balanced_accuracy", "macro_f1"])
def test_every_metric_has_an_interval_over_images(evaluation, metric):
    estimate = getattr(evaluation, metric)
    assert estimate.low < estimate.value < estimate.high
    assert (estimate.n, estimate.unit) == (40, "%")


def test_each_class_has_precision_recall_and_f1(evaluation):
    labels_and_predictions = evaluation.labels, evaluation.predictions
    expected: Any = sklearn_metrics.precision_recall_fscore_support(*labels_and_predictions, labels=range(2))
    for index, metrics in enumerate(evaluation.by_class[:2]):
        values = [estimate.value for estimate in (metrics.precision, metrics.recall, metrics.f1)]
        assert values == pytest.approx([100 * measure[index] for measure in expected[:3]])
        assert metrics.images == expected[3][index]
        for estimate in (metrics.precision, metrics.recall, metrics.f1):
            assert estimate.low < estimate.value < estimate.high


def test_metrics_of_a_class_without_images_or_predictions_are_none(evaluation):
    _, _, never_predicted, without_images = evaluation.by_class
    assert never_predicted.precision is None and never_predicted.recall.value == never_predicted.f1.value == 0.0
    assert (without_images.precision, without_images.recall, without_images.f1) == (None, None, None)
