"""The losses, compared with their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mixlab.errors import UserError
from mixlab.tasks.loss import compute_class_weights, compute_loss, targets_of
from mixlab.training.recipes.schema import Loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
MIXED = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4]])


def test_label_smoothing_is_distributed_over_all_classes():
    targets = targets_of(torch.tensor([2, 0]), 4, Loss(label_smoothing=0.2))
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))


def test_the_softmax_loss_is_the_mean_cross_entropy():
    by_hand = -sum(
        share * (logit - math.log(sum(math.exp(other) for other in row)))
        for row, shares in zip(LOGITS.tolist(), MIXED.tolist(), strict=True)
        for logit, share in zip(row, shares, strict=True)
    )
    assert compute_loss(LOGITS, MIXED, Loss()).item() == pytest.approx(by_hand / 2)


def big_vision(logits: Tensor, targets: Tensor) -> Tensor:
    shown, absent = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    return -(targets * shown + (1 - targets) * absent).sum(dim=-1).mean()


def test_the_sigmoid_loss_equals_that_of_big_vision():
    torch.testing.assert_close(compute_loss(LOGITS, MIXED, Loss(name="sigmoid")), big_vision(LOGITS, MIXED))


def test_the_initial_sigmoid_loss_is_small_with_the_head_bias_of_big_vision():
    """With this bias, each of a thousand classes has an initial probability of one in a thousand."""
    targets = targets_of(torch.tensor([3]), 1000, Loss(name="sigmoid"))
    first = {
        bias: compute_loss(torch.full((1, 1000), bias), targets, Loss(name="sigmoid")).item() for bias in (0.0, -6.9)
    }
    assert first == pytest.approx({0.0: 1000 * math.log(2), -6.9: 6.9 + 1000 * math.log1p(math.exp(-6.9))}, rel=1e-4)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_a_class_weight_multiplies_the_term_of_its_class(name):
    weights, loss = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64), Loss(name=name)
    settings = {
        "softmax": -MIXED * LOGITS.log_softmax(dim=1),
        "sigmoid": -(MIXED * LOGITS.sigmoid().log() + (1 - MIXED) * (1 - LOGITS.sigmoid()).log()),
    }
    torch.testing.assert_close(compute_loss(LOGITS, MIXED, loss, weights), (settings[name] * weights).sum().float() / 2)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("computed", "expected"), [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2]
)
def test_the_loss_is_in_at_least_fp32(name, computed, expected):
    loss = compute_loss(LOGITS.to(computed), MIXED, Loss(name=name))
    assert loss.dtype == expected
    torch.testing.assert_close(loss.float(), compute_loss(LOGITS, MIXED, Loss(name=name)), rtol=1e-2, atol=0)


def test_balanced_weights_give_every_class_the_same_total_weight():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    weights = compute_class_weights(Loss(class_weights="balanced"), labels, ("a", "b", "none"))
    assert weights is not None and weights.tolist() == pytest.approx([8 / 18, 8 / 6, 0])


def test_given_class_weights_are_not_changed():
    labels = np.array([0, 1])
    weights = compute_class_weights(Loss(class_weights=(3.0, 1.0)), labels, ("a", "b"))
    assert weights is not None and weights.tolist() == [3.0, 1.0]
    assert compute_class_weights(Loss(), labels, ("a", "b")) is None


def test_a_wrong_number_of_class_weights_is_refused():
    with pytest.raises(
        UserError, match=r'^loss\.class_weights has 2 weights for 3 classes: .* order a, b, c \.\.\., or "'
    ):
        compute_class_weights(Loss(class_weights=(1.0, 2.0)), np.array([0]), ("a", "b", "c"))
