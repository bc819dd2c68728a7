"""A -> B -> A is every tensor bit by bit, and what B can't say is said with what it costs."""

from collections.abc import Mapping
from dataclasses import asdict
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
from mixlab.zoo.architecture import build, create_model

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


def opened(family: str, config: Mapping[str, Any]) -> Pretrained:
    model = build(family, config)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor).abs())
    weights = Weights(family, asdict(model.config), dict(model.state_dict()))
    size = config["image_size"]
    preprocess = Preprocess((size, size) if isinstance(size, int) else size)
    return Pretrained(weights, tuple(map(str, range(config["classes"]))), preprocess)


def same(one: Weights, other: Weights) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()
    )


@pytest.mark.parametrize(
    ("family", "to"), [(family, to) for family in CONFIGS for to in TARGETS if to == "mixlab" or family in TARGETS[to]]
)
def test_there_and_back_is_bit_by_bit(family, to):
    @settings(max_examples=12, deadline=None)
    @given(CONFIGS[family], st.sampled_from([to for to in TARGETS if to == "mixlab" or family in TARGETS[to]]))
    def there_and_back(config, by_way_of):
        """A is the random model; by B, and by C, back to it."""
        first = opened(family, config)
        given = asdict(build(family, config).config)
        for name in ("image_channels", "classes"):
            del given[name]
        with TemporaryDirectory() as folder:
            there = Path(folder) / f"b{SUFFIXES.get(to, '.safetensors')}"
            Conversion(first, to, there).write()
            second = load_pretrained(there, **given)
            assert same(second.weights, first.weights)
            back = Path(folder) / f"c{SUFFIXES.get(by_way_of, '.pth')}"
            Conversion(second, by_way_of, back).write()
            assert same(load_pretrained(back, **given).weights, first.weights)

    there_and_back()


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
def test_what_a_format_cannot_say_is_named_and_measured(tmp_path, family, config, to, fields, measured):
    small = {
        "mixer": {"patch_size": 4, "channels": 8, "token_hidden": 4, "channel_hidden": 8, "depth": 2, "image_size": 8},
        "convmixer": {"patch_size": 4, "kernel_size": 3, "channels": 8, "depth": 2, "image_size": 8},
        "davit": {"channels": (32, 64), "depths": (1, 1), "heads": (1, 2), "image_size": 32},
    }[family]
    lost = Conversion(
        opened(family, {"classes": 3} | small | config), to, tmp_path / f"b{SUFFIXES.get(to, '.pth')}"
    ).lost
    assert list(lost.fields if lost else {}) == fields
    if lost is not None:
        assert (lost.logit_difference is not None) == measured
        assert lost.logit_difference is None or lost.logit_difference > 0


def test_the_logit_difference_is_that_of_the_model_as_it_would_be_read(tmp_path):
    first = opened(
        "davit", {"channels": (32, 64), "depths": (1, 1), "heads": (1, 2), "image_size": 32, "classes": 3, "window": 3}
    )
    conversion = Conversion(first, "davit", tmp_path / "b.safetensors")
    conversion.write()
    read = load(tmp_path / "b.safetensors")  # with window 7, by the rule
    from mixlab.data.readers.digits import open_digits

    digits = open_digits().splits["test"]
    images = torch.stack([first.preprocess(digits.image(index)) for index in range(16)])
    with torch.no_grad():
        logits = load(tmp_path / "b.safetensors", window=3)(images)
        expected = ((read(images) - logits).abs().max() / logits.abs().max()).item()
    assert conversion.lost is not None
    assert conversion.lost.logit_difference == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("family", "to", "out", "words"),
    [
        (
            "davit",
            "google",
            "b.npz",
            "google's format holds no davit: give --to one of davit, timm, mmpretrain, mixlab",
        ),
        ("mixer", "google", "b.safetensors", r"b\.safetensors has not the name.*let it end in \.npz"),
        ("mixer", "timm", "b", r"let it end in \.safetensors or \.pth"),
        ("davit", "mmpretrain", "b.npz", r"let it end in \.safetensors"),
    ],
)
def test_a_target_that_cannot_be_is_refused(tmp_path, family, to, out, words):
    size = {"mixer": "mixer_nano", "davit": "davit_nano"}[family]
    model = create_model(size)
    first = Pretrained(Weights(family, asdict(model.config), model.state_dict()), (), Preprocess((32, 32)))
    with pytest.raises(UserError, match=words):
        Conversion(first, to, tmp_path / out)


def test_a_model_of_timm_s_goes_into_our_folder_alone(tmp_path):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    model = create_model("resnet_nano", channels=(8, 8, 8, 8))
    first = Pretrained(
        Weights("timm", asdict(model.config), model.state_dict()), tuple("0123456789"), Preprocess((32, 32))
    )
    with pytest.raises(UserError, match="timm's format holds no timm: give --to one of mixlab"):
        Conversion(first, "timm", tmp_path / "b.safetensors")
    Conversion(first, "mixlab", tmp_path / "b").write()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load(tmp_path / "b")(images), model.eval()(images))


def test_norms_of_every_stage_have_no_place_at_timm(tmp_path):
    model = create_model("davit_nano", head_order="norms-pool", classes=0)
    first = Pretrained(Weights("davit", asdict(model.config), model.state_dict()), (), Preprocess((32, 32)))
    with pytest.raises(UserError, match=r"no place for norm\.0\.weight: give --to davit or --to mixlab"):
        Conversion(first, "timm", tmp_path / "b.safetensors")


def test_big_vision_s_names_stand_below_params(tmp_path):
    first = opened(
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


def test_a_folder_of_ours_says_everything(tmp_path, caplog):
    config = {"channels": (8, 16), "depths": (1, 1), "heads": (1, 2), "image_size": 32, "classes": 3, "window": 3}
    first = opened("davit", config)
    Conversion(first, "mixlab", tmp_path / "b").write()
    again = load_pretrained(tmp_path / "b")
    assert again.weights.config == first.weights.config
    assert (again.classes, again.preprocess) == (first.classes, first.preprocess)
    assert not caplog.records
