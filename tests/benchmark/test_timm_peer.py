"""timm's models compute the same function as those of mixlab with the same weights."""

import pytest
import torch
from torch import nn

from mixlab.benchmark.timm_peer import timm_network
from mixlab.zoo.architecture import architecture

SMALL = [
    ("mixer_nano", {"depth": 2}),
    ("mixer_nano", {"depth": 2, "gelu": "erf"}),
    ("convmixer_nano", {"depth": 2}),
    ("convmixer_nano", {"depth": 2, "activation": "relu"}),
    ("davit_nano", {}),
]


@pytest.mark.parametrize(("name", "fields"), SMALL)
def test_the_peer_computes_the_same_logits(name, fields):
    model = architecture(name, **fields)
    ours, theirs = model.build().eval(), timm_network(model)
    assert theirs is not None
    nn.init.normal_(ours.get_submodule("head").get_parameter("weight"))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(images), ours(images))


def test_the_peer_of_a_timm_model_is_that_model():
    network = timm_network(architecture("timm:resnet18"))
    assert type(network).__module__ == "timm.models.resnet"


def test_variants_have_no_peer():
    fields = {"image_size": 8, "patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 1}
    assert timm_network(architecture("variant:attention_mixer", **fields)) is None
