"""Tensor names of other programs: conversion in both directions, detection and numbering."""

from pathlib import Path

import pytest
import torch

from mixlab.errors import UserError
from mixlab.weights.formats import Template, added_prefix, detect_format, formats, renumber_layers
from mixlab.zoo.architecture import create_model

MODELS = {
    "mixer": create_model("mixer_nano", depth=11, channels=8, token_hidden=4, channel_hidden=8),
    "convmixer": create_model("convmixer_nano", depth=11, channels=8),
    "davit": create_model("davit_nano", depths=(1, 11), channels=(8, 16), heads=(1, 2)),
}
COUNTS = {"mixer": {"depth": 11}, "convmixer": {"depth": 11}, "davit": {"stages": 2}}
HEADLESS = create_model(
    "davit_nano",
    depths=(1, 2),
    channels=(8, 16),
    heads=(1, 2),
    classes=0,
    channel_attention="florence2",
    head_order="pool",
)
DENSE = create_model("davit_nano", depths=(1, 2), channels=(8, 16), heads=(1, 2), classes=0, head_order="norms-pool")


def named(format: str) -> tuple[list[str], list[str]]:
    """The tensor names of a model in mixlab and in files of the format."""
    table = formats()[format]
    mixlab_names = list((HEADLESS if format == "florence2" else MODELS[table.family]).state_dict())
    return mixlab_names, [table.to_file_name(name, COUNTS[table.family]) for name in mixlab_names]


@pytest.mark.parametrize("format", formats())
def test_every_name_is_converted_in_both_directions(format):
    mixlab_names, file_names = named(format)
    assert [formats()[format].to_mixlab_name(name) for name in file_names] == mixlab_names
    assert len(set(file_names)) == len(file_names)


