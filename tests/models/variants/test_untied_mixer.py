"""A Mixer with less tied weights: with equal copies it is the Mixer, and each copy acts on its own items."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.models.variants.untied_mixer import GroupedLinear, UntiedMixerConfig, untied_mixer

FIELDS: dict[str, Any] = {
    "image_size": 32, "classes": 5, "patch_size": 8, "channels": 12, "token_hidden": 10, "channel_hidden": 20,
    "depth": 2, "token_groups": 3,
}  # fmt: skip
COPIES = {"shared": 1, "grouped": 3, "per-channel": 12, "per-patch": 16}
TYINGS = [(token, channel) for token in ("shared", "grouped", "per-channel") for channel in ("shared", "per-patch")]


def build(token_weights: str, channel_weights: str, **fields: Any) -> Mixer:
    return untied_mixer(
        UntiedMixerConfig(token_weights=token_weights, channel_weights=channel_weights, **FIELDS | fields)  # pyright: ignore[reportArgumentType]
    )


def mixer(**fields: Any) -> Mixer:
    return Mixer(MixerConfig(**{name: value for name, value in (FIELDS | fields).items() if name != "token_groups"}))


def copied(weights: dict[str, Tensor], untied: Mixer) -> dict[str, Tensor]:
    """The weights of a Mixer as weights of `untied`, with equal copies."""
    return {
        name: tensor.repeat(math.prod(untied.state_dict()[name].shape) // tensor.numel(), 1, 1).reshape_as(
            untied.state_dict()[name]
        )
        if "mlp" in name
        else tensor
        for name, tensor in weights.items()
    }


@pytest.mark.parametrize(("token", "channel"), TYINGS)
@pytest.mark.parametrize("image_size", [32, 64])
def test_with_equal_copies_the_logits_are_those_of_the_mixer(token, channel, image_size, randomised):
    reference = randomised(mixer(image_size=image_size))
    untied = build(token, channel, image_size=image_size).double().eval()
    untied.load_state_dict(copied(reference.state_dict(), untied))
    images = torch.randn(2, 3, image_size, image_size, dtype=torch.float64)
    expected = reference(images)
    torch.testing.assert_close(untied(images), expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_a_mixer_with_all_weights_shared_has_the_weights_of_the_mixer_for_the_same_seed():
    torch.manual_seed(3)
    expected = mixer().state_dict()
    torch.manual_seed(3)
    weights = build("shared", "shared").state_dict()
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(("token", "channel"), TYINGS)
def test_every_copy_of_an_mlp_has_its_parameters(token, channel):
    patches, channels, token_hidden, channel_hidden, depth = 16, 12, 10, 20, 2
    token_mlp = 2 * patches * token_hidden + token_hidden + patches
    channel_mlp = 2 * channels * channel_hidden + channel_hidden + channels
    added = depth * ((COPIES[token] - 1) * token_mlp + (COPIES[channel] - 1) * channel_mlp)
    assert count_parameters(build(token, channel)) - count_parameters(mixer()) == added


@pytest.mark.parametrize(("token", "channel"), TYINGS)
def test_the_multiply_accumulates_are_those_of_the_mixer(token, channel):
    assert count_macs(build(token, channel), (3, 32, 32)) == count_macs(mixer(), (3, 32, 32))


@pytest.mark.parametrize("token", ["shared", "grouped", "per-channel"])
def test_the_weights_of_a_group_of_channels_have_an_effect_on_this_group_only(token, randomised):
    mlp = randomised(build(token, "shared")).body[0].token_mlp
    x = torch.randn(2, 12, 16, dtype=torch.float64)
    before = mlp(x)
    weight = mlp.first.weight
    weight.data[-1] += 1.0  # the last group; the last hidden unit of a shared MLP
    changed = (mlp(x) != before).any(dim=2).any(dim=0)
    size = 12 // COPIES[token]
    assert changed.tolist() == [False] * (12 - size) + [True] * size


@pytest.mark.parametrize(("channel", "changes"), [("shared", 16), ("per-patch", 1)])
def test_the_weights_of_a_patch_have_an_effect_on_this_patch_only(channel, changes, randomised):
    mlp = randomised(build("shared", channel)).body[0].channel_mlp
    x = torch.randn(2, 16, 12, dtype=torch.float64)
    before = mlp(x)
    mlp.first.weight.data[-1] += 1.0
    assert (mlp(x) != before).any(dim=2).any(dim=0).tolist() == [False] * (16 - changes) + [True] * changes


@pytest.mark.parametrize("channel", ["shared", "per-patch"])
def test_permuted_patches_have_permuted_outputs_of_the_shared_channel_mlp_only(channel, randomised):
    mlp = randomised(build("shared", channel)).body[0].channel_mlp
    x = torch.randn(2, 16, 12, dtype=torch.float64)
    order = torch.randperm(16)
    assert torch.allclose(mlp(x[:, order]), mlp(x)[:, order], rtol=0, atol=1e-12) == (channel == "shared")


def test_every_copy_is_initialised_as_a_layer_of_a_mixer():
    """Variance 1 / fan-in within five standard errors, truncated at two standard deviations; biases are 0."""
    layer = GroupedLinear(50, features_in=40, features_out=30)
    values = layer.weight.detach().double()
    assert values.square().mean().item() == pytest.approx(1 / 40, rel=5 * math.sqrt(2 / values.numel()))
    assert 0.97 < values.abs().max().item() * 40**0.5 * 0.87962566 / 2 <= 1
    assert not layer.bias.any()


def test_biases_have_one_axis_as_all_biases():
    model = build("per-channel", "per-patch")
    assert {tensor.dim() for name, tensor in model.named_parameters() if name.endswith("bias")} == {1}


@pytest.mark.parametrize(("image_size", "grid"), [(32, 4), (64, 8)])
def test_feature_maps_are_those_of_the_mixer(image_size, grid):
    (features,) = build("grouped", "per-patch", image_size=image_size).feature_maps(
        torch.zeros(2, 3, image_size, image_size)
    )
    assert features.shape == (2, 12, grid, grid)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"token_groups": 5},
            "channels=12 is not a multiple of token_groups=5: all groups have the same number of channels. "
            "Change one of them.",
        ),
        (
            {"token_weights": "tied"},
            'token_weights="tied" is not supported: it must be one of shared, grouped, per-channel.',
        ),
        (
            {"channel_weights": "per-channel"},
            'channel_weights="per-channel" is not supported: it must be one of shared, per-patch.',
        ),
        ({"token_groups": 0}, "token_groups=0 is out of range: it must be at least 1."),
    ],
)
def test_an_impossible_tying_is_an_error(fields, message, no_shape_checks):
    with pytest.raises(UserError) as error:
        replace(build("grouped", "shared").config, **fields)
    assert str(error.value) == message


def test_token_groups_have_no_effect_unless_grouped():
    assert count_parameters(build("per-channel", "shared", token_groups=5)) == count_parameters(
        build("per-channel", "shared", token_groups=3)
    )
