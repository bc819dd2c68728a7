"""Learning reaches every parameter, except those that no loss can see."""

import pytest
import torch
from torch import Tensor, nn

from mixlab.models.davit import WindowAttention
from mixlab.models.mixer import MixerBlock

ROUNDING = 1e-14  # of the largest gradient, in float64


def missing_features(model: nn.Module) -> dict[str, slice]:
    """The parameters, or parts of them, that leave every logit as it is.

    A window attention's key bias adds the same to all of a query's likenesses, which softmax does not see.
    The token MLP's output bias adds the same to all channels of a token, which no LayerNorm after it sees.
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, WindowAttention):
            channels = module.output.in_features
            found[f"{name}.query_key_value.bias"] = slice(channels, 2 * channels)
        if isinstance(module, MixerBlock):
            found[f"{name}.token_mlp.second.bias"] = slice(None)
    return found


@pytest.fixture
def gradients(model, images, randomised) -> dict[str, Tensor]:
    """Of one step from random parameters, a Mixer's zero head included; in units of the largest."""
    model = randomised(model).train()
    nn.functional.cross_entropy(model(images.double()), torch.tensor([0, 3])).backward()
    largest = max(parameter.grad.abs().max() for parameter in model.parameters())
    return {name: parameter.grad / largest for name, parameter in model.named_parameters()}


def test_a_gradient_reaches_every_parameter_that_a_loss_can_see(model, gradients):
    without = missing_features(model)
    for name, gradient in gradients.items():
        if name in without:
            seen = torch.ones_like(gradient, dtype=torch.bool)
            seen[without[name]] = False
            gradient = gradient[seen]
        if gradient.numel():
            assert gradient.abs().max().item() > 1e6 * ROUNDING, name


@pytest.mark.parametrize("config", ["mixer", "davit"], indirect=True)
def test_the_gradient_of_the_others_is_zero_to_rounding(model, gradients):
    assert missing_features(model)
    for name, split in missing_features(model).items():
        assert gradients[name][split].abs().max().item() < ROUNDING, name


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


def test_bfloat16_autocast_changes_the_logits_by_its_rounding_only(model, images, randomised):
    model = randomised(model).float()
    with torch.no_grad():
        logits = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(images)
    assert (logits - rounded).norm().item() < 0.05 * logits.norm().item()
