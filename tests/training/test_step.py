"""The gradients of a batch are those of its mean loss, however many chunks it is split into."""

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.tasks.classification import correct_counts
from mixlab.training.step import accumulate_gradients


@pytest.fixture
def model() -> Mixer:
    """With a head that is not zero, so that a gradient reaches every parameter."""
    model = Mixer(
        MixerConfig(image_size=8, classes=3, patch_size=4, channels=8, token_hidden=8, channel_hidden=16, depth=1)
    )
    torch.nn.init.normal_(model.head.get_parameter("weight"))
    return model


IMAGES, LABELS = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3


def gradients(model: Mixer, micro_batch: int, label_smoothing: float = 0.0) -> tuple[list[Tensor], float, int]:
    model.zero_grad()
    loss, counts = accumulate_gradients(
        model,
        IMAGES,
        F.one_hot(LABELS, 3) * (1 - label_smoothing) + label_smoothing / 3,
        lambda logits, _, targets: F.cross_entropy(logits, targets),
        correct_counts,
        Plan("cpu", ComputeMode(), micro_batch),
    )
    found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    return found, loss.item(), int(counts["correct"])


def test_gradients_loss_and_correct_predictions_are_those_of_the_whole_batch(model):
    logits = model(IMAGES)
    loss = F.cross_entropy(logits, LABELS, label_smoothing=0.1)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    found, mean_loss, correct = gradients(model, micro_batch=10, label_smoothing=0.1)
    torch.testing.assert_close(found, list(expected))
    assert mean_loss == pytest.approx(loss.item())
    assert correct == (logits.argmax(dim=1) == LABELS).sum()


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 9])
def test_chunks_of_unequal_size_give_the_gradients_of_the_batch(model, micro_batch):
    whole, whole_loss, whole_correct = gradients(model, micro_batch=10)
    chunked, loss, correct = gradients(model, micro_batch)
    for gradient, expected in zip(chunked, whole, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
    assert (loss, correct) == (pytest.approx(whole_loss, rel=1e-6), whole_correct)


def test_no_chunk_is_larger_than_the_micro_batch(model):
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    gradients(model, micro_batch=4)
    assert seen == [4, 3, 3]


@pytest.mark.parametrize(("whole", "processes"), [(33, 2), (64, 2), (100, 3), (10, 4), (3, 4)])
def test_all_processes_accumulate_the_gradients_of_equally_many_chunks(whole, processes):
    """Sharded parameters are gathered for each chunk, so that another number would wait for ever."""
    plan = Plan("cpu", ComputeMode(), 16, processes=processes)
    chunks: list[int] = []
    for share in np.array_split(np.arange(whole), processes):
        model = nn.Linear(2, 1)
        passes = MagicMock(return_value=None)
        model.register_forward_pre_hook(passes)
        images = torch.ones(max(len(share), 1), 2)
        accumulate_gradients(
            model,
            images,
            torch.zeros(len(images)),
            lambda outputs, images, targets: outputs.mean(),
            lambda outputs, targets: {},
            plan,
            weight=len(share) / whole * processes,
        )
        chunks.append(passes.call_count)
    assert len(set(chunks)) == 1
