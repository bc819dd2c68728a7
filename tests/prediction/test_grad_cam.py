"""Grad-CAM: maps of all families, their sum, and models without a map."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.prediction.grad_cam import grad_cam_map, split_at_map
from mixlab.zoo.architecture import architecture, create_model

pytestmark = pytest.mark.skipif(not find_spec("captum"), reason='needs captum: pip install "mixlab[explain]"')


def randomised(model):
    """In evaluation mode, with other norms than the identity and with a head that is not 0."""
    for name, parameter in model.named_parameters():
        if "norm" in name or name.startswith("head"):
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    return model.eval()


def tiny(name, **fields):
    return randomised(create_model(name, image_size=32, classes=4, **fields))


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano"])
def test_the_values_add_up_to_the_logit_without_its_bias_if_the_head_follows_the_mean(name):
    model, image = tiny(name, depth=2), torch.randn(1, 3, 32, 32)
    found = grad_cam_map(split_at_map(model, None), image, 2)
    expected = model(image)[0, 2] - model.get_parameter("head.bias")[2]
    assert found.values.shape == (8, 8)
    assert found.values.sum() == pytest.approx(expected.item(), rel=1e-4)


def test_the_map_of_a_convmixer_is_that_of_captum_at_its_last_layer():
    from captum.attr import LayerGradCam

    model, image = tiny("convmixer_nano", depth=1), torch.randn(1, 3, 32, 32)
    expected: Any = LayerGradCam(model, model.get_submodule("norm")).attribute(image, target=1)
    found = grad_cam_map(split_at_map(model, None), image, 1)
    torch.testing.assert_close(torch.from_numpy(found.values), expected[0, 0].detach())


@pytest.mark.parametrize("head_order", ["pool-norm", "norm-pool", "norms-pool", "pool"])
@pytest.mark.parametrize("stage", [None, 1, 2])
def test_a_davit_has_a_map_for_each_stage_that_leads_to_its_logits(head_order, stage):
    config = DaViTConfig(image_size=40, classes=4, channels=(32, 64), depths=(1, 1), heads=(1, 2), window=4)
    model = randomised(DaViT(DaViTConfig(**{**vars(config), "head_order": head_order})))
    if head_order == "norms-pool" and stage == 1:  # the map is normalised beside the way to the logits
        with pytest.raises(UserError, match="Stage 1 of this model has no feature map from which its logits"):
            split_at_map(model, stage)
        return
    split, image = split_at_map(model, stage), torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(split(image), model(image), rtol=1e-4, atol=1e-4)
    assert grad_cam_map(split, image, 0).values.shape == ((10, 10) if stage == 1 else (5, 5))


def test_an_earlier_stage_is_weighted_by_the_mean_gradient_over_its_places():
    model: Any = tiny("davit_nano", depths=(1, 1))
    image = torch.randn(1, 3, 32, 32)
    first = model.stem(image)
    x = model.body[0](first).detach().requires_grad_()
    model.head(model.norm(model.body[1](x).mean(dim=(1, 2))))[0, 3].backward()
    assert x.grad is not None
    expected = (x * x.grad.mean(dim=(1, 2), keepdim=True)).sum(dim=3)[0]
    found = grad_cam_map(split_at_map(model, 1), image, 3)
    torch.testing.assert_close(torch.from_numpy(found.values), expected.detach())


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("resnet_nano", (4, 4)),
        ("vit_nano", (8, 8)),  # tokens without a class token
        ("timm:gmixer_12_224:img_size=64", (4, 4)),
        ("timm:convnext_atto", (7, 7)),
        ("timm:swin_tiny_patch4_window7_224:depths=[1,1,1,1]", (7, 7)),  # channels last
        (
            "variant:metaformer:mixing=depthwise:patch_size=8:channels=16:channel_hidden=16:depths=[1]:classes=4",
            (28, 28),
        ),
        (
            "variant:attention_mixer:image_size=16:patch_size=4:channels=32:token_hidden=8:channel_hidden=16:depth=1",
            (4, 4),
        ),
    ],
)
def test_other_models_with_a_map_have_one(name, grid):
    model = architecture(name).build()
    if not name.startswith("timm"):
        randomised(model)
    model.eval()
    image = torch.randn(1, 3, *height_and_width(model.config.image_size))
    split = split_at_map(model, None)
    torch.testing.assert_close(split(image), model(image), rtol=1e-4, atol=1e-4)
    assert grad_cam_map(split, image, 0).values.shape == grid


@dataclass(frozen=True)
class FlatConfig:
    image_size: int = 8
    image_channels: int = 3
    classes: int = 2


class Flat(nn.Module):
    """A linear model without feature maps."""

    def __init__(self):
        super().__init__()
        self.config = FlatConfig()
        self.head = nn.Linear(192, 2)

    def forward(self, images):
        return self.head(images.flatten(1))


class Shifted(Flat):
    """A model whose logits are not those of its feature map."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Identity()
        self.head = nn.Linear(3, 2)

    def feature_maps(self, images):
        return (images,)

    def forward(self, images):
        return self.head(images.amax(dim=(2, 3)))


@pytest.mark.parametrize("model", [Flat(), Shifted()], ids=["without a map", "with another way to the logits"])
def test_a_model_without_a_map_that_leads_to_its_logits_is_refused(model):
    with pytest.raises(UserError, match=r"This model has no feature map from which its logits are computed.*occlusion"):
        split_at_map(model.eval(), None)


def test_a_vit_with_a_class_token_is_refused():
    model = create_model("timm:vit_tiny_patch16_224", img_size=32, depth=1, classes=4).eval()
    with pytest.raises(UserError, match="use --method occlusion, which works for every model"):
        split_at_map(model, None)


def test_a_stage_that_does_not_exist_is_an_error():
    with pytest.raises(UserError, match="--stage 3 is out of range: this DaViT has the stages 1 to 2"):
        split_at_map(tiny("davit_nano"), 3)
    with pytest.raises(UserError, match="--stage is only possible for a DaViT"):
        split_at_map(tiny("mixer_nano"), 1)


def test_without_captum_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r'captum, which is not installed: run `pip install "mixlab\[explain\]"`'):
        split_at_map(tiny("mixer_nano", depth=1), None)
