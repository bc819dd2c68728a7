"""The peak of the tensors of a forward pass, counted without computing."""

import pytest
import torch
from torch import nn

from mixlab.measure.live_memory import peak_activation_bytes

CPU = torch.device("cpu")
IMAGE = (1, 10, 10)  # 400 bytes in fp32


@pytest.mark.parametrize("layers", [2, 3, 7])
def test_a_chain_holds_two_tensors_at_a_time(layers):
    assert peak_activation_bytes(nn.Sequential(*(nn.Sigmoid() for _ in range(layers))), IMAGE, CPU) == 800


def test_weights_and_the_image_are_not_counted():
    assert peak_activation_bytes(nn.Conv2d(1, 4, 1), IMAGE, CPU) == 1600
    assert peak_activation_bytes(nn.Identity(), IMAGE, CPU) == 0


def test_operations_in_place_and_views_take_no_memory():
    class Reuse(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images + 1).relu_().flatten()[:50]

    assert peak_activation_bytes(Reuse(), IMAGE, CPU) == 400


def test_a_model_without_data_is_accepted():
    with torch.device("meta"):
        model = nn.Conv2d(1, 4, 1)
    assert peak_activation_bytes(model, IMAGE, CPU) == 1600
