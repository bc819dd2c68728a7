"""Segmentation: loss, counts and metrics over pixels, with ignored ones."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torch.nn import functional as F

from mixlab.data.mask_file import IGNORED
from mixlab.tasks.segmentation import SEGMENTATION
from mixlab.tasks.segmentation_metrics import confusion_of, ious, mean_iou, pixel_accuracy
from mixlab.training.recipes.schema import Loss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(4, 3, 5, 6, generator=GENERATOR)
MASKS = torch.randint(0, 3, (4, 5, 6), generator=GENERATOR).to(torch.uint8)
MASKS[:2, 0] = IGNORED
LOSS = Loss()
CLASSES = ("a", "b", "c")


def test_the_loss_is_the_mean_over_images_of_the_mean_over_their_labelled_pixels():
    targets = SEGMENTATION.targets(MASKS, 3, LOSS)
    expected = [F.cross_entropy(LOGITS[[i]], targets[[i]], ignore_index=IGNORED) for i in range(4)]
    torch.testing.assert_close(SEGMENTATION.loss(LOGITS, targets, LOSS, None), torch.stack(expected).mean())


def test_the_losses_of_chunks_add_up_to_that_of_the_batch():
    targets = SEGMENTATION.targets(MASKS, 3, LOSS)
    whole = SEGMENTATION.loss(LOGITS, targets, LOSS, None)
    chunks = SEGMENTATION.loss(LOGITS[:1], targets[:1], LOSS, None) / 4
    chunks = chunks + SEGMENTATION.loss(LOGITS[1:], targets[1:], LOSS, None) * 3 / 4
    torch.testing.assert_close(whole, chunks)


def test_an_image_without_labelled_pixels_has_no_loss_and_a_zero_gradient():
    logits = LOGITS[:1].clone().requires_grad_()
    targets = torch.full((1, 5, 6), IGNORED)
    loss = SEGMENTATION.loss(logits, targets, LOSS, None)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ignored_pixels_do_not_change_loss_counts_and_scores():
    changed = LOGITS.clone()
    changed[:2, :, 0] += 100 * torch.randn(2, 3, 6, generator=GENERATOR)
    targets = SEGMENTATION.targets(MASKS, 3, LOSS)
    torch.testing.assert_close(
        SEGMENTATION.loss(changed, targets, LOSS, None), SEGMENTATION.loss(LOGITS, targets, LOSS, None)
    )
    assert SEGMENTATION.counts(changed, targets) == SEGMENTATION.counts(LOGITS, targets)
    np.testing.assert_array_equal(SEGMENTATION.score(changed, MASKS), SEGMENTATION.score(LOGITS, MASKS))


def test_the_scores_of_batches_add_up_to_scikit_learns_metrics():
    scores = [SEGMENTATION.score(LOGITS[:1], MASKS[:1]), SEGMENTATION.score(LOGITS[1:], MASKS[1:])]
    truth, predicted = MASKS.numpy().ravel(), LOGITS.argmax(dim=1).numpy().ravel()
    labelled = truth != IGNORED
    np.testing.assert_array_equal(sum(scores), confusion_matrix(truth[labelled], predicted[labelled]))
    metrics = SEGMENTATION.metrics(scores)
    assert next(iter(metrics)) == "mIoU"  # selects the weights
    expected = jaccard_score(truth[labelled], predicted[labelled], average="macro")
    assert metrics["mIoU"] == pytest.approx(100 * expected)
    assert metrics["pixel accuracy"] == pytest.approx(100 * (truth == predicted)[labelled].mean())


def test_the_training_accuracy_is_that_of_all_labelled_pixels():
    counts = SEGMENTATION.counts(LOGITS, SEGMENTATION.targets(MASKS, 3, LOSS))
    expected = SEGMENTATION.metrics([SEGMENTATION.score(LOGITS, MASKS)])["pixel accuracy"]
    assert SEGMENTATION.train_metrics(counts, 4) == {"pixel accuracy": pytest.approx(expected)}


def test_a_class_in_neither_truth_nor_prediction_is_left_out_of_the_mean():
    mask = np.zeros((1, 2, 2), dtype=np.int64)
    confusion = confusion_of(mask, mask, 3)[0]
    np.testing.assert_array_equal(ious(confusion), [1, np.nan, np.nan])
    assert mean_iou(confusion) == pixel_accuracy(confusion) == 1
    assert np.isnan(mean_iou(np.zeros((3, 3), dtype=np.int64)))


def test_confusion_matrices_are_those_of_each_image():
    truth, predicted = MASKS.long().numpy(), LOGITS.argmax(dim=1).numpy()
    together = confusion_of(truth, predicted, 3)
    assert together.shape == (4, 3, 3)
    for index in range(4):
        np.testing.assert_array_equal(together[index], confusion_of(truth[[index]], predicted[[index]], 3)[0])
