"""MetaFormers: the Mixer and the ViT among them, their costs by formula, and which patches each factor mixes."""

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models.attention import SelfAttention
from mixlab.models.contract import height_and_width
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.models.variants.attention_mixer import attention_mixer
from mixlab.models.variants.metaformer import MetaFormer, MetaFormerConfig, metaformer

STEMS, MIXINGS, SHAPES, POSITIONS = (
    ("patch", "convolutions"),
    ("attention", "token-mlp", "depthwise"),
    ("isotropic", "pyramid"),
    ("none", "learned", "sincos"),
)
P, C, D_S, D_C, K = 8, 16, 12, 40, 3
CONFIG = MetaFormerConfig(
    image_size=32, classes=5, mixing="attention", patch_size=P, channels=C, token_hidden=D_S, channel_hidden=D_C,
    kernel_size=K, head_channels=8, depths=(4, 1, 1),
)  # fmt: skip


def build(**fields: Any) -> MetaFormer:
    return metaformer(replace(CONFIG, **fields))


def permuted_patches(images: Tensor, order: Tensor) -> Tensor:
    patches = rearrange(images, "b c (row i) (column j) -> b c (row column) i j", i=P, j=P)[:, :, order]
    return rearrange(patches, "b c (row column) i j -> b c (row i) (column j)", row=images.shape[2] // P)


def reach(module: nn.Module, patches: int) -> Tensor:
    """Whether a patch (row) has an effect on another one (column): (patch, patch)."""
    x = torch.randn(1, patches, C, dtype=torch.float64, requires_grad=True)
    outputs = module(x).sum(dim=-1).flatten()
    gradients = [torch.autograd.grad(output, x, retain_graph=True)[0].abs().amax(dim=-1)[0] for output in outputs]
    return torch.stack(gradients, dim=1) > 0


def named_as_metaformer(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a Mixer or of an attention Mixer by the names of an isotropic MetaFormer."""
    names = (
        ("stem.", "stem.convolutions."),
        ("body.", "body.0.blocks."),
        ("token_mlp.", "mixing.mlp."),
        (".attention.", ".mixing."),
    )
    renamed = {}
    for name, tensor in weights.items():
        for theirs, ours in names:
            name = name.replace(theirs, ours)
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize(("mixing", "family"), [("token-mlp", Mixer), ("attention", attention_mixer)])
@pytest.mark.parametrize("image_size", [32, 64, (16, 40)])
def test_with_the_weights_of_a_mixer_the_logits_are_those_of_the_mixer(mixing, family, image_size, randomised):
    mixer = randomised(
        family(MixerConfig(image_size=image_size, classes=5, patch_size=P, channels=C, token_hidden=D_S,
                           channel_hidden=D_C, depth=6))
    )  # fmt: skip
    model = build(mixing=mixing, image_size=image_size, head_channels=C).double().eval()
    model.load_state_dict(named_as_metaformer(mixer.state_dict()))
    images = torch.randn(2, 3, *height_and_width(image_size), dtype=torch.float64)
    torch.testing.assert_close(model(images), mixer(images), rtol=0, atol=1e-12 * mixer(images).abs().max().item())


def test_with_the_same_seed_the_initial_weights_are_those_of_the_mixer():
    torch.manual_seed(3)
    mixer = Mixer(
        MixerConfig(image_size=32, classes=5, patch_size=P, channels=C, token_hidden=D_S, channel_hidden=D_C, depth=6)
    )
    torch.manual_seed(3)
    weights = build(mixing="token-mlp").state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in named_as_metaformer(mixer.state_dict()).items())


@pytest.mark.parametrize("position", ["sincos", "learned"])
def test_with_the_weights_of_timm_s_vit_the_logits_are_those_of_timm_s_vit(position, randomised):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    from timm.models.vision_transformer import VisionTransformer

    from mixlab.zoo.timm_models import plain_vit

    sizes: Any = {"img_size": 32, "patch_size": P, "embed_dim": C, "depth": 6, "num_heads": 2, "num_classes": 5}
    theirs: Any = (
        plain_vit(**sizes, in_chans=3)
        if position == "sincos"
        else VisionTransformer(**sizes, class_token=False, global_pool="avg", fc_norm=False)
    )
    ours: Any = build(position=position, channel_hidden=4 * C, gelu="erf").double().eval()
    if position == "sincos":
        torch.testing.assert_close(ours.stem.position.embedding.float(), theirs.pos_embed[0], rtol=0, atol=1e-6)
    layers = randomised(theirs).state_dict()  # in the same order, after the position embedding
    embedding = layers.pop("pos_embed")[0]
    names = [name for name in ours.state_dict() if "position" not in name]
    renamed = dict(zip(names, layers.values(), strict=True))
    ours.load_state_dict(renamed | {"stem.position.embedding": embedding})
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = theirs(images)
    torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-12 * expected.abs().max().item())


STEM_CONVOLUTIONS = {  # of images of 32 x 32 pixels: channels in, channels out, kernel, positions out
    ("patch", "isotropic"): [(3, C, 8, 16)],
    ("patch", "pyramid"): [(3, C // 2, 4, 64)],
    ("convolutions", "isotropic"): [(3, C // 8, 3, 256), (C // 8, C // 4, 3, 64), (C // 4, C, 3, 16)],
    ("convolutions", "pyramid"): [(3, C // 8, 3, 256), (C // 8, C // 2, 3, 64)],
}
STAGES = {  # patches, channels, token_hidden, channel_hidden, depth
    "isotropic": [(16, C, D_S, D_C, 6)],
    "pyramid": [(64, C // 2, D_S // 2, D_C // 2, 4), (16, C, D_S, D_C, 1), (4, 2 * C, 2 * D_S, 2 * D_C, 1)],
}


def costs_of_mixing(mixing: str, s: int, c: int, d_s: int) -> tuple[int, int]:
    match mixing:
        case "attention":
            return 4 * c * (c + 1), 4 * c * c * s + 2 * s * s * c
        case "token-mlp":
            return 2 * s * d_s + d_s + s, 2 * s * d_s * c
        case _:
            return (K**2 + 1) * c, K**2 * c * s


@pytest.mark.parametrize(("stem", "mixing", "shape"), list(product(STEMS, MIXINGS, SHAPES)))
def test_parameters_and_multiply_accumulates_are_those_of_the_formulas(stem, mixing, shape):
    convolutions, stages = STEM_CONVOLUTIONS[stem, shape], STAGES[shape]
    parameters = sum((kernel**2 * c_in + 1) * c_out for c_in, c_out, kernel, _ in convolutions)
    parameters += sum(2 * c_out for _, c_out, _, _ in convolutions[:-1])  # norms
    macs = sum(kernel**2 * c_in * c_out * positions for c_in, c_out, kernel, positions in convolutions)
    for s, c, d_s, d_c, depth in stages:
        mixing_parameters, mixing_macs = costs_of_mixing(mixing, s, c, d_s)
        parameters += depth * (4 * c + mixing_parameters + 2 * c * d_c + d_c + c)
        macs += depth * (mixing_macs + 2 * c * d_c * s)
    for (_, finer, *_), (s, c, *_) in pairwise(stages):  # pooling
        parameters += 2 * finer + (finer + 1) * c
        macs += finer * c * s
    last = stages[-1][1]
    model = build(stem=stem, mixing=mixing, shape=shape)
    assert count_parameters(model) == parameters + 2 * last + (last + 1) * 5
    assert count_macs(model, (3, 32, 32)) == macs + last * 5


@pytest.mark.parametrize("shape", SHAPES)
def test_only_a_learned_position_embedding_has_parameters(shape):
    none, learned, fixed = (count_parameters(build(shape=shape, position=position)) for position in POSITIONS)
    patches, channels, *_ = STAGES[shape][0]
    assert (learned - none, fixed - none) == (patches * channels, 0)


@pytest.mark.parametrize(("depths", "image_size"), [((4, 1, 1), 32), ((8, 3, 2), 64)])
def test_a_pyramid_has_the_weights_and_the_cost_of_the_isotropic_network_in_its_channel_mlps(depths, image_size):
    stages = {shape: replace(CONFIG, shape=shape, depths=depths, image_size=image_size).stages for shape in SHAPES}

    def cost(shape: str) -> tuple[int, int]:
        weights = [stage.depth * 2 * stage.channels * stage.channel_hidden for stage in stages[shape]]
        grids = [stage.grid[0] * stage.grid[1] for stage in stages[shape]]
        return sum(weights), sum(weight * patches for weight, patches in zip(weights, grids, strict=True))

    assert cost("pyramid") == cost("isotropic")


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("mixing", MIXINGS)
def test_only_attention_without_position_embedding_is_invariant_to_the_order_of_patches(mixing, position, randomised):
    model = randomised(build(mixing=mixing, position=position))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    logits = model(images)
    permuted = model(permuted_patches(images, torch.randperm(16)))
    is_invariant = torch.allclose(permuted, logits, rtol=0, atol=1e-9 * logits.abs().max().item())
    assert is_invariant == (mixing == "attention" and position == "none")


@pytest.mark.parametrize("mixing", ["attention", "token-mlp"])
def test_attention_and_the_token_mlp_mix_all_patches(mixing, randomised):
    assert reach(randomised(build(mixing=mixing)).body[0].blocks[0].mixing, patches=16).all()


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_depthwise_convolution_mixes_the_patches_of_its_kernel(kernel_size, randomised):
    mixing = randomised(build(mixing="depthwise", image_size=64, kernel_size=kernel_size)).body[0].blocks[0].mixing
    places = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    distance = (places[:, None] - places).abs().amax(dim=-1)
    assert torch.equal(reach(mixing, patches=64), distance <= kernel_size // 2)


@pytest.mark.parametrize(("stem", "is_local"), [("patch", True), ("convolutions", False)])
def test_a_token_of_the_stem_depends_on_pixels_of_other_patches_only_with_convolutions(stem, is_local, randomised):
    model = randomised(build(stem=stem))
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    before = model.stem(images)
    images[:, :, 8:16, 8:16] = 0.0  # the patch at row 1, column 1
    changed = (model.stem(images) != before).any(dim=-1)[0].unflatten(0, (4, 4))
    assert changed[1, 1]
    assert (changed.sum() == 1) == is_local


@pytest.mark.parametrize("image_size", [32, 64, (32, 48)])
@pytest.mark.parametrize(("stem", "mixing"), list(product(STEMS, MIXINGS)))
def test_feature_maps_have_the_grids_and_the_widths_of_the_stages(stem, mixing, image_size):
    height, width = height_and_width(image_size)
    images = torch.zeros(2, 3, height, width)
    isotropic = build(stem=stem, mixing=mixing, image_size=image_size)
    pyramid = build(stem=stem, mixing=mixing, image_size=image_size, shape="pyramid")
    assert [map.shape for map in isotropic.feature_maps(images)] == [(2, C, height // P, width // P)]
    assert [map.shape for map in pyramid.feature_maps(images)] == [
        (2, C // 2, 2 * height // P, 2 * width // P),
        (2, C, height // P, width // P),
        (2, 2 * C, height // P // 2, width // P // 2),
    ]


def test_pooling_averages_the_patches_of_each_2_by_2_square(randomised):
    merge = randomised(build(shape="pyramid")).body[1].merge
    x = torch.randn(2, 64, C // 2, dtype=torch.float64)
    grid = merge.norm(x).mT.unflatten(2, (8, 8))
    pooled = nn.functional.avg_pool2d(grid, 2).flatten(2).mT
    torch.testing.assert_close(merge(x), merge.linear(pooled), rtol=0, atol=1e-12)


def test_self_attention_is_torch_s(randomised):
    ours = randomised(SelfAttention(12, heads=3))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64).eval()
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    theirs.load_state_dict(dict(zip(names, ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=0, atol=1e-12 * ours(x).abs().max().item())


def test_the_head_is_0_at_first_and_learned_positions_have_a_small_deviation():
    model = build(position="learned", image_size=128, channels=64)
    assert not model.get_parameter("head.weight").any()
    assert model.get_parameter("stem.position.embedding").std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": "conv"}, 'stem="conv" is not supported: it must be one of patch, convolutions.'),
        ({"mixing": "mlp"}, 'mixing="mlp" is not supported: it must be one of attention, token-mlp, depthwise.'),
        ({"shape": "flat"}, 'shape="flat" is not supported: it must be one of isotropic, pyramid.'),
        ({"position": "fixed"}, 'position="fixed" is not supported: it must be one of none, learned, sincos.'),
        ({"kernel_size": 0}, "kernel_size=0 is out of range: it must be at least 1."),
        ({"depths": (4, 0, 1)}, "depths=(4, 0, 1) is out of range: it must be at least 1."),
        (
            {"image_size": 36},
            "image_size=36 is not a multiple of 8, the patches of the last stage in pixels: change image_size or "
            "patch_size.",
        ),
        (
            {"image_size": 40, "shape": "pyramid"},
            "image_size=40 is not a multiple of 16, the patches of the last stage in pixels: change image_size or "
            "patch_size.",
        ),
        (
            {"depths": (4, 1), "shape": "pyramid"},
            "depths=(4, 1) is not valid: a pyramid has three stages, such as depths=(4, 1, 1).",
        ),
        (
            {"channel_hidden": 41, "shape": "pyramid"},
            "channel_hidden=41 is odd: the first stage of a pyramid has half of it. Change it to 42.",
        ),
        (
            {"image_size": 24, "patch_size": 6, "stem": "convolutions"},
            'stem="convolutions" can\'t reach patches of 6 pixels: each convolution halves the grid, so the patches of '
            "the first stage must be 2, 4, 8, ... pixels.",
        ),
        (
            {"head_channels": 12},
            "The first stage has 16 channels, which is not a multiple of head_channels=12: all heads have the same "
            "width. Change one of them.",
        ),
        (
            {"channels": 18, "position": "sincos", "mixing": "depthwise"},
            'position="sincos" needs a multiple of 4 channels, and the first stage has 18: change channels.',
        ),
    ],
)
def test_an_impossible_network_is_an_error(fields, message, no_shape_checks):
    with pytest.raises(UserError) as error:
        replace(CONFIG, **fields)
    assert str(error.value) == message


def test_images_of_another_size_are_an_error():
    with pytest.raises(UserError) as error:
        build()(torch.zeros(1, 3, 64, 32))
    assert str(error.value) == (
        "This MetaFormer needs images of 32 x 32 pixels, but got 64 x 32: resize the images, or build the model with "
        "image_size=(64, 32)."
    )
