"""Unfused attention: its results, and which models use attention."""

import pytest
import torch
from torch.nn import functional as F

from mixlab.speed.rewrites.attention import unfused_attention, uses_attention
from mixlab.zoo.architecture import architecture


@pytest.mark.parametrize("name", ["davit_nano", "vit_nano", "variant:attention_mixer"])
def test_models_with_attention_are_recognised(name):
    fields = {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 1, "image_size": 32}
    model = architecture(name, **(fields if name.startswith("variant") else {})).on_meta()
    assert uses_attention(model, (3, 32, 32))


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "resnet_nano"])
def test_models_without_attention_are_recognised(name):
    assert not uses_attention(architecture(name).on_meta(), (3, 32, 32))


def test_unfused_attention_has_the_same_values_and_gradients():
    arguments = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64)
    found = []
    for context in (torch.enable_grad(), unfused_attention()):
        tensors = arguments.clone().requires_grad_()
        with context:
            query, key, value = tensors
            mixed = F.scaled_dot_product_attention(query, key, value)
        mixed.square().sum().backward()
        found.append((mixed.detach(), tensors.grad))
    for fused, unfused in zip(*found, strict=True):
        torch.testing.assert_close(fused, unfused)
