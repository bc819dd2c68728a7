"""ConvMixer without its residual connection, with other norms, and with the norm before the activation."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models.channel_norm import ChannelNorm
from mixlab.models.contract import height_and_width
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.variants.ablated_convmixer import AblatedConvMixer, AblatedConvMixerConfig, ablated_convmixer

FIELDS: dict[str, Any] = {
    "image_size": 32, "classes": 5, "patch_size": 4, "kernel_size": 3, "channels": 12, "depth": 2
}  # fmt: skip
CONFIG = AblatedConvMixerConfig(**FIELDS)
FACTORS = list(
    product(("depthwise", "none"), ("batch", "layer", "none"), ("activation-norm", "norm-activation"))
)  # residual, norm, order
LAYERS = 1 + 2 * FIELDS["depth"]


def build(**fields: Any) -> AblatedConvMixer:
    return ablated_convmixer(replace(CONFIG, **fields))


def plain_logits(model: AblatedConvMixer, images: Tensor, residual: str, norm: str, order: str) -> Tensor:
    """The logits in evaluation mode, written without modules."""
    weights = model.state_dict()
    place = "2" if order == "activation-norm" else "1"  # of the norm in its layer

    def normalise(x: Tensor, layer: str) -> Tensor:
        if norm == "none":
            return x
        name = f"{layer}.{place}" if norm == "batch" else f"{layer}.{place}.norm"
        scale, shift = (weights[f"{name}.{key}"][:, None, None] for key in ("weight", "bias"))
        if norm == "batch":
            mean, variance = (weights[f"{name}.running_{key}"][:, None, None] for key in ("mean", "var"))
        else:
            mean, variance = x.mean(dim=1, keepdim=True), x.var(dim=1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def apply(x: Tensor, layer: str, **options: Any) -> Tensor:
        x = nn.functional.conv2d(x, weights[f"{layer}.0.weight"], weights[f"{layer}.0.bias"], **options)
        if order == "activation-norm":
            return normalise(nn.functional.gelu(x), layer)
        return nn.functional.gelu(normalise(x, layer))

    x = apply(images, "stem", stride=4)
    for index in range(2):
        mixed = apply(x, f"body.{index}.depthwise", groups=12, padding=1)
        x = apply(mixed + x if residual == "depthwise" else mixed, f"body.{index}.pointwise")
    return x.mean(dim=(2, 3)) @ weights["head.weight"].mT + weights["head.bias"]


@pytest.mark.parametrize("image_size", [32, 64, (24, 40)])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_with_the_default_factors_it_is_convmixer(activation, image_size, randomised):
    convmixer = randomised(ConvMixer(ConvMixerConfig(**FIELDS, activation=activation)))
    model = build(activation=activation, image_size=image_size).double().eval()
    model.load_state_dict(convmixer.state_dict())
    images = torch.randn(2, 3, *height_and_width(image_size), dtype=torch.float64)
    torch.testing.assert_close(model(images), convmixer(images), rtol=0, atol=0)


@pytest.mark.parametrize(("residual", "norm", "order"), FACTORS)
def test_the_logits_are_those_of_the_formula(residual, norm, order, randomised):
    model = randomised(build(residual=residual, norm=norm, order=order))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = plain_logits(model, images, residual, norm, order)
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-12 * expected.abs().max().item())


@pytest.mark.parametrize(("residual", "norm", "order"), FACTORS)
def test_with_the_same_seed_convolutions_and_head_are_those_of_convmixer(residual, norm, order):
    torch.manual_seed(3)
    convmixer = ConvMixer(ConvMixerConfig(**FIELDS)).state_dict()
    torch.manual_seed(3)
    weights = build(residual=residual, norm=norm, order=order).state_dict()
    names = [name for name in convmixer if ".0.weight" in name or ".0.bias" in name or "head" in name]
    assert len(names) == 2 * (LAYERS + 1)
    assert all(torch.equal(weights[name], convmixer[name]) for name in names)


@pytest.mark.parametrize(("residual", "norm", "order"), FACTORS)
def test_only_missing_norms_change_the_parameters_and_nothing_changes_the_multiply_accumulates(residual, norm, order):
    convmixer, model = ConvMixer(ConvMixerConfig(**FIELDS)), build(residual=residual, norm=norm, order=order)
    missing = 2 * 12 * LAYERS if norm == "none" else 0
    assert count_parameters(convmixer) - count_parameters(model) == missing
    assert count_macs(model, (3, 32, 32)) == count_macs(convmixer, (3, 32, 32))


@pytest.mark.parametrize(("norm", "is_independent"), [("batch", False), ("layer", True), ("none", True)])
def test_only_batch_norm_mixes_the_images_of_a_batch_in_training(norm, is_independent, randomised):
    model = randomised(build(norm=norm)).train()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    together, alone = model(images)[:1], model(images[:1])
    scale = together.abs().max().item()
    assert torch.allclose(together, alone, rtol=0, atol=1e-12 * scale) == is_independent


def test_without_residual_connection_a_dead_depthwise_layer_stops_the_image():
    images = torch.randn(2, 3, 32, 32)
    for residual, is_stopped in (("depthwise", False), ("none", True)):
        model = build(residual=residual, norm="none").eval()
        for block in model.body:
            nn.init.zeros_(block.get_parameter("depthwise.0.weight"))
        logits = model(images)
        assert torch.allclose(logits[0], logits[1]) == is_stopped


def test_channel_norm_normalises_the_channels_of_each_position():
    x = torch.randn(2, 50, 3, 4, dtype=torch.float64) * 3 + 1
    normed = ChannelNorm(50, epsilon=1e-12).double()(x)
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros_like(normed[:, 0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(normed.var(dim=1, unbiased=False), torch.ones_like(normed[:, 0]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("image_size", "grid"), [(32, 8), (64, 16)])
def test_feature_maps_are_those_of_convmixer(image_size, grid):
    (features,) = build(norm="layer").feature_maps(torch.zeros(2, 3, image_size, image_size))
    assert features.shape == (2, 12, grid, grid)


@pytest.mark.parametrize(
    ("field", "value", "choices"),
    [
        ("residual", "both", "depthwise, none"),
        ("norm", "group", "batch, layer, none"),
        ("order", "norm-first", "activation-norm, norm-activation"),
    ],
)
def test_an_unknown_factor_is_an_error(field, value, choices, no_shape_checks):
    with pytest.raises(UserError) as error:
        replace(CONFIG, **{field: value})
    assert str(error.value) == f'{field}="{value}" is not supported: it must be one of {choices}.'
