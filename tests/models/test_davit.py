"""DaViT compared with its definition: attention as explicit loops, padding, order, sizes, error messages."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs
from mixlab.models.davit import (
    ChannelAttention,
    DaViT,
    DaViTBlock,
    DaViTConfig,
    PatchEmbedding,
    PatchMerging,
    PositionalEncoding,
    WindowAttention,
    mix_channels_florence2,
)

CONFIG = DaViTConfig(
    image_size=32, classes=5, channels=(8, 16, 24, 32), depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), window=3
)
GIANT = DaViTConfig(
    image_size=512,
    channels=(384, 768, 1536, 3072),
    depths=(1, 1, 12, 3),
    heads=(12, 24, 48, 96),
    window=16,
    merge_kernel=3,
)


def test_channel_attention_equals_the_authors_for_every_group_and_channel(randomised):
    """Softmax of key . value over the last axis, scaled by the group's width, times the query (the code's names)."""
    channels, groups, width = 12, 3, 4
    attention = randomised(ChannelAttention(channels, groups))
    x = torch.randn(2, 2, 5, channels).double()
    projected = attention.query_key_value(x).flatten(1, 2)  # batch, patch, 3 * channel

    mixed = torch.empty(2, 10, channels).double()
    for image in range(2):
        for group in range(groups):
            query, key, value = (
                projected[image, :, projection * channels + group * width :][:, :width] for projection in range(3)
            )
            for channel in range(width):
                similarity = torch.stack([(key[:, channel] * width**-0.5) @ value[:, other] for other in range(width)])
                weights = similarity.exp() / similarity.exp().sum()
                mixed[image, :, group * width + channel] = sum(weights[i] * query[:, i] for i in range(width))

    expected = attention.output(mixed).reshape(2, 2, 5, channels)
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 8), (8, 16)])
def test_the_cost_of_channel_attention_is_linear_in_the_patches_and_that_of_one_window_quadratic(rows, columns):
    channels, groups, patches = 12, 3, rows * columns
    projections = 4 * channels**2 * patches
    shape = (rows, columns, channels)  # one "image" of features
    assert count_macs(ChannelAttention(channels, groups), shape) == projections + 2 * channels * 4 * patches
    if rows == columns:
        window = WindowAttention(channels, groups, window=rows)
        assert count_macs(window, shape) == projections + 2 * channels * patches**2


def test_florence_2_s_channel_attention_scales_by_the_patches_and_uses_the_projections_as_named(randomised):
    """Softmax of query . key over the last axis, scaled by the number of patches, applied to the value."""
    channels, groups, width = 12, 3, 4
    attention = randomised(ChannelAttention(channels, groups, mix_channels_florence2))
    x = torch.randn(2, 2, 5, channels).double()
    projected = attention.query_key_value(x).flatten(1, 2)

    mixed = torch.empty(2, 10, channels).double()
    for image in range(2):
        for group in range(groups):
            query, key, value = (
                projected[image, :, projection * channels + group * width :][:, :width] for projection in range(3)
            )
            for channel in range(width):
                similarity = torch.stack([(query[:, channel] * 10**-0.5) @ key[:, other] for other in range(width)])
                weights = similarity.exp() / similarity.exp().sum()
                mixed[image, :, group * width + channel] = sum(weights[i] * value[:, i] for i in range(width))

    expected = attention.output(mixed).reshape(2, 2, 5, channels)
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("rows", "columns"), [(6, 9), (7, 9), (7, 8), (2, 2)])
def test_window_attention_equals_attention_in_every_window_with_unmasked_padding(randomised, rows, columns):
    """The projection's bias is the query, key and value of a padded patch."""
    channels, heads, window, width = 8, 2, 3, 4
    attention = randomised(WindowAttention(channels, heads, window))
    x = torch.randn(2, rows, columns, channels).double()

    expected = torch.empty_like(x)
    for image in range(2):
        for top in range(0, rows, window):
            for left in range(0, columns, window):
                positions = [(top + i, left + j) for i in range(window) for j in range(window)]
                inside = [row < rows and column < columns for row, column in positions]
                projected = torch.stack(
                    [
                        attention.query_key_value(x[image, row, column]) if valid else attention.query_key_value.bias
                        for (row, column), valid in zip(positions, inside, strict=True)
                    ]
                )
                mixed = torch.empty(len(positions), channels).double()
                for head in range(heads):
                    query, key, value = (
                        projected[:, projection * channels + head * width :][:, :width] for projection in range(3)
                    )
                    mixed[:, head * width :][:, :width] = (query @ key.mT * width**-0.5).softmax(dim=-1) @ value
                for position, valid, output in zip(positions, inside, attention.output(mixed), strict=True):
                    if valid:
                        expected[image, *position] = output

    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("image_size", "window"), [(224, 7), (384, 12), (512, 16)])
