"""Gradients reach every parameter, except those that do not affect the logits."""

import pytest
import torch
from torch import Tensor, nn

from mixlab.models.davit import WindowAttention
from mixlab.models.mixer import MixerBlock

ROUNDING = 1e-14  # of the largest gradient, in float64


def parameters_without_effect(model: nn.Module) -> dict[str, slice]:
    """Parameters, or slices of them, that do not affect the logits.

    The key bias of a window attention adds a constant to all scores of a query, which softmax ignores.
    The output bias of the token MLP adds a constant to all channels of a token, which the next LayerNorm removes.
    """
    slices = {}
    for name, module in model.named_modules():
        if isinstance(module, WindowAttention):
            channels = module.output.in_features
            slices[f"{name}.query_key_value.bias"] = slice(channels, 2 * channels)
        if isinstance(module, MixerBlock):
            slices[f"{name}.token_mlp.second.bias"] = slice(None)
    return slices


@pytest.fixture
def gradients(model, images, randomised) -> dict[str, Tensor]:
    """Gradients of one step from random parameters, the head included, relative to the largest gradient."""
    model = randomised(model).train()
    nn.functional.cross_entropy(model(images.double()), torch.tensor([0, 3])).backward()
    largest = max(parameter.grad.abs().max() for parameter in model.parameters())
    return {name: parameter.grad / largest for name, parameter in model.named_parameters()}


def test_every_parameter_that_affects_the_logits_has_a_gradient(model, gradients):
    excluded = parameters_without_effect(model)
    for name, gradient in gradients.items():
        if name in excluded:
            mask = torch.ones_like(gradient, dtype=torch.bool)
            mask[excluded[name]] = False
            gradient = gradient[mask]
        if gradient.numel():
            assert gradient.abs().max().item() > 1e6 * ROUNDING, name


@pytest.mark.parametrize("config", ["mixer", "davit"], indirect=True)
def test_the_gradient_of_parameters_without_effect_is_zero_to_rounding(model, gradients):
    assert parameters_without_effect(model)
    for name, index in parameters_without_effect(model).items():
        assert gradients[name][index].abs().max().item() < ROUNDING, name


def test_a_step_under_bfloat16_autocast_is_finite(model, images):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 3]))
    loss.backward()
    optimizer.step()
    assert logits.dtype == torch.bfloat16
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_bfloat16_autocast_changes_the_logits_by_less_than_five_per_cent(model, images, randomised):
    model = randomised(model).float()
    with torch.no_grad():
        logits = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(images)
    assert (logits - rounded).norm().item() < 0.05 * logits.norm().item()
