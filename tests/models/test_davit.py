"""DaViT beside its definition: attentions as explicit loops, padding, order, sizes, sentences."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mixlab.errors import UserError
from mixlab.models.davit import (
    ChannelAttention,
    DaViT,
    DaViTBlock,
    DaViTConfig,
    Florence2ChannelAttention,
    PatchEmbedding,
    PatchMerging,
    PositionalEncoding,
    WindowAttention,
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


def test_channel_attention_is_the_authors_for_every_group_and_channel(randomised):
    """Softmax of code-key . code-value over the last axis, scaled by the group's width, applied to the code-query."""
    channels, groups, width = 12, 3, 4
    attention = randomised(ChannelAttention(channels, groups))
    x = torch.randn(2, 2, 5, channels).double()
    projected = attention.query_key_value(x).flatten(1, 2)  # batch, place, 3 * channel

    mixed = torch.empty(2, 10, channels).double()
    for image in range(2):
        for group in range(groups):
            query, key, value = (
                projected[image, :, split * channels + group * width :][:, :width] for split in range(3)
            )
            for channel in range(width):
                likeness = torch.stack([(key[:, channel] * width**-0.5) @ value[:, other] for other in range(width)])
                share = likeness.exp() / likeness.exp().sum()
                mixed[image, :, group * width + channel] = sum(share[i] * query[:, i] for i in range(width))

    expected = attention.output(mixed).reshape(2, 2, 5, channels)
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-11)


def test_florence_2_s_channel_attention_scales_by_the_patches_and_has_the_roles_as_named(randomised):
    """Softmax of query . key over the last axis, scaled by the number of patches, applied to the value."""
    channels, groups, width = 12, 3, 4
    attention = randomised(Florence2ChannelAttention(channels, groups))
    x = torch.randn(2, 2, 5, channels).double()
    projected = attention.query_key_value(x).flatten(1, 2)

    mixed = torch.empty(2, 10, channels).double()
    for image in range(2):
        for group in range(groups):
            query, key, value = (
                projected[image, :, split * channels + group * width :][:, :width] for split in range(3)
            )
            for channel in range(width):
                likeness = torch.stack([(query[:, channel] * 10**-0.5) @ key[:, other] for other in range(width)])
                share = likeness.exp() / likeness.exp().sum()
                mixed[image, :, group * width + channel] = sum(share[i] * value[:, i] for i in range(width))

    expected = attention.output(mixed).reshape(2, 2, 5, channels)
    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("rows", "columns"), [(6, 9), (7, 9), (7, 8), (2, 2)])
def test_window_attention_is_that_of_every_window_with_its_padding_unmasked(randomised, rows, columns):
    """A padded place takes part with the projection's bias as its query, key and value."""
    channels, heads, window, width = 8, 2, 3, 4
    attention = randomised(WindowAttention(channels, heads, window))
    x = torch.randn(2, rows, columns, channels).double()

    expected = torch.empty_like(x)
    for image in range(2):
        for top in range(0, rows, window):
            for left in range(0, columns, window):
                places = [(top + i, left + j) for i in range(window) for j in range(window)]
                inside = [row < rows and column < columns for row, column in places]
                projected = torch.stack(
                    [
                        attention.query_key_value(x[image, row, column]) if here else attention.query_key_value.bias
                        for (row, column), here in zip(places, inside, strict=True)
                    ]
                )
                mixed = torch.empty(len(places), channels).double()
                for head in range(heads):
                    query, key, value = (
                        projected[:, split * channels + head * width :][:, :width] for split in range(3)
                    )
                    mixed[:, head * width :][:, :width] = (query @ key.mT * width**-0.5).softmax(dim=-1) @ value
                for place, here, answer in zip(places, inside, attention.output(mixed), strict=True):
                    if here:
                        expected[image, *place] = answer

    torch.testing.assert_close(attention(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("image_size", "window"), [(224, 7), (384, 12), (512, 16)])
def test_no_window_is_cut_at_the_papers_sizes(image_size, window):
    assert all(image_size // 4 // 2**stage % window == 0 for stage in range(4))


def test_a_block_tells_places_before_each_residual_branch(randomised):
    block = randomised(DaViTBlock(8, ChannelAttention(8, 2), drop_rate=0.0))
    x = torch.randn(2, 3, 5, 8).double()
    x_told = block.attention_position(x)
    mixed = x_told + block.attention(block.attention_norm(x_told))
    mixed_told = block.mlp_position(mixed)
    expected = mixed_told + block.mlp(block.mlp_norm(mixed_told))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_the_mlp_widens_four_times_and_uses_the_exact_gelu():
    mlp = DaViTBlock(8, ChannelAttention(8, 2), drop_rate=0.0).mlp
    assert (mlp.first.out_features, mlp.activation.approximate) == (32, "none")


def test_the_positional_encoding_adds_a_3x3_depthwise_convolution(randomised):
    encoding = randomised(PositionalEncoding(8))
    x = torch.randn(2, 3, 5, 8).double()
    convolved = F.conv2d(x.movedim(3, 1), encoding.convolution.weight, encoding.convolution.bias, padding=1, groups=8)
    torch.testing.assert_close(encoding(x), x + convolved.movedim(1, 3), rtol=0, atol=1e-12)


def test_spatial_and_channel_blocks_take_turns():
    model: Any = DaViT(CONFIG)
    kinds = [type(block.attention) for stage in model.body for block in stage.blocks]
    assert kinds == [WindowAttention, ChannelAttention] * sum(CONFIG.depths)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 30), (225, 230)])
