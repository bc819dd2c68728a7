"""Evaluation of a model on a split: how the model is called, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixlab.data.batches import EvalBatches
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.evaluate import evaluate, predict_fn, score_batches
from mixlab.evaluation.evaluation import score
from mixlab.speed.inference import Inference
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


def test_every_image_is_evaluated_once_and_in_order(shades):
    evaluated = evaluate(
        Inference(Brightness(), CPU), shades.splits["test"], Preprocess((8, 8)), shades.classes, batch=5
    )
    assert (evaluated.evaluation.labels == shades.splits["test"].labels).all()
    assert evaluated.split.names == shades.splits["test"].names
    assert evaluated.evaluation.top1 == proportion_interval(12, 12)


def test_the_logits_of_each_batch_are_passed_on(shades):
    received: list[tuple[Tensor, Tensor]] = []
    test = shades.splits["test"]
    evaluated = evaluate(
        Inference(Brightness(), CPU),
        test,
        Preprocess((8, 8)),
        shades.classes,
        batch=5,
        receive=lambda logits, labels: received.append((logits, labels)),
    )
    assert [len(labels) for _, labels in received] == [5, 5, 2]
    again = score(torch.cat([one for one, _ in received]), torch.cat([two for _, two in received]), shades.classes)
    np.testing.assert_array_equal(again.nll, evaluated.evaluation.nll)


@pytest.mark.parametrize("mode", [ComputeMode(), ComputeMode("bf16", "channels_last")], ids=str)
def test_the_model_runs_in_evaluation_mode_without_gradients_and_in_the_given_compute_mode(shades, batches, mode):
    model = Brightness().train()
    score_batches(predict_fn(model, CPU, mode), batches, shades.classes, shades.splits["test"].names)
    dtype = torch.float32 if mode.precision == "fp32" else torch.bfloat16
    assert set(model.calls) == {(False, False, dtype, mode.layout == "channels_last")}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_reported_with_the_image(shades, batches, value):
    def predict(batch):
        logits = torch.zeros(len(batch.labels), 2)
        logits[batch.indices == 7] = value
        return logits

    names = shades.splits["test"].names
    with pytest.raises(UserError, match=f"The logits of {names[7]} are NaN or infinite"):
        score_batches(predict, batches, shades.classes, names)
