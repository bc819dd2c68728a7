"""Compiled training steps: when they run, and that they are those of eager mode."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mixlab.models.stochastic_depth import StochasticDepth
from mixlab.speed.rewrites import compilation
from mixlab.speed.rewrites.compilation import compile_steps


@pytest.fixture
def compiled_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images of the calls that compiled code gets; nothing is compiled."""
    numbers: list[int] = []

    def compile_forward(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return lambda images: numbers.append(len(images)) or forward(images)

    monkeypatch.setattr(compilation.torch, "compile", compile_forward)
    return numbers


def test_only_training_steps_with_the_given_number_of_images_are_compiled(compiled_images):
    model = compile_steps(nn.Linear(3, 2), 8)
    for images in (5, 8, 5, 8):  # a resumed run can start with the last batch of an epoch
        model(torch.randn(images, 3))
    model.eval()(torch.randn(8, 3))
    assert compiled_images == [8, 8]


def test_names_and_parameters_stay_the_same():
    model = nn.Linear(3, 2)
    before = dict(model.named_parameters())
    assert all(parameter is before[name] for name, parameter in compile_steps(model, 8).named_parameters())
    assert list(model.state_dict()) == ["weight", "bias"]


@pytest.mark.long
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_steps_draw_the_random_numbers_of_eager_mode():
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(3, 3), StochasticDepth(0.5), nn.Dropout(0.5))
    compiled, images = compile_steps(copy.deepcopy(model), 64), torch.randn(64, 3)
    found = []
    for each in (model, compiled):
        torch.manual_seed(0)
        found.append(each(images))
    assert torch.allclose(*found)