def test_windows_need_no_padding_at_the_papers_sizes(image_size, window):
    assert all(image_size // 4 // 2**stage % window == 0 for stage in range(4))


def test_a_block_adds_a_position_encoding_before_each_residual_branch(randomised):
    block = randomised(DaViTBlock(8, ChannelAttention(8, 2), drop_rate=0.0))
    x = torch.randn(2, 3, 5, 8).double()
    x_encoded = block.attention_position(x)
    mixed = x_encoded + block.attention(block.attention_norm(x_encoded))
    mixed_encoded = block.mlp_position(mixed)
    expected = mixed_encoded + block.mlp(block.mlp_norm(mixed_encoded))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_the_mlp_has_four_times_the_width_and_the_exact_gelu():
    mlp = DaViTBlock(8, ChannelAttention(8, 2), drop_rate=0.0).mlp
    assert (mlp.first.out_features, mlp.activation.approximate) == (32, "none")


def test_the_positional_encoding_adds_a_3x3_depthwise_convolution(randomised):
    encoding = randomised(PositionalEncoding(8))
    x = torch.randn(2, 3, 5, 8).double()
    convolved = F.conv2d(x.movedim(3, 1), encoding.convolution.weight, encoding.convolution.bias, padding=1, groups=8)
    torch.testing.assert_close(encoding(x), x + convolved.movedim(1, 3), rtol=0, atol=1e-12)


def test_window_and_channel_attention_blocks_alternate():
    model: Any = DaViT(CONFIG)
    types = [type(block.attention) for stage in model.body for block in stage.blocks]
    assert types == [WindowAttention, ChannelAttention] * sum(CONFIG.depths)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 30), (225, 230)])
