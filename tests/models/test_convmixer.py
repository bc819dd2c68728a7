"""ConvMixer compared with its definition: order of layers, residual connection, kernels, error messages."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mixlab.errors import UserError
from mixlab.models.convmixer import ConvMixer, ConvMixerBlock, ConvMixerConfig

CONFIG = ConvMixerConfig(image_size=32, classes=5, patch_size=4, kernel_size=5, channels=6, depth=2)

even_kernels_warn = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


def normed(x, norm):
    """BatchNorm in evaluation mode, written out."""
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def test_every_layer_group_is_convolution_activation_norm():
    model: Any = ConvMixer(CONFIG)
    for layers in (model.stem, model.body[0].depthwise, model.body[0].pointwise):
        assert [type(layer) for layer in layers] == [nn.Conv2d, nn.GELU, nn.BatchNorm2d]


@even_kernels_warn
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 8, 9])
def test_a_block_equals_the_paper_s_for_odd_and_even_kernels(randomised, kernel_size):
    """Only the depthwise convolution has a residual connection; an even kernel extends further right and down."""
    block = randomised(ConvMixerBlock(replace(CONFIG, kernel_size=kernel_size)))
    x = torch.randn(2, 6, 7, 8).double()
    depthwise, _, depthwise_norm = block.depthwise
    pointwise, _, pointwise_norm = block.pointwise

    before, after = (kernel_size - 1) // 2, kernel_size // 2
    convolved = F.conv2d(F.pad(x, (before, after, before, after)), depthwise.weight, depthwise.bias, groups=6)
    mixed = normed(F.gelu(convolved), depthwise_norm) + x
    expected = normed(F.gelu(F.conv2d(mixed, pointwise.weight, pointwise.bias)), pointwise_norm)

    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-11)


def test_the_pointwise_convolution_has_no_residual_connection(randomised):
    block = randomised(ConvMixerBlock(CONFIG))
    nn.init.zeros_(block.pointwise[0].weight)
    x, y = torch.randn(2, 1, 6, 7, 8).double()
    torch.testing.assert_close(block(x), block(y), rtol=0, atol=0)


def test_the_pointwise_convolution_is_a_linear_layer_on_the_channels_of_each_patch(randomised):
    pointwise = randomised(ConvMixerBlock(CONFIG)).pointwise[0]
    x = torch.randn(2, 6, 7, 8, dtype=torch.float64)
    linear = F.linear(x.movedim(1, 3), pointwise.weight[:, :, 0, 0], pointwise.bias).movedim(3, 1)
    torch.testing.assert_close(pointwise(x), linear, rtol=0, atol=1e-12)


@even_kernels_warn
@pytest.mark.parametrize("kernel_size", [8, 9])
def test_the_body_does_not_change_the_size_of_the_grid(kernel_size):
    model = ConvMixer(replace(CONFIG, kernel_size=kernel_size))
    (features,) = model.feature_maps(torch.randn(2, 3, 32, 48))
    assert features.shape == (2, 6, 8, 12)


def test_the_activation_can_be_relu_as_in_the_published_768_32():
    layers = ConvMixer(replace(CONFIG, activation="relu")).modules()
    assert {type(layer) for layer in layers if isinstance(layer, nn.GELU | nn.ReLU)} == {nn.ReLU}


def test_weights_do_not_say_which_activation_they_were_trained_with(randomised):
    """Weights of the published 768/32, which has ReLU, are loaded without an error into a network with GELU."""
    relu, gelu = (randomised(ConvMixer(replace(CONFIG, activation=name))) for name in ("relu", "gelu"))
    gelu.load_state_dict(relu.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert (relu(images) - gelu(images)).abs().max() > 0.01 * relu(images).abs().max()


def test_gelu_is_exact():
    assert {layer.approximate for layer in ConvMixer(CONFIG).modules() if isinstance(layer, nn.GELU)} == {"none"}


def test_images_of_other_sizes_are_accepted():
    """Incomplete patches at the right and the bottom are ignored, as in any strided convolution."""
    (features,) = ConvMixer(CONFIG).feature_maps(torch.randn(2, 3, 33, 51))
    assert features.shape == (2, 6, 8, 12)


def test_the_embedding_is_the_mean_over_all_patches(randomised):
    model = randomised(ConvMixer(CONFIG))
    images = torch.randn(2, 3, 32, 32).double()
    expected = model.body(model.stem(images)).sum(dim=(2, 3)) / 64
    torch.testing.assert_close(model.embed(images), expected, rtol=0, atol=1e-11)


def test_an_image_smaller_than_a_patch_is_an_error():
    with pytest.raises(UserError) as error:
        replace(CONFIG, image_size=(32, 3))
    assert str(error.value) == (
        "image_size=(32, 3) is smaller than patch_size=4: an image needs at least one patch. "
        "Set image_size to 4 or more."
    )


def test_an_unknown_activation_is_an_error_that_lists_the_choices(no_shape_checks):
    with pytest.raises(UserError) as error:
        replace(CONFIG, activation="swish")
    assert str(error.value) == 'activation="swish" is not supported: it must be one of gelu, relu.'
