"""Classification: counts of a step, and the accuracy over batches and processes."""

import pytest
import torch
from torch import nn

from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.task import add
from mixlab.training.recipes.schema import Loss

LOGITS = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])


def test_correct_images_are_those_with_the_largest_logit_at_the_largest_target():
    targets = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    assert CLASSIFICATION.counts(LOGITS, targets)["correct"] == 2


def test_counts_of_batches_add_up():
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    counts = CLASSIFICATION.counts(LOGITS, targets)
    assert CLASSIFICATION.train_metrics(add(add({}, counts), counts), 6) == {"top1": pytest.approx(100 * 4 / 6)}


def test_the_accuracy_is_that_of_the_images_of_all_batches():
    labels = torch.tensor([0, 0, 0])
    scores = [CLASSIFICATION.score(LOGITS, labels), CLASSIFICATION.score(LOGITS[1:2], labels[:1])]
    assert CLASSIFICATION.metrics(scores) == {"top1": 50.0}


def test_a_head_bias_is_set_only_if_the_recipe_has_one():
    head = nn.Linear(2, 3)
    before = head.bias.clone()
    CLASSIFICATION.new_head(head, Loss())
    assert head.bias.equal(before)
    CLASSIFICATION.new_head(head, Loss(name="sigmoid", head_bias=-2.0))
    assert head.bias.tolist() == [-2.0] * 3
