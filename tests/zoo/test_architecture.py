"""Architectures by name: models of mixlab and timm, and errors for models that can't be built."""

import json
import sys
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.convmixer import ConvMixer
from mixlab.models.davit import DaViTConfig
from mixlab.models.mixer import Mixer
from mixlab.zoo.architecture import architecture, classifies_embeddings, create_model, embed_and_classify, of_family
from mixlab.zoo.timm_models import TimmModel

SMALL_VIT = "timm:vit_tiny_patch16_224:img_size=16:patch_size=8:depth=1"


def test_a_field_overrides_the_config_of_a_size() -> None:
    model = create_model("convmixer_nano", depth=1, classes=3, image_channels=1)
    assert isinstance(model, ConvMixer)
    assert (model.config.depth, model.config.classes, model.config.kernel_size) == (1, 3, 5)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_a_list_from_toml_becomes_a_tuple() -> None:
    model = create_model("davit_nano", image_size=[32, 48], channels=[32, 64])
    assert isinstance(model.config, DaViTConfig)
    assert (model.config.image_size, model.config.channels) == ((32, 48), (32, 64))


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", SMALL_VIT])
def test_a_config_restored_from_json_builds_the_same_model(name: str) -> None:
    model = create_model(name, classes=4)
    config = json.loads(json.dumps(asdict(model.config)))
    again = of_family(name, architecture(name).family, config).build()
    assert [tensor.shape for tensor in again.parameters()] == [tensor.shape for tensor in model.parameters()]
    assert again.config.image_size == model.config.image_size


@pytest.mark.parametrize("name", ["mixer_nano", "davit_nano", "resnet_nano", SMALL_VIT, "timm:test_efficientnet"])
def test_embeddings_and_logits_are_those_of_the_model(name: str) -> None:
    model = create_model(name, classes=4).eval()
    head = model.network.get_classifier() if isinstance(model, TimmModel) else model.head
    nn.init.normal_(head.get_parameter("weight"))
    images = torch.rand(2, 3, *height_and_width(model.config.image_size))
    embeddings, logits = embed_and_classify(model, images)
    assert torch.equal(embeddings, model.embed(images)) and torch.equal(logits, model(images))
    assert logits.std() > 0 and classifies_embeddings(model)


def test_a_model_without_the_anatomy_does_not_classify_embeddings() -> None:
    model = create_model("mixer_nano").eval()
    assert isinstance(model, Mixer)
    nn.init.normal_(model.head.get_parameter("weight"))
    assert classifies_embeddings(model)
    model.forward = lambda images: 2 * model.head(model.embed(images))
    assert not classifies_embeddings(model)
    del model.head
    assert not classifies_embeddings(model)


def test_an_unknown_field_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        UserError, match=r'"depht" is not a field of MixerConfig: its fields are .*Did you mean "depth"'
    ):
        create_model("mixer_nano", depht=2)


def test_a_string_in_place_of_a_number_is_refused() -> None:
    with pytest.raises(UserError, match=r"depth='four' is not valid: .*integer"):
        create_model("mixer_nano", depth="four")


def test_errors_of_the_config_class_are_not_changed() -> None:
    with pytest.raises(UserError, match=r"image_size=30 is not a multiple of patch_size=4"):
        create_model("mixer_nano", image_size=30)


@pytest.mark.parametrize(
    ("name", "family", "image_size"),
    [("davit_large", "davit", 384), ("vit_nano", "timm", 32), (SMALL_VIT, "timm", 16), ("timm:resnet18", "timm", 224)],
)
def test_family_and_image_size_are_inferred_from_the_name(name: str, family: str, image_size: int) -> None:
    assert (architecture(name).family, architecture(name).image_size) == (family, image_size)


def test_a_timm_model_accepts_field_names_of_mixlab_and_of_timm() -> None:
    model = create_model(SMALL_VIT, classes=5, image_channels=1)
    assert isinstance(model, TimmModel)
    assert (model.config.image_size, model.config.classes) == (16, 5)
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 5)


def test_an_argument_overrides_a_field_in_the_name() -> None:
    assert create_model(SMALL_VIT, image_size=32).config.image_size == 32


