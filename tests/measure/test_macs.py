"""Every type of product is counted, with the correct number of multiply-accumulates."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixlab.measure.macs import count_macs, count_parameters

CHANNELS, ROWS, COLUMNS = 12, 6, 10
POSITIONS = ROWS * COLUMNS
IMAGE = (CHANNELS, ROWS, COLUMNS)


class FunctionModule(nn.Module):
    """Wraps a function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


@pytest.mark.parametrize(
    ("convolution", "macs"),
    [
        (nn.Conv2d(CHANNELS, 5, 3, padding="same"), 5 * CHANNELS * 9 * POSITIONS),
        (nn.Conv2d(CHANNELS, CHANNELS, 5, padding="same", groups=CHANNELS), CHANNELS * 25 * POSITIONS),
        (nn.Conv2d(CHANNELS, 8, 3, padding=1, groups=4), 8 * CHANNELS // 4 * 9 * POSITIONS),
        (nn.Conv2d(CHANNELS, 7, 2, stride=2), 7 * CHANNELS * 4 * POSITIONS // 4),
    ],
    ids=["same", "depthwise", "grouped", "strided"],
)
def test_a_convolution_costs_its_kernel_at_every_position(convolution: nn.Module, macs: int) -> None:
    assert count_macs(convolution, IMAGE) == macs


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: F.scaled_dot_product_attention(x, x, x), 2 * CHANNELS * ROWS * ROWS * COLUMNS),
        (lambda x: torch.einsum("bcij,bckj->bcik", x, x), CHANNELS * ROWS * ROWS * COLUMNS),
        (lambda x: x @ x.mT, CHANNELS * ROWS * ROWS * COLUMNS),
    ],
    ids=["attention", "einsum", "matmul"],
)
def test_a_product_of_activations_is_counted(function: Callable[[Tensor], Tensor], macs: int) -> None:
    assert count_macs(FunctionModule(function), IMAGE) == macs


def test_a_linear_layer_costs_its_weights_at_every_position() -> None:
    assert count_macs(nn.Linear(COLUMNS, 3), IMAGE) == CHANNELS * ROWS * COLUMNS * 3


def test_norms_activations_and_pooling_cost_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert count_macs(model, IMAGE) == 0


def test_a_parameter_can_be_the_input_of_a_layer() -> None:
    class WithToken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, CHANNELS, ROWS, COLUMNS))
            self.layer = nn.Linear(COLUMNS, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(self.token.expand(len(images), -1, -1, -1))

    with torch.device("meta"):
        model = WithToken()
    assert count_macs(model, IMAGE) == CHANNELS * POSITIONS


def test_counting_does_not_change_weights_statistics_or_modes() -> None:
    model = nn.Sequential(nn.Conv2d(CHANNELS, 2, (ROWS, COLUMNS)), nn.BatchNorm2d(2), nn.Dropout())
    model[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_macs(model, IMAGE)
    assert [module.training for module in model] == [True, True, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_shared_parameters_are_counted_once() -> None:
    layer = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == 4 * 4 + 4
