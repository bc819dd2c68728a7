"""A tiny model of every family, and a fixture that randomises all of its tensors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig

TINY = {
    "mixer": MixerConfig(
        image_size=32, classes=5, patch_size=8, channels=24, token_hidden=10, channel_hidden=40, depth=3
    ),
    "convmixer": ConvMixerConfig(image_size=32, classes=5, patch_size=4, kernel_size=5, channels=24, depth=3),
    "davit": DaViTConfig(
        image_size=32, classes=5, channels=(8, 16, 24, 32), depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), window=3
    ),
}


@pytest.fixture(params=TINY)
def config(request: pytest.FixtureRequest) -> Any:
    return TINY[request.param]


@pytest.fixture
def build() -> Callable[..., Any]:
    """build(config, **changed_fields) returns a model of that family."""

    def build(config: Any, **changes: Any) -> Mixer | ConvMixer | DaViT:
        config = replace(config, **changes)
        if isinstance(config, MixerConfig):
            return Mixer(config)
        return ConvMixer(config) if isinstance(config, ConvMixerConfig) else DaViT(config)

    return build


@pytest.fixture
def model(build: Callable[..., Any], config: Any) -> Any:
    return build(config)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32)


@pytest.fixture
def randomised() -> Callable[..., Any]:
    """randomised(module) returns it with random parameters and running statistics, in float64 and eval mode.

    Heads and biases are initialised to 0 and norms to 1, which can hide errors.
    """

    def randomised(module: nn.Module) -> nn.Module:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
        for name, statistic in module.named_buffers():
            if name.endswith("running_var"):
                nn.init.uniform_(statistic, 0.5, 2.0)
            elif name.endswith("running_mean"):
                nn.init.normal_(statistic)
        return module.double().eval()

    return randomised
