"""Segmenters: decoders on the feature maps of every family."""

import pytest
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.zoo.architecture import architecture, with_decoder
from mixlab.zoo.timm_models import TimmModel

SIZE = (32, 48)
TINY = {"patch_size": 4, "channels": 16, "token_hidden": 8, "channel_hidden": 16, "depth": 1}
BODIES = {
    "mixer": ("mixer_nano", {"channels": 16, "depth": 1}),
    "convmixer": ("convmixer_nano", {"channels": 16, "depth": 1}),
    "davit": ("davit_nano", {}),
    "attention": ("variant:attention_mixer", TINY),
    "resnet": ("timm:resnet18", {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}),
    "vit": ("timm:plain_vit", {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}),
    "class token": ("timm:vit_tiny_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 2}),
}


def segmenter(body: str, decoder: str = "fpn"):
    name, fields = BODIES[body]
    return with_decoder(architecture(name, image_size=SIZE, **fields), decoder, 8, 3)  # pyright: ignore


@pytest.mark.parametrize("decoder", ["linear", "fpn", "upernet"])
@pytest.mark.parametrize("body", list(BODIES))
def test_logits_have_the_size_of_the_image_and_every_trained_parameter_has_a_gradient(body: str, decoder: str):
    if (body, decoder) == ("davit", "upernet"):  # two maps
        with pytest.raises(UserError, match="UPerNet needs a network with one feature map or at least 3"):
            segmenter(body, decoder)
        return
    model = segmenter(body, decoder).build()
    logits = model(torch.randn(2, 3, *SIZE))
    assert logits.shape == (2, 3, *SIZE)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_a_davit_normalises_each_of_its_maps():
    config = segmenter("davit").config["backbone_config"]
    assert config["head_order"] == "norms-pool"
    assert config["classes"] == 0


def test_the_macs_of_a_segmenter_include_its_decoder():
    linear, fpn = segmenter("mixer", "linear"), segmenter("mixer", "fpn")
    body = architecture("mixer_nano", image_size=SIZE, channels=16, depth=1, classes=0)
    assert body.macs < linear.macs < fpn.macs
    places = 8 * 12
    assert linear.macs - body.macs == places * 16 * 3


def test_the_same_seed_gives_the_same_weights():
    torch.manual_seed(0)
    first = segmenter("convmixer").build().state_dict()
    torch.manual_seed(0)
    for name, tensor in segmenter("convmixer").build().state_dict().items():
        assert torch.equal(tensor, first[name]), name


def test_a_model_without_feature_maps_is_refused():
    model = architecture("timm:plain_vit", image_size=SIZE, **BODIES["vit"][1]).build()
    assert isinstance(model, TimmModel)
    model.network = nn.Flatten()  # every model of timm that the tests build has feature maps
    with pytest.raises(UserError, match="timm returns no feature maps of timm:plain_vit"):
        model.feature_maps(torch.zeros(1, 3, *SIZE))
