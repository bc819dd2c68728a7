"""Changes of image size, patch size and head, and their log messages."""

from dataclasses import asdict

import pytest
import torch

from mixlab.errors import UserError
from mixlab.weights.adapt import Weights, reset_head, resize_input, resize_patches
from mixlab.weights.load import build_with_weights
from mixlab.zoo.architecture import create_model


def mixer(image_size=(16, 24)) -> Weights:
    fields = {"channels": 8, "token_hidden": 6, "channel_hidden": 8, "depth": 2, "patch_size": 4, "classes": 3}
    model = create_model("mixer_nano", image_size=image_size, **fields)
    return Weights("mixer", asdict(model.config), dict(model.state_dict()))


@pytest.mark.parametrize(
    ("image_size", "resize", "hidden", "message"),
    [
        ((32, 48), None, 24, "from 4 x 6 to 8 x 12 patches, exact"),
        ((48, 72), None, 54, "from 4 x 6 to 12 x 18 patches, exact"),
        ((32, 48), "resampled", 6, "resampled (bilinear, not exact)"),
        ((32, 24), None, 6, "resampled"),  # only one side grows
        ((32, 72), None, 6, "resampled"),  # by two different factors
        ((24, 36), None, 6, "resampled"),  # by a factor that is not an integer
        ((8, 12), None, 6, "resampled"),
        (32, None, 6, "resampled"),
    ],
)
def test_the_resize_is_exact_if_both_sides_grow_by_the_same_integer_factor(image_size, resize, hidden, message, caplog):
    changed = resize_input(mixer(), image_size, resize, window=None)
    assert (changed.config["token_hidden"], changed.config["image_size"]) == (hidden, image_size)
    assert message in caplog.text
    model = build_with_weights(changed)
    assert model(torch.randn(1, 3, *(image_size if isinstance(image_size, tuple) else (image_size,) * 2))).shape == (
        1,
        3,
    )


@pytest.mark.parametrize("image_size", [(32, 24), (24, 36), (8, 12)])
def test_an_impossible_exact_resize_is_refused_with_a_possible_size(image_size):
    with pytest.raises(
        UserError, match=r'resize="exact", .* 16 x 24 by the same integer factor: give 32 x 48 or another multiple'
    ):
        resize_input(mixer(), image_size, "exact", window=None)


def test_the_same_size_changes_nothing_and_logs_nothing(caplog):
    weights = mixer()
    assert resize_input(weights, (16, 24), None, window=None) is weights
    assert reset_head(weights, 3) is weights
    assert resize_patches(weights, 4) is weights
    assert not caplog.records


def test_resized_patches_keep_the_grid_of_a_mixer_and_the_image_size_of_a_convmixer(caplog):
    changed = resize_patches(mixer(), 6)
    assert (changed.config["patch_size"], changed.config["image_size"]) == (6, (24, 36))
    assert "the stem is resized from 4 pixels" in caplog.text
    convmixer = create_model("convmixer_nano", channels=8, depth=1)
    changed = resize_patches(Weights("convmixer", asdict(convmixer.config), dict(convmixer.state_dict())), 2)
    assert (changed.config["patch_size"], changed.config["image_size"]) == (2, 32)
    assert build_with_weights(changed)(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_clones_share_no_memory_and_have_the_same_digest():
    weights = mixer()
    clone = weights.clone()
    assert clone.digest == weights.digest
    clone.tensors["head.bias"].add_(1)
    assert clone.digest != weights.digest


def test_the_head_of_a_timm_model_can_not_be_replaced():
    weights = Weights("timm", {"name": "resnet18", "classes": 1000}, {})
    assert reset_head(weights, 1000) is weights
    with pytest.raises(
        UserError, match=r"timm:resnet18 has a head for 1,000 classes, which can't be replaced by one for 3: .*Use a"
    ):
        reset_head(weights, 3)