@pytest.mark.parametrize("name", ["timm:resnet18", "resnet_nano"])
def test_the_config_can_not_replace_the_timm_model_in_the_name(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"^{name} can't be built with config.name='resnet34': remove it, or use timm:resnet34"
    ):
        architecture(name, name="resnet34")
    assert architecture("timm:resnet18", name="resnet18").config["name"] == "resnet18"


@pytest.mark.parametrize("name", ["resnet_nano", SMALL_VIT])
def test_the_embedding_of_a_timm_model_is_the_input_of_its_head(name: str) -> None:
    model = create_model(name).eval()
    assert isinstance(model, TimmModel)
    images = torch.rand(2, 3, *height_and_width(model.config.image_size))
    with torch.no_grad():
        assert torch.equal(model.network.get_classifier()(model.embed(images)), model(images))


def test_the_stem_of_the_small_resnet_does_not_reduce_the_image_size() -> None:
    model = create_model("resnet_nano")
    assert isinstance(model, TimmModel)
    stem = model.network.maxpool(model.network.conv1(torch.zeros(1, 3, 32, 32)))
    assert model.network.conv1.kernel_size == (3, 3)
    assert stem.shape == (1, 16, 32, 32)


def test_random_weights_depend_on_the_seed() -> None:
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(nn.utils.parameters_to_vector(create_model("resnet_nano").parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm:resnet81", 'timm has no model "resnet81": .* Did you mean "resnet18"'),
        ("timm:resnet18.a1_in1k", 'without a tag, .* Did you mean "resnet18"'),
        ("timm:hf-hub:someone/something", 'timm has no model "hf-hub"'),
        ("timm:resnet18:pretrained=true", '"pretrained" is not a field of timm:resnet18: its fields are '),
        ("timm:vit_tiny_patch16_224:dept=1", '"dept" is not a field of timm:vit_tiny_patch16_224: Did you mean "depth'),
        ("timm:vit_tiny_patch16_224:depth", '"depth" is not an assignment: .* such as img_size=32'),
        ("timm:vit_tiny_patch16_224:num_heads=5", "can't be built with .*num_heads=5: timm raises .*divisible"),
        ("timm:bit:layers=[1,1,1,1]", "can't be built with .*: timm raises .*width_factor"),
    ],
)
def test_a_model_that_timm_can_not_build_is_a_user_error(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        create_model(name)


def test_without_timm_the_error_has_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r'run `pip install "mixlab\[baselines\]"`'):
        create_model("vit_nano")


def test_the_small_vit_has_fixed_positions_and_no_class_token() -> None:
    network: Any = create_model("vit_nano").network
    assert "pos_embed" not in dict(network.named_parameters())
    assert "pos_embed" in network.state_dict()
    assert network.pos_embed.shape == (1, 64, 64)
    assert network.cls_token is None
    assert torch.equal(network.head.weight, torch.zeros_like(network.head.weight))  # as in the paper's code


def test_the_positions_of_the_small_vit_are_sines_and_cosines_of_row_and_column() -> None:
    network: Any = create_model("vit_nano").network
    positions = network.pos_embed[0].reshape(8, 8, 64)
    angles = torch.arange(8)[:, None] * 10_000 ** -(torch.arange(16) / 16)
    sin_row, sin_column, cos_row, cos_column = positions.split(16, dim=-1)
    for column in range(8):
        torch.testing.assert_close(sin_row[:, column], angles.sin())
        torch.testing.assert_close(cos_row[:, column], angles.cos())
    for row in range(8):
        torch.testing.assert_close(sin_column[row], angles.sin())
        torch.testing.assert_close(cos_column[row], angles.cos())


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("mixer_nano", "stochastic_depth"),
        ("davit_nano", "stochastic_depth"),
        ("convmixer_nano", None),
        ("resnet_nano", "drop_path_rate"),
        ("vit_nano", "drop_path_rate"),
        ("timm:resnet18", "drop_path_rate"),
    ],
)
def test_the_field_of_stochastic_depth_has_the_name_of_mixlab_or_timm(name: str, field: str | None) -> None:
    assert architecture(name).stochastic_depth_field == field
