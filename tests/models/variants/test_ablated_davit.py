"""DaViT with other pairs of attention: what the pairs have in common, and which patches each of them mixes."""

from dataclasses import replace

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models.davit import (
    ChannelAttention,
    DaViT,
    DaViTConfig,
    PositionalEncoding,
    WindowAttention,
    mix_channels_florence2,
)
from mixlab.models.variants.ablated_davit import PAIRS, AblatedDaViTConfig, ablated_davit

FIELDS = {"image_size": 32, "classes": 5, "channels": (8, 16), "depths": (1, 2), "heads": (1, 2), "window": 2}


def build(attention: str, seed: int = 0, **fields) -> DaViT:
    torch.manual_seed(seed)
    return ablated_davit(AblatedDaViTConfig(attention=attention, **FIELDS | fields))  # pyright: ignore[reportArgumentType]


def without_positions(model: DaViT) -> DaViT:
    """The model without its positional encodings, the convolutions between the attentions."""
    for encoding in model.modules():
        if isinstance(encoding, PositionalEncoding):
            nn.init.zeros_(encoding.convolution.weight)
            nn.init.zeros_(encoding.convolution.bias)  # pyright: ignore[reportArgumentType]
    return model


def attention_by_block(model: DaViT) -> list[str]:
    names = {WindowAttention: "window", ChannelAttention: "channel"}
    return [names[type(module)] for module in model.modules() if type(module) in names]  # pyright: ignore


def mixed_patches(stage: nn.Module, channels: int, grid: int) -> Tensor:
    """Whether a patch (row) has an effect on another one (column): (patch, patch)."""
    x = torch.randn(1, grid, grid, channels, dtype=torch.float64, requires_grad=True)
    outputs = stage(x).sum(dim=-1).flatten()
    gradients = [torch.autograd.grad(output, x, retain_graph=True)[0].abs().amax(dim=-1) for output in outputs]
    return torch.stack([gradient.flatten() for gradient in gradients]).T > 0


@pytest.mark.parametrize("pair", PAIRS)
def test_each_pair_is_in_every_stage(pair):
    assert attention_by_block(build(pair)) == pair.split("-") * 3


def test_window_channel_is_davit():
    torch.manual_seed(0)
    davit = DaViT(DaViTConfig(**FIELDS)).double().eval()  # pyright: ignore[reportArgumentType]
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(build("window-channel").double().eval()(images), davit(images), rtol=0, atol=0)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("image_size", [32, 64])
def test_all_pairs_have_the_same_weights_for_the_same_seed(pair, image_size):
    torch.manual_seed(3)
    davit = DaViT(DaViTConfig(**FIELDS | {"image_size": image_size}))  # pyright: ignore[reportArgumentType]
    weights = build(pair, seed=3, image_size=image_size).state_dict()
    assert list(weights) == list(davit.state_dict())
    assert all(torch.equal(weights[name], tensor) for name, tensor in davit.state_dict().items())


@pytest.mark.parametrize("pair", PAIRS)
def test_multiply_accumulates_differ_in_the_products_of_attention_only(pair):
    """64 px: grids of 16 x 16 with 1 head of 8 channels, and of 8 x 8 with 2 heads of 8; windows of 2 x 2."""
    products = {"window": 2 * 2, "channel": 8}  # per patch and channel, twice
    patches_channels_pairs = [(256, 8, 1), (64, 16, 2)]
    expected = sum(
        2 * patches * channels * (products[kind] - products[davit_kind]) * pairs
        for patches, channels, pairs in patches_channels_pairs
        for kind, davit_kind in zip(pair.split("-"), ("window", "channel"), strict=True)
    )
    davit = DaViT(DaViTConfig(**FIELDS))  # pyright: ignore[reportArgumentType]
    assert count_macs(build(pair), (3, 64, 64)) - count_macs(davit, (3, 64, 64)) == expected


@pytest.mark.parametrize("pair", PAIRS)
def test_multiply_accumulates_are_equal_if_heads_have_as_many_channels_as_windows_have_patches(pair):
    fields = {"window": 4, "channels": (16, 32)}
    davit = DaViT(DaViTConfig(**FIELDS | fields))  # pyright: ignore[reportArgumentType]
    model = build(pair, **fields)
    assert count_macs(model, (3, 64, 64)) == count_macs(davit, (3, 64, 64))
    assert count_parameters(model) == count_parameters(davit)


def test_with_windows_only_no_patch_has_an_effect_outside_its_window(randomised):
    stage = without_positions(randomised(build("window-window"))).body[0]
    patches = rearrange(torch.arange(16), "(row column) -> row column", row=4)
    windows = rearrange(patches, "(r i) (c j) -> (r c) (i j)", i=2, j=2)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    for window in windows:
        expected[window[:, None], window] = True
    assert torch.equal(mixed_patches(stage, channels=8, grid=4), expected)


@pytest.mark.parametrize("pair", ["window-channel", "channel-channel", "channel-window"])
def test_with_channel_attention_every_patch_has_an_effect_on_every_other(randomised, pair):
    stage = without_positions(randomised(build(pair))).body[0]
    assert mixed_patches(stage, channels=8, grid=4).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_only_channel_attention_alone_has_no_notion_of_position(randomised, pair):
    """Without positional encodings, permuted patches have permuted outputs."""
    stage = without_positions(randomised(build(pair))).body[0]
    x = torch.randn(2, 4, 4, 8, dtype=torch.float64)
    order = torch.randperm(16)

    def permuted(x: Tensor) -> Tensor:
        return x.flatten(1, 2)[:, order].unflatten(1, (4, 4))

    assert torch.allclose(stage(permuted(x)), permuted(stage(x)), rtol=1e-9, atol=1e-9) == (pair == "channel-channel")


def test_florence_2_s_channel_attention_is_replaced_by_itself():
    model = build("channel-channel", channel_attention="florence2")
    assert {module.mix for module in model.modules() if isinstance(module, ChannelAttention)} == {
        mix_channels_florence2
    }


@pytest.mark.parametrize(("image_size", "grids"), [(32, [8, 4]), (64, [16, 8])])
def test_feature_maps_are_those_of_davit(image_size, grids):
    maps = build("channel-channel", image_size=image_size).feature_maps(torch.zeros(2, 3, image_size, image_size))
    assert [tuple(map.shape) for map in maps] == [
        (2, channels, grid, grid) for channels, grid in zip((8, 16), grids, strict=True)
    ]


def test_an_unknown_pair_is_an_error(no_shape_checks):
    with pytest.raises(UserError) as error:
        replace(build("window-channel").config, attention="window")
    assert str(error.value) == (
        'attention="window" is not supported: it must be one of window-channel, window-window, channel-channel, '
        "channel-window."
    )
