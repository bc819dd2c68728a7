"""Initialisation equals the reference: flax for Mixer, PyTorch for ConvMixer, the authors' code for DaViT."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig

# Wide enough for precise estimates, and all fan-ins differ.
MIXER = MixerConfig(image_size=64, classes=50, patch_size=8, channels=96, token_hidden=160, channel_hidden=200, depth=4)
CONVMIXER = ConvMixerConfig(image_size=32, classes=50, patch_size=6, kernel_size=5, channels=160, depth=6)
DAVIT = DaViTConfig(classes=100, channels=(96, 128), depths=(2, 2), heads=(3, 4))


def expected_of_mixer(model: Mixer, name: str, parameter: Tensor) -> tuple[float, float]:
    if name == "head.weight":
        return 0.0, 0.0
    if "norm" in name:
        return (1.0, 0.0) if name.endswith("weight") else (0.0, 0.0)
    return 0.0, 1 / fan_in(parameter) if name.endswith("weight") else 0.0


def expected_of_convmixer(model: ConvMixer, name: str, parameter: Tensor) -> tuple[float, float]:
    layer = model.get_submodule(name.rpartition(".")[0])
    if isinstance(layer, nn.BatchNorm2d):
        return (1.0, 0.0) if name.endswith("weight") else (0.0, 0.0)
    return 0.0, 1 / (3 * fan_in(layer.get_parameter("weight")))


def expected_of_davit(model: DaViT, name: str, parameter: Tensor) -> tuple[float, float]:
    layer = model.get_submodule(name.rpartition(".")[0])
    if isinstance(layer, nn.LayerNorm):
        return (1.0, 0.0) if name.endswith("weight") else (0.0, 0.0)
    if isinstance(layer, nn.Linear):
        return 0.0, 0.02**2 if name.endswith("weight") else 0.0
    return 0.0, 1 / (3 * fan_in(layer.get_parameter("weight")))


def fan_in(weight: Tensor) -> int:
    return weight[0].numel()


FAMILIES = {
    "mixer": (lambda: Mixer(MIXER), expected_of_mixer),
    "convmixer": (lambda: ConvMixer(CONVMIXER), expected_of_convmixer),
    "davit": (lambda: DaViT(DAVIT), expected_of_davit),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_the_reference_s_mean_and_variance(family):
    """Within five standard errors. The error of the variance is bounded by that of a normal distribution."""
    build, expected = FAMILIES[family]
    model = build()
    for name, parameter in model.named_parameters():
        mean, variance = expected(model, name, parameter)
        values = parameter.detach().double()
        allowed = 5 / math.sqrt(values.numel())
        assert values.mean().item() == pytest.approx(mean, abs=allowed * math.sqrt(variance)), name
        spread = values.sub(mean).square().mean().item()
        assert spread == pytest.approx(variance, rel=allowed * math.sqrt(2), abs=0), name


def test_mixer_s_weights_are_truncated_at_two_standard_deviations_as_in_flax():
    """flax truncates at 2, then scales by 1 / 0.8796, so that the variance is 1 / fan-in."""
    for name, parameter in Mixer(MIXER).named_parameters():
        if name.endswith("weight") and "norm" not in name and name != "head.weight":
            bound = 2 * fan_in(parameter) ** -0.5 / 0.87962566103423978
            assert 0.97 * bound < parameter.abs().max().item() <= bound, name


def test_davit_s_weights_are_effectively_not_truncated():
    """PyTorch's trunc_normal_ truncates at +-2, not at two standard deviations: the weights exceed 3 x 0.02."""
    model: Any = DaViT(DAVIT)
    assert model.body[1].blocks[0].mlp.first.weight.abs().max().item() > 3.5 * 0.02


def test_convmixer_s_weights_are_uniform():
    model: Any = ConvMixer(CONVMIXER)
    weight = model.body[0].pointwise[0].weight
    bound = fan_in(weight) ** -0.5
    assert 0.99 * bound < weight.abs().max().item() <= bound


def test_davit_s_head_is_not_initialised_to_zero():
    model = DaViT(DAVIT).eval()
    assert model(torch.randn(1, 3, 28, 28)).std().item() > 0
