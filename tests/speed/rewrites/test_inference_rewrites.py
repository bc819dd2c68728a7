"""Rewrites for inference: the same outputs in float64, on images whose borders matter, for every family."""

import pytest
import torch
from torch import nn

from mixlab.models.convmixer import ConvMixer
from mixlab.speed.rewrites.inference_rewrites import rewrite
from mixlab.zoo.architecture import Model, create_model


def trained(name: str, **fields: object) -> Model:
    """A model in float64 with random norms and a random head, as if it were trained."""
    model = create_model(name, **fields).double().eval()
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 2.0)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.weight, -2.0, -0.5)
    return model


CONVMIXER = {"depth": 3, "channels": 12, "patch_size": 3}
MIXER = {"depth": 2, "channels": 16, "token_hidden": 12, "channel_hidden": 20, "patch_size": 8}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel_size", [3, 4, 9])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_batch_norms_are_folded_exactly_although_the_convolutions_pad_with_zeros(kernel_size: int, activation: str):
    model = trained("convmixer_nano", **CONVMIXER, kernel_size=kernel_size, activation=activation)
    images = torch.randn(2, 3, 17, 32, dtype=torch.float64)
    expected = model(images)
    rewritten, names = rewrite(model, (3, 17, 32))
    assert names == ("BatchNorm folded", "packed linear layers")
    assert sum(isinstance(module, nn.BatchNorm2d) for module in rewritten.modules()) == 1, "the last norm remains"
    torch.testing.assert_close(rewritten(images), expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(model(images), expected), "the model itself is not changed"


def test_the_feature_maps_of_a_folded_convmixer_are_those_of_the_model():
    model = trained("convmixer_nano", **CONVMIXER)
    images = torch.randn(2, 3, 12, 15, dtype=torch.float64)
    rewritten, _ = rewrite(model, (3, 12, 15))
    assert isinstance(model, ConvMixer) and isinstance(rewritten, ConvMixer)
    torch.testing.assert_close(rewritten.feature_maps(images), model.feature_maps(images), rtol=1e-10, atol=1e-10)


def test_a_norm_with_a_scale_of_zero_is_not_folded():
    model = trained("convmixer_nano", **CONVMIXER)
    norm = model.get_submodule("body.0.pointwise.2")
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight[:1])
    assert rewrite(model, (3, 32, 32))[1] == ("packed linear layers",)


def test_a_convmixer_with_another_stem_is_not_folded():
    model = trained("convmixer_nano", **CONVMIXER)
    assert isinstance(model, ConvMixer)
    model.stem = nn.Sequential(*list(model.stem)[:2])
    assert rewrite(model, (3, 32, 32))[1] == ("packed linear layers",)


def test_models_without_batch_norms_have_their_linear_layers_packed():
    names = ("davit_nano", "mixer_nano", "variant:attention_mixer")
    fields = {name: {} if name == "davit_nano" else {**MIXER, "image_size": 32} for name in names}
    models = [create_model(name, **fields[name]).eval() for name in names]
    assert [rewrite(model, (3, 32, 32))[1] for model in models] == [("packed linear layers",)] * 3


def test_a_model_inside_another_module_is_rewritten():
    model = trained("mixer_nano", **MIXER)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    rewritten, names = rewrite(nn.Sequential(model, nn.Softmax(1)).eval(), (3, 32, 32))
    assert names == ("packed linear layers",)
    torch.testing.assert_close(rewritten(images), model(images).softmax(1), rtol=1e-10, atol=1e-10)