def test_the_stem_pads_with_zeros_at_the_right_and_bottom_to_a_multiple_of_4(randomised, height, width):
    stem = randomised(PatchEmbedding(3, 8, padding="symmetric"))
    images = torch.randn(2, 3, height, width).double()
    padded = F.pad(images, (0, -width % 4, 0, -height % 4))
    convolved = F.conv2d(padded, stem.convolution.weight, stem.convolution.bias, stride=4, padding=3)
    torch.testing.assert_close(stem(images), stem.norm(convolved.movedim(1, 3)), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("side", "before", "after"), [(224, 1, 2), (225, 3, 3), (226, 2, 3), (227, 2, 2)], ids=lambda value: str(value)
)
def test_the_same_padding_of_the_stem_gives_a_quarter_of_the_pixels_rounded_up(randomised, side, before, after):
    stem = randomised(PatchEmbedding(3, 8, padding="same"))
    images = torch.randn(1, 3, side, 8).double()
    padded = F.pad(images, (1, 2, before, after))
    convolved = F.conv2d(padded, stem.convolution.weight, stem.convolution.bias, stride=4)
    assert convolved.shape[2] == -(-side // 4)
    torch.testing.assert_close(stem(images), stem.norm(convolved.movedim(1, 3)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (5, 6), (5, 7), (1, 1)])
def test_merging_normalises_then_pads_with_zeros_to_even_sides(randomised, kernel, rows, columns):
    merging = randomised(PatchMerging(8, 16, kernel))
    x = torch.randn(2, rows, columns, 8).double()
    padded = F.pad(merging.norm(x).movedim(3, 1), (0, columns % 2, 0, rows % 2))
    overlap = 1 if kernel == 3 else 0
    expected = F.conv2d(padded, merging.convolution.weight, merging.convolution.bias, stride=2, padding=overlap)
    torch.testing.assert_close(merging(x), expected.movedim(1, 3), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("height", "width", "grids"),
    [
        (224, 224, [(56, 56), (28, 28), (14, 14), (7, 7)]),
        (225, 230, [(57, 58), (29, 29), (15, 15), (8, 8)]),
        (64, 100, [(16, 25), (8, 13), (4, 7), (2, 4)]),
        (3, 5, [(1, 2), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_images_of_any_size_are_accepted(height, width, grids):
    with torch.inference_mode():
        maps = DaViT(CONFIG).feature_maps(torch.randn(1, 3, height, width))
    assert [tuple(map.shape[2:]) for map in maps] == grids


def test_the_norm_comes_after_the_pool(randomised):
    model = randomised(DaViT(CONFIG))
    images = torch.randn(2, 3, 64, 96).double()  # 2 x 3 patches are left to pool
    expected = model.norm(model.feature_maps(images)[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(model.embed(images), expected, rtol=0, atol=1e-12)


def test_the_other_head_orders_equal_their_definitions(randomised):
    images = torch.randn(2, 3, 64, 96).double()

    def build(head_order) -> tuple[Any, torch.Tensor]:
        model: Any = randomised(DaViT(replace(CONFIG, head_order=head_order)))
        return model, model.body(model.stem(images))

    model, last = build("norm-pool")
    torch.testing.assert_close(model.embed(images), model.norm(last).mean(dim=(1, 2)), rtol=0, atol=1e-12)
    model, last = build("pool")
    torch.testing.assert_close(model.embed(images), last.mean(dim=(1, 2)), rtol=0, atol=1e-12)
    model, last = build("norms-pool")
    maps = model.feature_maps(images)
    torch.testing.assert_close(maps[-1], model.norm[3](last).movedim(3, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(maps[0], model.norm[0](model.body[0](model.stem(images))).movedim(3, 1))
    torch.testing.assert_close(model.embed(images), maps[-1].mean(dim=(2, 3)), rtol=0, atol=1e-12)


def test_giant_runs_on_the_meta_device():
    with torch.device("meta"):
        model = DaViT(GIANT)
        logits = model(torch.empty(1, 3, 512, 512))
    assert logits.shape == (1, 1000)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_heads_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(UserError) as error:
        replace(CONFIG, heads=(1, 3, 3, 4))
    assert str(error.value) == (
        "channels=16 is not a multiple of heads=3: all heads have the same width. "
        "The published sizes have channels / 32 heads."
    )


def test_a_missing_depth_is_an_error():
    with pytest.raises(UserError) as error:
        replace(CONFIG, depths=(1, 1, 2))
    assert str(error.value) == (
        "channels=(8, 16, 24, 32), depths=(1, 1, 2) and heads=(1, 2, 3, 4) differ in length: "
        "each needs one value per stage."
    )


def test_a_stage_without_blocks_is_an_error():
    with pytest.raises(UserError, match=r"^depths=\(1, 0, 2, 1\) is out of range: it must be at least 1\.$"):
        replace(CONFIG, depths=(1, 0, 2, 1))


def test_an_unknown_merging_kernel_is_an_error():
    with pytest.raises(UserError) as error:
        replace(CONFIG, merge_kernel=4)
    assert str(error.value) == "merge_kernel=4 is not supported: it must be 2, or 3 for overlap."
