import pytest
import torch
from torch import nn

import mixlab
from mixlab.export.class_maps import has_class_maps, logits_and_class_maps
from mixlab.models.mixer import Mixer
from mixlab.zoo.architecture import architecture


def _model(name: str, **fields: object) -> nn.Module:
    torch.manual_seed(0)
    model = mixlab.create_model(name, classes=5, image_size=32, **fields).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)  # a head of zeros would make every map 0
    return model


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano"])
def test_the_sum_of_a_class_map_and_the_bias_are_the_logit(name: str) -> None:
    model, images = _model(name), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        logits, maps = logits_and_class_maps(model, images)
        torch.testing.assert_close(logits, model(images))
        bias = model.get_parameter("head.bias")
        torch.testing.assert_close(maps.sum(dim=(2, 3)) + bias, logits)


@pytest.mark.parametrize("order", ["norm-pool", "norms-pool"])
def test_the_norm_of_a_davit_before_pooling_is_respected(order: str) -> None:
    torch.manual_seed(0)
    model = architecture("davit_nano", classes=5, image_size=32, head_order=order).build().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits, _ = logits_and_class_maps(model, images)
        torch.testing.assert_close(logits, model(images))


def test_a_model_without_feature_maps_has_no_class_maps() -> None:
    pytest.importorskip("timm")
    model = mixlab.create_model("timm:resnet18", classes=5).eval()
    assert not has_class_maps(model, torch.zeros(1, 3, 32, 32))


def test_a_model_whose_embedding_is_not_the_mean_of_its_feature_maps_has_no_class_maps() -> None:
    model, images = _model("mixer_nano"), torch.randn(2, 3, 32, 32)
    assert isinstance(model, Mixer)
    assert has_class_maps(model, images)
    model.forward = lambda images: Mixer.forward(model, images).square()
    assert not has_class_maps(model, images)
