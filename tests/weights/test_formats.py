"""Other people's names for our tensors: there and back, recognised, numbered as they number."""

from pathlib import Path

import pytest
import torch

from mixlab.errors import UserError
from mixlab.weights.formats import Template, detect_format, formats, renumbered
from mixlab.zoo.architecture import create_model

MODELS = {
    "mixer": create_model("mixer_nano", depth=11, channels=8, token_hidden=4, channel_hidden=8),
    "convmixer": create_model("convmixer_nano", depth=11, channels=8),
    "davit": create_model("davit_nano", depths=(1, 11), channels=(8, 16), heads=(1, 2)),
}
NUMBERS = {"mixer": {"depth": 11}, "convmixer": {"depth": 11}, "davit": {"stages": 2}}
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
    """Our names of a model, and the format's."""
    table = formats()[format]
    ours = list((HEADLESS if format == "florence2" else MODELS[table.family]).state_dict())
    return ours, [table.theirs(name, NUMBERS[table.family]) for name in ours]


@pytest.mark.parametrize("format", formats())
def test_every_name_goes_there_and_comes_back(format):
    ours, theirs = named(format)
    assert [formats()[format].ours(name) for name in theirs] == ours
    assert len(set(theirs)) == len(theirs)


@pytest.mark.parametrize("format", formats())
def test_a_format_is_recognised_by_its_names_and_by_half_of_them(format):
    _, theirs = named(format)
    assert detect_format(theirs, Path("x")).name == format
    assert detect_format(theirs[len(theirs) // 2 :], Path("x")).name == format


def test_the_dense_backbones_have_a_norm_for_each_stage():
    theirs = [formats()["davit"].theirs(name, {}) for name in DENSE.state_dict()]
    assert theirs[-4:] == ["norm0.weight", "norm0.bias", "norm1.weight", "norm1.bias"]
    assert [formats()["davit"].ours(name) for name in theirs] == list(DENSE.state_dict())


@pytest.mark.parametrize(
    ("format", "ours", "theirs"),
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
def test_names_as_the_other_programs_have_them(format, ours, theirs):
    table = formats()[format]
    assert table.theirs(ours, NUMBERS[table.family]) == theirs


@pytest.mark.parametrize(
    ("timm_name", "format", "model"),
    [
        ("mixer_s32_224", "timm_mixer", "mixer_s32"),
        ("convmixer_768_32", "timm_convmixer", "convmixer_768_32"),
        ("davit_tiny", "timm_davit", "davit_tiny"),
    ],
)
def test_timm_s_names_are_timm_s(timm_name, format, model):
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    with torch.device("meta"):
        theirs, ours = timm.create_model(timm_name).state_dict(), create_model(model)
    assert {formats()[format].ours(name): tensor.shape for name, tensor in theirs.items()} == {
        name: tensor.shape for name, tensor in ours.state_dict().items()
    }


def test_names_of_nobody_known_are_refused_with_some_of_them():
    with pytest.raises(
        UserError, match=r"w\.pth holds no MLP-Mixer.*layer1\.0\.conv1\.weight.*google, big_vision_legacy"
    ):
        detect_format(["conv1.weight", "layer1.0.conv1.weight", "fc.bias"], Path("w.pth"))


def test_numbers_in_braces_are_shifted_and_multiplied_both_ways():
    template = Template("a.{block+3}.{2*pair+1}.")
    assert template.read("a.4.7.weight") == ({"block": 1, "pair": 3}, "weight")
    assert template.write({"block": 1, "pair": 3}) == "a.4.7."
    for other in ("a.2.7.w", "a.4.6.w", "b.4.7.w", "a.x.7.w"):
        assert template.read(other) is None


def test_the_old_numbers_of_flax_are_counted_anew_beside_each_other():
    names = [f"Mixer/encoderblock_{block}/LayerNorm_{norm}/scale" for block in range(11) for norm in (0, 3)]
    assert renumbered("Mixer/encoderblock_10/LayerNorm_3/scale", names) == "Mixer/encoderblock_10/LayerNorm_1/scale"
    assert renumbered("Mixer/encoderblock_2/LayerNorm_0/scale", names) == "Mixer/encoderblock_2/LayerNorm_0/scale"


def test_flax_has_its_kernels_the_other_way_round():
    google = formats()["google"]
    for shape in [(5, 3, 4, 4), (7, 6), (5,)]:
        tensor = torch.randn(shape)
        assert torch.equal(google.from_file(google.into_file(tensor)), tensor)
    assert google.into_file(torch.empty(5, 3, 4, 2)).shape == (4, 2, 3, 5)
    assert google.shape_from_file((196, 384)) == (384, 196)
    assert formats()["big_vision_legacy"].shape_from_file((1, 196, 384)) == (384, 196)
