"""Multi-label classification: targets, loss, counts, and metrics over batches."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from mixlab.data.augmentation.augment import Augmentation, Mixup
from mixlab.errors import UserError
from mixlab.tasks.multilabel import MULTILABEL
from mixlab.training.recipes.schema import Loss

LOGITS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.randn(12, 3, generator=torch.Generator().manual_seed(1)) > 0
SIGMOID = Loss(name="sigmoid")


def test_targets_are_ones_and_zeros_and_an_image_without_labels_has_zeros_only():
    targets = MULTILABEL.targets(torch.tensor([[True, False], [False, False]]), 2, SIGMOID)
    assert targets.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_the_loss_is_the_binary_cross_entropy_of_all_labels_of_an_image():
    targets = MULTILABEL.targets(LABELS, 3, SIGMOID)
    expected = F.binary_cross_entropy_with_logits(LOGITS, LABELS.float(), reduction="sum") / 12
    torch.testing.assert_close(MULTILABEL.loss(LOGITS, targets, SIGMOID, None), expected)


def test_mixup_mixes_the_labels_of_two_images():
    targets = MULTILABEL.targets(torch.tensor([[True, False], [False, True]]), 2, SIGMOID)
    _, mixed = MULTILABEL.mix(torch.zeros(2, 3, 4, 4), targets, Augmentation(mixup=Mixup(1.0)))
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(2))
    assert ((mixed > 0) & (mixed < 1)).all()


def test_label_smoothing_and_balanced_weights_are_refused():
    with pytest.raises(UserError, match="labels of an image are independent: remove it"):
        MULTILABEL.targets(LABELS, 3, Loss(name="sigmoid", label_smoothing=0.1))
    with pytest.raises(UserError, match="each label has its own threshold"):
        MULTILABEL.class_weights(Loss(name="sigmoid", class_weights="balanced"), LABELS.numpy(), ("a", "b", "c"))


def test_the_training_f1_is_that_of_all_decisions():
    counts = MULTILABEL.counts(LOGITS, LABELS.float())
    expected = f1_score(LABELS.numpy(), (LOGITS > 0).numpy(), average="micro")
    assert MULTILABEL.train_metrics(counts, 12) == {"micro F1": pytest.approx(100 * expected)}


def test_the_map_of_several_batches_is_that_of_all_images():
    scores = [MULTILABEL.score(LOGITS[:5], LABELS[:5]), MULTILABEL.score(LOGITS[5:], LABELS[5:])]
    metrics = MULTILABEL.metrics(scores)
    assert next(iter(metrics)) == "mAP"  # selects the weights
    assert metrics["mAP"] == pytest.approx(100 * average_precision_score(LABELS.numpy(), LOGITS.numpy()))


def test_a_label_that_no_validation_image_has_is_left_out_of_the_map():
    labels = LABELS.clone()
    labels[:, 2] = False
    expected = average_precision_score(labels[:, :2].numpy(), LOGITS[:, :2].numpy())
    assert MULTILABEL.metrics([MULTILABEL.score(LOGITS, labels)])["mAP"] == pytest.approx(100 * expected)


def test_labels_are_predicted_from_their_thresholds_on_the_most_probable_first():
    probabilities = np.array([0.4, 0.8, 0.3])
    assert MULTILABEL.predicted(probabilities, {"thresholds": [0.4, 0.7, 0.5]}).tolist() == [1, 0]
    assert MULTILABEL.predicted(probabilities, {}).tolist() == [1]
    assert MULTILABEL.predicted(probabilities, {"thresholds": [0.9, 0.9, 0.9]}).tolist() == []