def test_the_stem_pads_with_zeros_on_the_right_and_at_the_bottom_to_a_multiple_of_4(randomised, height, width):
    stem = randomised(PatchEmbedding(3, 8, padding="symmetric"))
    images = torch.randn(2, 3, height, width).double()
    padded = F.pad(images, (0, -width % 4, 0, -height % 4))
    convolved = F.conv2d(padded, stem.convolution.weight, stem.convolution.bias, stride=4, padding=3)
    torch.testing.assert_close(stem(images), stem.norm(convolved.movedim(1, 3)), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("side", "before", "after"), [(224, 1, 2), (225, 3, 3), (226, 2, 3), (227, 2, 2)], ids=lambda value: str(value)
)
def test_the_same_padding_of_the_stem_gives_one_patch_for_every_four_pixels_begun(randomised, side, before, after):
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
def test_images_of_any_size_run(height, width, grids):
    with torch.inference_mode():
        maps = DaViT(CONFIG).feature_maps(torch.randn(1, 3, height, width))
    assert [tuple(map.shape[2:]) for map in maps] == grids


def test_the_norm_comes_after_the_pool(randomised):
    model = randomised(DaViT(CONFIG))
    images = torch.randn(2, 3, 64, 96).double()  # 2 x 3 places are left to pool
    expected = model.norm(model.feature_maps(images)[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(model.embed(images), expected, rtol=0, atol=1e-12)


def test_the_other_orders_of_the_head(randomised):
    images = torch.randn(2, 3, 64, 96).double()

    def built(head_order) -> tuple[Any, torch.Tensor]:
        model: Any = randomised(DaViT(replace(CONFIG, head_order=head_order)))
        return model, model.body(model.stem(images))

    model, last = built("norm-pool")
    torch.testing.assert_close(model.embed(images), model.norm(last).mean(dim=(1, 2)), rtol=0, atol=1e-12)
    model, last = built("pool")
    torch.testing.assert_close(model.embed(images), last.mean(dim=(1, 2)), rtol=0, atol=1e-12)
    model, last = built("norms-pool")
    maps = model.feature_maps(images)
    torch.testing.assert_close(maps[-1], model.norm[3](last).movedim(3, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(maps[0], model.norm[0](model.body[0](model.stem(images))).movedim(3, 1))
    torch.testing.assert_close(model.embed(images), maps[-1].mean(dim=(2, 3)), rtol=0, atol=1e-12)


def test_giant_is_built_and_run_without_memory_on_the_meta_device():
    with torch.device("meta"):
        model = DaViT(GIANT)
        logits = model(torch.empty(1, 3, 512, 512))
    assert logits.shape == (1, 1000)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(UserError) as error:
        replace(CONFIG, heads=(1, 3, 3, 4))
    assert str(error.value) == (
        "channels=16 can't be cut into heads=3 of equal width: the published sizes have channels / 32 heads."
    )


def test_a_stage_without_its_depth_is_refused():
    with pytest.raises(UserError) as error:
        replace(CONFIG, depths=(1, 1, 2))
    assert str(error.value) == (
        "channels=(8, 16, 24, 32), depths=(1, 1, 2) and heads=(1, 2, 3, 4) differ in length: "
        "a DaViT has one of each a stage."
    )


def test_a_stage_without_blocks_is_refused():
    with pytest.raises(UserError, match=r"^depths=\(1, 0, 2, 1\) is too small: give at least 1\.$"):
        replace(CONFIG, depths=(1, 0, 2, 1))


def test_an_unknown_merging_kernel_is_refused():
    with pytest.raises(UserError) as error:
        replace(CONFIG, merge_kernel=4)
    assert str(error.value) == "merge_kernel=4 is unknown: 2 is plain and 3 is overlapping merging."
