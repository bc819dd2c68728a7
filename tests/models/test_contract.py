"""The anatomy that all families share."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from mixlab.errors import UserError
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT


def test_every_family_has_the_same_submodules_in_order(model):
    assert [name for name, _ in model.named_children()] == ["stem", "body", "norm", "head"]


def test_the_logits_are_the_head_of_the_embedding(model, images, randomised):
    model = randomised(model)
    torch.testing.assert_close(model.head(model.embed(images.double())), model(images.double()), rtol=0, atol=0)


def test_logits_and_embeddings_have_the_expected_shapes(model, config, images):
    assert model(images).shape == (2, 5)
    assert model.embed(images).shape == (2, model.head.in_features)


def test_feature_maps_have_the_spatial_layout_of_the_patches(model, config, images):
    shapes = {
        "MixerConfig": [(24, 4, 4)],
        "ConvMixerConfig": [(24, 8, 8)],
        "DaViTConfig": [(8, 8, 8), (16, 4, 4), (24, 2, 2), (32, 1, 1)],
    }
    assert [tuple(map.shape) for map in model.feature_maps(images)] == [
        (2, *shape) for shape in shapes[type(config).__name__]
    ]


def test_the_embedding_is_the_last_feature_map_pooled(model, config, images, randomised):
    model, images = randomised(model), images.double()
    pooled = model.feature_maps(images)[-1].mean(dim=(2, 3))
    expected = model.norm(pooled) if isinstance(model, DaViT) else pooled  # DaViT pools first, then normalises
    torch.testing.assert_close(model.embed(images), expected, rtol=0, atol=1e-12)


def test_the_logits_of_an_image_do_not_depend_on_its_batch(model, images, randomised):
    model, images = randomised(model), images.double()
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=0, atol=1e-11)


def test_a_model_without_classes_returns_its_embedding(build, config, images):
    model = build(config, classes=0).eval()
    torch.testing.assert_close(model(images), model.embed(images))


def test_no_images_have_no_logits(model, images):
    assert model(images[:0]).shape == (0, 5)
    assert model.embed(images[:0]).shape == (0, model.head.in_features)
    assert all(len(feature_map) == 0 for feature_map in model.feature_maps(images[:0]))


@pytest.mark.parametrize("size", [(0, 32), (32, 0)])
def test_images_without_area_are_refused(model, images, size):
    empty = images.new_zeros(2, 3, *size)
    for call in (model, model.embed, model.feature_maps):
        with pytest.raises(UserError, match=rf"needs images of .* pixels, but got {size[0]} x {size[1]}: "):
            call(empty)


def test_images_that_are_too_small_are_refused_with_the_minimum():
    with pytest.raises(UserError) as refused:
        ConvMixer(ConvMixerConfig(channels=8, depth=1, patch_size=4, kernel_size=3))(torch.zeros(1, 3, 9, 3))
    assert str(refused.value) == (
        "This model needs images of at least 4 x 4 pixels, but got 9 x 3: give larger images."
    )


@pytest.mark.parametrize("image_channels", [1, 2, 12])
def test_images_can_have_any_number_of_channels(build, config, image_channels):
    model = build(config, image_channels=image_channels)
    assert model(torch.randn(2, image_channels, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("image_size", [(16, 40), (40, 16)])
def test_images_can_be_rectangles_of_height_by_width(build, config, image_size):
    model = build(config, image_size=image_size)
    last = model.feature_maps(torch.randn(2, 3, *image_size))[-1]
    assert (last.shape[2] < last.shape[3]) == (image_size[0] < image_size[1])


def test_a_config_is_immutable(config):
    with pytest.raises(FrozenInstanceError):
        config.classes = 0


@pytest.mark.parametrize(
    ("field", "value", "minimum"),
    [("image_size", 0, 1), ("image_size", (32, -8), 1), ("image_channels", 0, 1), ("classes", -1, 0)],
)
def test_a_size_below_its_minimum_is_an_error(config, field, value, minimum):
    with pytest.raises(UserError) as error:
        replace(config, **{field: value})
    assert str(error.value) == f"{field}={value} is out of range: it must be at least {minimum}."


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan")])
@pytest.mark.parametrize("config", ["mixer", "davit"], indirect=True)
def test_a_rate_outside_0_to_1_is_an_error(config, rate):
    with pytest.raises(UserError) as error:
        replace(config, stochastic_depth=rate)
    assert str(error.value) == f"stochastic_depth={rate} is out of range: it must be in [0, 1), for example 0.1."


@pytest.mark.parametrize("config", ["mixer", "davit"], indirect=True)
def test_a_rate_can_be_the_integer_0(config, no_shape_checks):
    assert replace(config, stochastic_depth=0).stochastic_depth == 0
