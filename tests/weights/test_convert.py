"""A -> B -> A restores every tensor bit for bit, and the fields that B can't store are reported with their effect."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.weights.adapt import Weights
from mixlab.weights.convert import TARGETS, Conversion
from mixlab.weights.load import Pretrained, load, load_pretrained
from mixlab.zoo.architecture import create_model, of_family

SUFFIXES = {"google": ".npz", "big_vision": ".npz", "mixlab": ""}

CONFIGS = {
    "mixer": st.fixed_dictionaries(
        {
            "image_size": st.sampled_from([8, 16, (8, 16)]),
            "image_channels": st.sampled_from([1, 3]),
            "classes": st.sampled_from([0, 2, 8]),
            "patch_size": st.sampled_from([2, 4]),
            "channels": st.sampled_from([4, 8]),
            "token_hidden": st.integers(1, 9),
            "channel_hidden": st.integers(1, 9),
            "depth": st.sampled_from([1, 2, 11]),
            "gelu": st.sampled_from(["tanh", "erf"]),
            "epsilon": st.sampled_from([1e-6, 1e-5]),
        }
    ),
    "convmixer": st.fixed_dictionaries(
        {
            "image_size": st.just(16),
            "image_channels": st.sampled_from([1, 3]),
            "classes": st.sampled_from([0, 2, 8]),
            "patch_size": st.integers(1, 4),
            "kernel_size": st.integers(1, 6),
            "channels": st.sampled_from([1, 4, 8]),
            "depth": st.sampled_from([1, 2, 11]),
            "activation": st.sampled_from(["gelu", "relu"]),
        }
    ),
    "davit": st.integers(1, 4).flatmap(
        lambda stages: st.fixed_dictionaries(
            {
                "image_size": st.just(32),
                "image_channels": st.sampled_from([1, 3]),
                "classes": st.sampled_from([0, 2, 8]),
                "channels": st.tuples(*[st.sampled_from([8, 32])] * stages),
                "depths": st.tuples(*[st.sampled_from([1, 2, 11])] * stages),
                "heads": st.tuples(*[st.sampled_from([1, 2])] * stages),
                "window": st.sampled_from([3, 7]),
                "merge_kernel": st.sampled_from([2, 3]),
            }
        )
    ),
}


def random_weights(family: str, config: Mapping[str, Any]) -> Pretrained:
    model = of_family(family, family, config).build()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor).abs())
    weights = Weights(family, asdict(model.config), dict(model.state_dict()))
    size = config["image_size"]
    preprocess = Preprocess((size, size) if isinstance(size, int) else size)
    return Pretrained(weights, tuple(map(str, range(config["classes"]))), preprocess)


def equal(left: Weights, right: Weights) -> bool:
    return left.tensors.keys() == right.tensors.keys() and all(
        torch.equal(tensor, right.tensors[name]) for name, tensor in left.tensors.items()
    )


@pytest.mark.parametrize(
    ("family", "to"), [(family, to) for family in CONFIGS for to in TARGETS if to == "mixlab" or family in TARGETS[to]]
)
def test_conversion_and_back_restores_every_tensor(family, to):
    @settings(max_examples=12, deadline=None)
    @given(CONFIGS[family], st.sampled_from([to for to in TARGETS if to == "mixlab" or family in TARGETS[to]]))
    def convert_and_compare(config, second_format):
        """Converts a random model to format `to`, from there to a second format, and loads it again."""
        first = random_weights(family, config)
        given = asdict(of_family(family, family, config).build().config)
        for name in ("image_channels", "classes"):
            del given[name]
        with TemporaryDirectory() as folder:
            converted = Path(folder) / f"b{SUFFIXES.get(to, '.safetensors')}"
            Conversion(first, to, converted).write()
            second = load_pretrained(converted, **given)
            assert equal(second.weights, first.weights)
            back = Path(folder) / f"c{SUFFIXES.get(second_format, '.pth')}"
            Conversion(second, second_format, back).write()
            assert equal(load_pretrained(back, **given).weights, first.weights)

    convert_and_compare()


@pytest.mark.parametrize(
    ("family", "config", "to", "fields", "measured"),
    [
        ("mixer", {"gelu": "tanh"}, "google", [], None),
        ("mixer", {"gelu": "erf"}, "google", ["gelu"], True),
        ("mixer", {"gelu": "tanh"}, "timm", ["gelu"], True),
        ("mixer", {"gelu": "erf"}, "mmpretrain", ["epsilon"], True),
        ("mixer", {"gelu": "erf", "image_size": (8, 16)}, "timm", ["image_size"], False),
        ("mixer", {"gelu": "erf", "image_size": (8, 16)}, "mixlab", [], None),
        ("convmixer", {}, "convmixer", [], None),
        ("convmixer", {"activation": "relu"}, "mmpretrain", ["activation"], True),
        ("davit", {}, "davit", [], None),
        ("davit", {"window": 3}, "timm", ["window"], True),
        ("davit", {"heads": (2, 2)}, "davit", ["heads"], True),
        ("davit", {"channels": (8, 16), "heads": (1, 2)}, "davit", ["heads"], False),
        ("davit", {"stem_padding": "same"}, "davit", ["stem_padding"], True),
        ("davit", {}, "mmpretrain", ["stem_padding", "head_order"], True),
        ("davit", {"head_order": "norm-pool", "stem_padding": "same"}, "mmpretrain", [], None),
        ("davit", {"channel_attention": "florence2"}, "timm", [], None),
        ("davit", {"head_order": "norm-pool"}, "timm", [], None),
        ("davit", {"channel_attention": "florence2"}, "davit", ["channel_attention"], True),
        ("davit", {"stochastic_depth": 0.1, "image_size": 64}, "davit", [], None),
    ],
)
def test_fields_that_a_format_can_not_store_are_reported_with_their_effect(
    tmp_path, family, config, to, fields, measured
):
    small = {
        "mixer": {"patch_size": 4, "channels": 8, "token_hidden": 4, "channel_hidden": 8, "depth": 2, "image_size": 8},
        "convmixer": {"patch_size": 4, "kernel_size": 3, "channels": 8, "depth": 2, "image_size": 8},
        "davit": {"channels": (32, 64), "depths": (1, 1), "heads": (1, 2), "image_size": 32},
    }[family]
    lost = Conversion(
        random_weights(family, {"classes": 3} | small | config), to, tmp_path / f"b{SUFFIXES.get(to, '.pth')}"
    ).lost
    assert list(lost.fields if lost else {}) == fields
    if lost is not None:
        assert (lost.logit_difference is not None) == measured
        assert lost.logit_difference is None or lost.logit_difference > 0


def test_the_logit_difference_is_that_of_the_model_that_a_reader_builds(tmp_path):
    first = random_weights(
        "davit", {"channels": (32, 64), "depths": (1, 1), "heads": (1, 2), "image_size": 32, "classes": 3, "window": 3}
    )
    conversion = Conversion(first, "davit", tmp_path / "b.safetensors")
    conversion.write()
    as_read = load(tmp_path / "b.safetensors")  # with the default window 7
    from mixlab.data.readers.digits import open_digits

    digits = open_digits().splits["test"]
    images = torch.stack([first.image_preprocess(digits.image(index)) for index in range(16)])
    with torch.no_grad():
        logits = load(tmp_path / "b.safetensors", window=3)(images)
        expected = ((as_read(images) - logits).abs().max() / logits.abs().max()).item()
    assert conversion.lost is not None
    assert conversion.lost.logit_difference == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("family", "to", "out", "pattern"),
    [
        (
            "davit",
            "google",
            "b.npz",
            "The google format does not support a davit model: give --to one of davit, timm, mmpretrain, mixlab",
        ),
        ("mixer", "google", "b.safetensors", r"b\.safetensors has the wrong suffix.*use \.npz"),
        ("mixer", "timm", "b", r"use \.safetensors or \.pth"),
        ("davit", "mmpretrain", "b.npz", r"use \.safetensors"),
    ],
)
def test_unsupported_targets_are_refused(tmp_path, family, to, out, pattern):
    size = {"mixer": "mixer_nano", "davit": "davit_nano"}[family]
    model = create_model(size)
    first = Pretrained(Weights(family, asdict(model.config), model.state_dict()), (), Preprocess((32, 32)))
    with pytest.raises(UserError, match=pattern):
        Conversion(first, to, tmp_path / out)


def test_timm_models_are_converted_only_to_mixlab_folders(tmp_path):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    model = create_model("resnet_nano", channels=(8, 8, 8, 8))
    first = Pretrained(
        Weights("timm", asdict(model.config), model.state_dict()), tuple("0123456789"), Preprocess((32, 32))
    )
    with pytest.raises(UserError, match="The timm format does not support a timm model: give --to one of mixlab"):
        Conversion(first, "timm", tmp_path / "b.safetensors")
    Conversion(first, "mixlab", tmp_path / "b").write()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load(tmp_path / "b")(images), model.eval()(images))


def test_norms_of_every_stage_are_not_supported_by_timm(tmp_path):
    model = create_model("davit_nano", head_order="norms-pool", classes=0)
    first = Pretrained(Weights("davit", asdict(model.config), model.state_dict()), (), Preprocess((32, 32)))
    with pytest.raises(
        UserError, match=r"The timm format has no name for norm\.0\.weight: use --to davit or --to mixlab"
    ):
        Conversion(first, "timm", tmp_path / "b.safetensors")


def test_names_of_big_vision_start_with_params(tmp_path):
    first = random_weights(
        "mixer",
        {
            "classes": 3,
            "patch_size": 4,
            "channels": 8,
            "token_hidden": 4,
            "channel_hidden": 8,
            "depth": 1,
            "image_size": 8,
        },
    )
    Conversion(first, "big_vision", tmp_path / "b.npz").write()
    with np.load(tmp_path / "b.npz") as arrays:
        assert "params/MixerBlock_0/token_mixing/Dense_0/kernel" in arrays.files


def test_a_mixlab_folder_stores_every_field(tmp_path, caplog):
    config = {"channels": (8, 16), "depths": (1, 1), "heads": (1, 2), "image_size": 32, "classes": 3, "window": 3}
    first = random_weights("davit", config)
    Conversion(first, "mixlab", tmp_path / "b").write()
    again = load_pretrained(tmp_path / "b")
    assert again.weights.config == first.weights.config
    assert (again.classes, again.preprocess) == (first.classes, first.preprocess)
    assert not caplog.records


@pytest.mark.parametrize(("to", "warns"), [("mixlab", True), ("timm", False)])
def test_folders_without_class_names_because_of_a_missing_timm_are_written_with_a_warning(tmp_path, caplog, to, warns):
    weights = random_weights(
        "convmixer", {"classes": 3, "channels": 8, "depth": 1, "patch_size": 4, "image_size": 16, "kernel_size": 3}
    )
    conversion = Conversion(replace(weights, names_need_timm=True), to, tmp_path / f"b{SUFFIXES.get(to, '.pth')}")
    conversion.write()
    assert ("Class names need timm" in caplog.text) == warns
