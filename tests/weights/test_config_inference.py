"""Config inference from the shapes of the tensors."""

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.weights.config_inference import ShapeMismatch, config_from_shapes, default_fields
from mixlab.weights.strict import tensor_shapes
from mixlab.zoo.architecture import create_model
from mixlab.zoo.sizes import list_sizes

NOT_IN_SHAPES = {
    "mixer": {"image_size", "gelu", "epsilon", "stochastic_depth"},
    "convmixer": {"image_size", "activation"},
    "davit": {"image_size", "heads", "window", "stem_padding", "channel_attention", "stochastic_depth"},
}


def shapes(name, **fields):
    import torch

    with torch.device("meta"):
        model = create_model(name, **fields)
    return asdict(model.config), tensor_shapes(model.state_dict())


@pytest.mark.parametrize("size", [size for size in list_sizes() if size.family in NOT_IN_SHAPES], ids=lambda s: s.name)
def test_the_config_of_every_size_is_inferred(size):
    config, stored = shapes(size.name)
    inferred = config_from_shapes(size.family, stored)
    assert inferred == {name: value for name, value in config.items() if name not in NOT_IN_SHAPES[size.family]}


@pytest.mark.parametrize("size", [size for size in list_sizes() if size.family in NOT_IN_SHAPES], ids=lambda s: s.name)
def test_the_defaults_are_correct_for_the_published_sizes_at_224_pixels(size):
    config, stored = shapes(size.name)
    inferred = config_from_shapes(size.family, stored)
    defaults = default_fields(size.family, inferred, stored)
    for name in ("heads", "activation"):
        if name in defaults and not size.name.endswith("nano"):
            assert defaults[name] == config[name]
    if size.family == "mixer":
        assert defaults["image_size"] == config["image_size"]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda stages: st.fixed_dictionaries(
            {
                "channels": st.tuples(*[st.sampled_from([8, 24])] * stages),
                "depths": st.tuples(*[st.integers(1, 3)] * stages),
                "heads": st.tuples(*[st.sampled_from([1, 2])] * stages),
                "image_channels": st.integers(1, 4),
                "classes": st.integers(0, 3),
                "head_order": st.sampled_from(["pool-norm", "norms-pool", "pool"]),
            }
        )
    )
)
def test_the_config_of_any_davit_is_inferred(fields):
    config, stored = shapes("davit_nano", **fields)
    inferred = config_from_shapes("davit", stored)
    assert {**config, **inferred} == config


@pytest.mark.parametrize(
    ("family", "name", "shape"),
    [
        ("mixer", "stem.weight", None),
        ("mixer", "stem.weight", (8, 3, 4)),
        ("mixer", "stem.weight", (8, 3, 4, 5)),
        ("mixer", "body.0.token_mlp.first.weight", (0, 64)),
        ("convmixer", "body.0.depthwise.0.weight", None),
        ("davit", "body.1.merge.convolution.weight", (16, 8, 2, 3)),
        ("davit", "head.weight", (3,)),
    ],
)
def test_a_missing_or_invalid_tensor_is_named_in_the_error(family, name, shape):
    _, stored = shapes(f"{family}_nano")
    if shape is None:
        del stored[name]
    else:
        stored[name] = shape
    with pytest.raises(ShapeMismatch) as raised:
        config_from_shapes(family, stored)
    assert (raised.value.name, raised.value.shape) == (name, shape)


def test_the_depth_is_at_most_the_number_of_tensors():
    _, stored = shapes("mixer_nano")
    stored["body.999999999.token_norm.weight"] = (64,)
    assert config_from_shapes("mixer", stored)["depth"] == len(stored)
