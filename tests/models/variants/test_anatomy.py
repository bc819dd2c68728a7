"""Every variant has the anatomy of the families, whatever its factors are."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch import nn

from mixlab.models.contract import height_and_width
from mixlab.models.davit import DaViT
from mixlab.models.mixer import MixerConfig
from mixlab.models.variants.ablated_convmixer import AblatedConvMixerConfig, ablated_convmixer
from mixlab.models.variants.ablated_davit import AblatedDaViTConfig, ablated_davit
from mixlab.models.variants.attention_mixer import attention_mixer
from mixlab.models.variants.metaformer import MetaFormerConfig, metaformer
from mixlab.models.variants.pooling_mixer import pooling_mixer
from mixlab.models.variants.untied_mixer import UntiedMixerConfig, untied_mixer

SIZES: Any = {"image_size": 32, "classes": 5}
MIXER: Any = {**SIZES, "patch_size": 8, "channels": 32, "token_hidden": 10, "channel_hidden": 20, "depth": 2}
META: Any = {**SIZES, "patch_size": 8, "channels": 32, "token_hidden": 10, "channel_hidden": 20, "depths": (1, 1, 1)}

VARIANTS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "attention": (attention_mixer, MixerConfig(**MIXER)),
    "pooling": (pooling_mixer, MixerConfig(**MIXER)),
    "tokens by channel": (
        untied_mixer,
        UntiedMixerConfig(**MIXER, token_weights="per-channel", channel_weights="shared"),
    ),
    "channels by patch": (
        untied_mixer,
        UntiedMixerConfig(**MIXER, token_weights="grouped", channel_weights="per-patch"),
    ),
    "ViT": (metaformer, MetaFormerConfig(**META, mixing="attention", position="learned")),
    "pyramid of convolutions": (
        metaformer,
        MetaFormerConfig(**META, mixing="depthwise", shape="pyramid", stem="convolutions", position="sincos"),
    ),
    "pyramid of token MLPs": (metaformer, MetaFormerConfig(**META, mixing="token-mlp", shape="pyramid")),
    "ConvMixer": (
        ablated_convmixer,
        AblatedConvMixerConfig(
            **SIZES, patch_size=4, kernel_size=3, channels=12, depth=2, residual="none", norm="layer"
        ),
    ),
    "DaViT": (
        ablated_davit,
        AblatedDaViTConfig(
            **SIZES, channels=(8, 16), depths=(1, 1), heads=(1, 2), window=2, attention="channel-channel"
        ),
    ),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> tuple[Callable[[Any], Any], Any]:
    return VARIANTS[request.param]


@pytest.fixture
def model(variant: tuple[Callable[[Any], Any], Any]) -> Any:
    build, config = variant
    return build(config)


def test_the_submodules_are_those_of_the_families_in_order(model):
    assert [name for name, _ in model.named_children()] == ["stem", "body", "norm", "head"]


def test_the_logits_are_the_head_of_the_embedding_which_is_the_pooled_last_feature_map(model, images, randomised):
    model, images = randomised(model), images.double()
    embedding = model.embed(images)
    pooled = model.feature_maps(images)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(model(images), model.head(embedding), rtol=0, atol=0)
    expected = model.norm(pooled) if isinstance(model, DaViT) else pooled
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-11 * embedding.abs().max().item())


def test_the_seed_determines_the_weights_and_their_names(variant):
    build, config = variant
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build(config).state_dict())
    first, same, other = states
    assert list(first) == list(same) == list(other)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_weights_are_complete_without_those_of_the_constructor(variant, images, randomised):
    """As they are loaded: into a model without data."""
    build, config = variant
    trained = randomised(build(config))
    with torch.device("meta"):
        loaded = build(config)
    loaded.load_state_dict(trained.state_dict(), assign=True)
    images = images.double()
    torch.testing.assert_close(loaded.eval()(images), trained(images), rtol=0, atol=0)


def test_every_parameter_has_a_gradient(model, images, randomised):
    """A randomised model, because the gradients before a head of zeros are 0."""
    model = randomised(model).train()
    model(images.double()).square().sum().backward()
    without = [name for name, tensor in model.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    assert without == []


@pytest.mark.parametrize("image_size", [(32, 64), 64])
def test_the_image_size_can_be_changed(variant, image_size):
    build, config = variant
    model = build(replace(config, image_size=image_size, image_channels=1)).eval()
    assert model(torch.randn(2, 1, *height_and_width(image_size))).shape == (2, 5)


def test_a_model_without_classes_returns_its_embedding(variant, images):
    build, config = variant
    model = build(replace(config, classes=0)).eval()
    torch.testing.assert_close(model(images), model.embed(images))
    assert isinstance(model.head, nn.Identity)


def test_no_images_have_no_logits(model, images):
    assert model(images[:0]).shape == (0, 5)


def test_bf16_autocast_returns_nearly_the_same_embedding(model, images):
    model = model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = model.embed(images).float()
    expected = model.embed(images)
    assert (embedding - expected).norm() / expected.norm() < 0.05


def test_a_config_is_immutable(model):
    with pytest.raises(FrozenInstanceError):
        model.config.classes = 0
