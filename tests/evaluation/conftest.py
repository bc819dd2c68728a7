import numpy as np
import pytest
import torch

from mixlab.evaluation.evaluation import Evaluation, score


@pytest.fixture
def make_evaluation():
    """Evaluations of random logits: the labels are drawn from the softmax of the logits divided by `temperature`."""

    def make(images: int, classes: int, *, temperature: float = 1.0, spread: float = 2.0, seed: int = 0) -> Evaluation:
        logits, labels = drawn(images, classes, temperature=temperature, spread=spread, seed=seed)
        return score(logits, labels, tuple(map(str, range(classes))))

    return make


def drawn(
    images: int, classes: int, *, temperature: float, spread: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(images, classes, generator=random)
    labels = torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=random)[:, 0]
    return logits, labels


@pytest.fixture
def draw_logits():
    return drawn


@pytest.fixture
def of_predictions():
    """The evaluation of given labels and predictions, all with the same confidence."""

    def of(labels: np.ndarray, predictions: np.ndarray, classes: int) -> Evaluation:
        logits = torch.nn.functional.one_hot(torch.from_numpy(predictions), classes).float()
        return score(logits, torch.from_numpy(labels), tuple(map(str, range(classes))))

    return of