@pytest.mark.parametrize("format", formats())
def test_a_format_is_detected_from_all_or_half_of_its_names(format):
    _, file_names = named(format)
    assert detect_format(file_names, Path("x")).name == format
    assert detect_format(file_names[len(file_names) // 2 :], Path("x")).name == format


def test_the_dense_backbones_have_a_norm_for_each_stage():
    file_names = [formats()["davit"].to_file_name(name, {}) for name in DENSE.state_dict()]
    assert file_names[-4:] == ["norm0.weight", "norm0.bias", "norm1.weight", "norm1.bias"]
    assert [formats()["davit"].to_mixlab_name(name) for name in file_names] == list(DENSE.state_dict())


@pytest.mark.parametrize(
    ("format", "mixlab_name", "file_name"),
    [
        ("google", "body.10.token_mlp.second.weight", "MixerBlock_10/token_mixing/Dense_1/kernel"),
        ("google", "body.3.channel_norm.weight", "MixerBlock_3/LayerNorm_1/scale"),
        ("convmixer", "body.10.depthwise.2.running_var", "13.0.fn.2.running_var"),
        ("convmixer", "body.10.pointwise.0.bias", "13.1.bias"),
        ("convmixer", "head.weight", "16.weight"),
        ("davit", "body.1.blocks.21.mlp.second.bias", "main_blocks.1.10.1.mlp.fc2.bias"),
        ("davit", "body.1.merge.norm.weight", "patch_embeds.1.norm.weight"),
        (
            "florence2",
            "body.1.blocks.3.attention_norm.bias",
            "vision_tower.blocks.1.1.channel_block.channel_attn.norm.bias",
        ),
        ("timm_davit", "norm.weight", "head.norm.weight"),
        ("mmpretrain_davit", "body.1.merge.norm.weight", "backbone.stages.0.downsample.norm.weight"),
        ("mmpretrain_davit", "norm.bias", "backbone.norm1.bias"),
        (
            "mmpretrain_davit",
            "body.1.blocks.2.attention.output.bias",
            "backbone.stages.1.blocks.1.spatial_block.attn.w_msa.proj.bias",
        ),
        (
            "mmpretrain_davit",
            "body.1.blocks.3.attention.output.bias",
            "backbone.stages.1.blocks.1.channel_block.attn.proj.bias",
        ),
    ],
)
def test_names_are_those_of_the_other_program(format, mixlab_name, file_name):
    table = formats()[format]
    assert table.to_file_name(mixlab_name, COUNTS[table.family]) == file_name


@pytest.mark.parametrize(
    ("timm_name", "format", "model"),
    [
        ("mixer_s32_224", "timm_mixer", "mixer_s32"),
        ("convmixer_768_32", "timm_convmixer", "convmixer_768_32"),
        ("davit_tiny", "timm_davit", "davit_tiny"),
    ],
)
def test_timm_names_are_those_of_timm(timm_name, format, model):
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    with torch.device("meta"):
        timm_tensors, mixlab_model = timm.create_model(timm_name).state_dict(), create_model(model)
    assert {formats()[format].to_mixlab_name(name): tensor.shape for name, tensor in timm_tensors.items()} == {
        name: tensor.shape for name, tensor in mixlab_model.state_dict().items()
    }


@pytest.mark.parametrize("format", [name for name in formats() if not name.startswith(("google", "big_vision"))])
@pytest.mark.parametrize("prefix", ["model.", "net.encoder."])
def test_a_prefix_that_a_program_added_to_a_format_is_found(format, prefix):
    _, names = named(format)
    assert added_prefix([prefix + name for name in names]) == prefix
    assert added_prefix([*(prefix + name for name in names), "criterion.weight"]) == prefix
    assert added_prefix(names) == ""


def test_names_of_other_models_have_no_added_prefix():
    vgg = [f"features.{layer}.{kind}" for layer in (0, 2, 5, 7, 10, 12) for kind in ("weight", "bias")]
    assert added_prefix([*vgg, "classifier.0.weight", "classifier.0.bias"]) == ""
    assert added_prefix(["model.conv1.weight", "model.layer1.0.conv1.weight", "model.fc.bias"]) == ""


def test_unknown_names_are_refused_with_examples():
    with pytest.raises(
        UserError, match=r"w\.pth contains no MLP-Mixer.*layer1\.0\.conv1\.weight.*google, big_vision_legacy"
    ):
        detect_format(["conv1.weight", "layer1.0.conv1.weight", "fc.bias"], Path("w.pth"))


def test_numbers_in_braces_are_shifted_and_multiplied_in_both_directions():
    template = Template("a.{block+3}.{2*pair+1}.")
    assert template.read("a.4.7.weight") == ({"block": 1, "pair": 3}, "weight")
    assert template.write({"block": 1, "pair": 3}) == "a.4.7."
    for other in ("a.2.7.w", "a.4.6.w", "b.4.7.w", "a.x.7.w"):
        assert template.read(other) is None


def test_layer_numbers_of_old_flax_are_converted():
    names = [f"Mixer/encoderblock_{block}/LayerNorm_{norm}/scale" for block in range(11) for norm in (0, 3)]
    assert (
        renumber_layers("Mixer/encoderblock_10/LayerNorm_3/scale", names) == "Mixer/encoderblock_10/LayerNorm_1/scale"
    )
    assert renumber_layers("Mixer/encoderblock_2/LayerNorm_0/scale", names) == "Mixer/encoderblock_2/LayerNorm_0/scale"


def test_kernels_of_flax_are_transposed():
    google = formats()["google"]
    for shape in [(5, 3, 4, 4), (7, 6), (5,)]:
        tensor = torch.randn(shape)
        assert torch.equal(google.from_file(google.to_file(tensor)), tensor)
    assert google.to_file(torch.empty(5, 3, 4, 2)).shape == (4, 2, 3, 5)
    assert google.shape_from_file((196, 384)) == (384, 196)
    assert formats()["big_vision_legacy"].shape_from_file((1, 196, 384)) == (384, 196)
