"""MLP-Mixer compared with its definition: layers, sizes, error messages."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from mixlab.errors import UserError
from mixlab.models.mixer import Mixer, MixerBlock, MixerConfig
from mixlab.models.mlp import Mlp

CONFIG = MixerConfig(
    image_size=(12, 20), classes=5, patch_size=4, channels=8, token_hidden=6, channel_hidden=12, depth=2
)  # 3 x 5 patches


def test_the_stem_is_a_linear_layer_on_each_patch_in_row_major_order(randomised):
    model = randomised(Mixer(replace(CONFIG, depth=1)))
    images = torch.randn(2, 3, 12, 20).double()
    captured = []
    model.body[0].register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    model(images)
    patches = rearrange(images, "b c (row i) (column j) -> b (row column) (c i j)", i=4, j=4)
    expected = F.linear(patches, model.stem.weight.flatten(1), model.stem.bias)
    torch.testing.assert_close(captured[0], expected, rtol=0, atol=1e-12)


def test_a_block_is_two_pre_norm_residual_branches(randomised):
    block = randomised(MixerBlock(CONFIG, drop_rate=0.0))
    x = torch.randn(2, CONFIG.patches, CONFIG.channels).double()
    mixed = x + block.token_mlp(block.token_norm(x).transpose(1, 2)).transpose(1, 2)
    expected = mixed + block.channel_mlp(block.channel_norm(mixed))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_the_channel_mlp_is_two_1x1_convolutions(randomised):
    mlp = randomised(MixerBlock(CONFIG, drop_rate=0.0)).channel_mlp
    x = torch.randn(2, CONFIG.channels, 3, 5).double()
    hidden = F.conv2d(x, mlp.first.weight[:, :, None, None], mlp.first.bias)
    convolved = F.conv2d(F.gelu(hidden, approximate="tanh"), mlp.second.weight[:, :, None, None], mlp.second.bias)
    mixed = mlp(rearrange(x, "b channel row column -> b (row column) channel"))
    torch.testing.assert_close(
        rearrange(convolved, "b channel row column -> b (row column) channel"), mixed, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_token_layer_is_a_full_size_depthwise_convolution_with_one_kernel_for_all_channels(randomised, layer):
    """Each unit is one kernel of the size of the grid, shared by all channels, with one output position."""
    config = replace(CONFIG, token_hidden=15)  # also 3 x 5, so that both layers have the same shape
    linear = getattr(randomised(MixerBlock(config, drop_rate=0.0)).token_mlp, layer)
    x = torch.randn(2, config.channels, 3, 5).double()
    units = []
    for weights, bias in zip(linear.weight, linear.bias, strict=True):
        kernel = weights.reshape(1, 1, 3, 5).expand(config.channels, 1, 3, 5)
        units.append(F.conv2d(x, kernel, bias.expand(config.channels), groups=config.channels))
        assert units[-1].shape == (2, config.channels, 1, 1)
    torch.testing.assert_close(torch.cat(units, dim=3).squeeze(2), linear(x.flatten(2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_a_depthwise_convolution_that_reaches_the_whole_grid_is_a_token_layer_of_its_offsets(padding):
    """With one kernel for all channels. The weight from q to p depends on q - p only: circulant or Toeplitz."""
    rows, columns = 3, 5
    height, width = (rows, columns) if padding == "circular" else (2 * rows - 1, 2 * columns - 1)
    kernel = torch.randn(1, 1, height, width, dtype=torch.float64)
    bias = torch.randn(1, dtype=torch.float64)
    x = torch.randn(2, CONFIG.channels, rows, columns, dtype=torch.float64)
    before = (0, 0) if padding == "circular" else (rows - 1, columns - 1)
    padded = F.pad(
        x, (before[1], columns - 1, before[0], rows - 1), "circular" if padding == "circular" else "constant"
    )
    convolved = F.conv2d(
        padded, kernel.expand(CONFIG.channels, -1, -1, -1), bias.expand(CONFIG.channels), groups=CONFIG.channels
    )

    layer = MixerBlock(replace(CONFIG, token_hidden=15), drop_rate=0.0).token_mlp.first.double()  # 15 to 15 patches
    row, column = torch.arange(15) // columns, torch.arange(15) % columns
    offset_row, offset_column = row - row[:, None] + before[0], column - column[:, None] + before[1]
    layer.weight.data = kernel[0, 0, offset_row % height, offset_column % width]
    layer.bias.data = bias.expand(15)
    torch.testing.assert_close(layer(x.flatten(2)), convolved.flatten(2), rtol=0, atol=1e-12)
    assert layer.weight.unique().numel() == height * width < layer.weight.numel()


def test_no_block_changes_the_number_of_patches():
    model = Mixer(CONFIG)
    shapes = []
    for block in model.body:
        block.register_forward_hook(lambda _, inputs, output: shapes.extend([inputs[0].shape, output.shape]))
    model(torch.randn(2, 3, 12, 20))
    assert shapes == [(2, CONFIG.patches, CONFIG.channels)] * 2 * CONFIG.depth


def test_only_token_mlps_have_weights_for_places_and_there_is_no_class_token():
    shapes = {name: tensor.shape for name, tensor in Mixer(CONFIG).named_parameters()}
    with_places = {name for name, shape in shapes.items() if CONFIG.patches in shape or CONFIG.patches + 1 in shape}
    assert with_places == {
        f"body.{block}.token_mlp.{name}"
        for block in range(CONFIG.depth)
        for name in ("first.weight", "second.weight", "second.bias")
    }
    assert {name.split(".")[0] for name in shapes} == {"stem", "body", "norm", "head"}


def test_the_feature_map_has_every_token_at_its_position(randomised):
    model = randomised(Mixer(CONFIG))
    images = torch.randn(2, 3, 12, 20).double()
    (features,) = model.feature_maps(images)
    for row in range(3):
        for column in range(5):
            torch.testing.assert_close(features[:, :, row, column], model.tokens(images)[:, 5 * row + column])


def test_the_norm_comes_before_the_pool(randomised):
    model = randomised(Mixer(CONFIG))
    captured = []
    model.norm.register_forward_hook(lambda *call: captured.append(call[2]))
    embedding = model.embed(torch.randn(2, 3, 12, 20).double())
    torch.testing.assert_close(embedding, captured[0].mean(dim=1), rtol=0, atol=0)
    assert captured[0].shape == (2, 15, 8)


def test_a_new_head_returns_zero_logits():
    assert Mixer(CONFIG)(torch.randn(2, 3, 12, 20)).eq(0).all()


def test_every_norm_has_flax_s_epsilon():
    assert {module.eps for module in Mixer(CONFIG).modules() if isinstance(module, nn.LayerNorm)} == {1e-6}


def test_the_two_gelus_differ_by_less_than_half_a_thousandth():
    """The largest difference is 4.7e-4, far above rounding, so weights need the GELU that they were trained with."""
    x = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    tanh, erf = (Mlp(4, 4, gelu).activation for gelu in ("tanh", "erf"))
    torch.testing.assert_close(erf(x), F.gelu(x), rtol=0, atol=0)
    assert (tanh(x) - erf(x)).abs().max().item() == pytest.approx(4.7e-4, abs=5e-6)


def test_a_size_with_an_incomplete_patch_is_an_error_with_the_nearest_sizes():
    with pytest.raises(UserError) as error:
        replace(CONFIG, image_size=225, patch_size=16)
    assert str(error.value) == (
        "image_size=225 is not a multiple of patch_size=16: a Mixer needs whole patches. "
        "The nearest sizes are 224 and 240."
    )


def test_an_error_for_one_side_of_a_rectangle_has_the_nearest_sizes_of_that_side():
    with pytest.raises(UserError, match=r"^image_size=\(224, 250\) is not .* nearest sizes are 240 and 256\.$"):
        replace(CONFIG, image_size=(224, 250), patch_size=16)


def test_a_size_smaller_than_a_patch_is_an_error_with_one_nearest_size():
    with pytest.raises(UserError, match=r"^image_size=10 is not .* The nearest size is 16\.$"):
        replace(CONFIG, image_size=10, patch_size=16)


def test_an_unknown_gelu_is_an_error_that_lists_the_choices(no_shape_checks):
    with pytest.raises(UserError) as error:
        replace(CONFIG, gelu="sigmoid")
    assert str(error.value) == 'gelu="sigmoid" is not supported: it must be one of tanh, erf.'


def test_an_image_of_another_size_is_an_error_with_the_expected_size():
    with pytest.raises(UserError) as error:
        Mixer(CONFIG)(torch.randn(2, 3, 16, 20))
    assert str(error.value) == (
        "This Mixer needs images of 12 x 20 pixels, but got 16 x 20: "
        "the size of its token MLP is the number of patches. "
        "Resize the images, or build the model with image_size=(16, 20)."
    )
