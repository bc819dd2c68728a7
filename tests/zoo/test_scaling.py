"""Widths that match the parameters or multiply-accumulates of another model as closely as the family allows."""

from typing import Any

import pytest

from mixlab.errors import UserError
from mixlab.zoo.architecture import Architecture, architecture
from mixlab.zoo.scaling import matched_config, resized_config, scaled_config

FAMILIES = ("mixer_nano", "convmixer_nano", "davit_nano")
FIELDS = {"classes": 10, "image_size": 16}


def parameters(model: Architecture) -> int:
    return model.parameters


def macs(model: Architecture) -> int:
    return model.macs


def laid_over(name: str, **fields: Any) -> Architecture:
    return architecture(name, **FIELDS | fields)


@pytest.mark.parametrize(
    ("cost", "target"),
    [(parameters, 60_000), (parameters, 1_000_000), (parameters, 20_000_000), (macs, 5_000_000)],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_neighbouring_width_is_closer_to_the_target(name, target, cost):
    widths = scaled_config(name, FIELDS, cost, target)
    reached = abs(cost(laid_over(name, **widths)) - target)
    for step in (-1, 1):
        if (neighbour := widths_beside(name, widths, step)) is not None:
            assert reached <= abs(cost(laid_over(name, **neighbour)) - target)


def widths_beside(name: str, widths: dict[str, Any], step: int) -> dict[str, Any] | None:
    """The widths one step wider or narrower; None below the narrowest."""
    if name == "davit_nano":
        heads = laid_over(name).config["heads"]
        channels = [width + 4 * step * count for width, count in zip(widths["channels"], heads, strict=True)]
        return {"channels": channels} if channels[0] else None
    channels = widths["channels"] + 8 * step
    if channels == 0:
        return None
    base = laid_over(name).config
    hidden = {
        field: max(round(base[field] * channels / base["channels"]), 1) for field in widths if field != "channels"
    }
    return {"channels": channels} | hidden


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_matched_to_itself_does_not_change(name):
    model = laid_over(name)
    again = laid_over(name, **scaled_config(name, FIELDS, parameters, parameters(model)))
    assert again.config == model.config


@pytest.mark.parametrize("name", FAMILIES)
def test_only_widths_change(name):
    widths = scaled_config(name, FIELDS, parameters, 1_000_000)
    assert set(widths) <= {"channels", "token_hidden", "channel_hidden"}


def test_a_mixer_keeps_the_proportions_of_its_widths():
    widths = scaled_config("mixer_s16", {}, parameters, 5_000_000)
    assert widths["channel_hidden"] == 4 * widths["channels"]
    assert widths["token_hidden"] == widths["channels"] / 2


def test_given_fields_replace_those_of_the_size():
    few = scaled_config("convmixer_nano", {"depth": 2}, parameters, 300_000)
    many = scaled_config("convmixer_nano", {"depth": 16}, parameters, 300_000)
    assert few["channels"] > many["channels"]


UNTIED = {
    "patch_size": 4, "channels": 64, "token_hidden": 64, "channel_hidden": 256, "depth": 6,
    "token_weights": "per-channel", "channel_weights": "shared",
}  # fmt: skip


def test_a_variant_has_the_widths_of_its_family():
    widths = scaled_config("variant:untied_mixer", FIELDS | UNTIED, parameters, 1_000_000)
    assert widths["channel_hidden"] == 4 * widths["channels"] and widths["token_hidden"] == widths["channels"]
    reached = laid_over("variant:untied_mixer", **UNTIED | widths).parameters
    assert reached == pytest.approx(1_000_000, rel=0.1)


def test_the_variant_of_a_davit_is_scaled_by_its_heads():
    fields = {"channels": (32, 64), "depths": (1, 2), "heads": (1, 2), "window": 4}
    widths = scaled_config("variant:ablated_davit", FIELDS | fields | {"attention": "window-window"}, parameters, 10**6)
    assert widths == scaled_config("davit_nano", FIELDS, parameters, 10**6)


@pytest.mark.parametrize("name", ["vit_nano", "timm:resnet18"])
def test_a_model_without_scalable_widths_is_refused(name):
    with pytest.raises(UserError, match=f"{name} has a fixed size, .*: leave it out, or put it first"):
        scaled_config(name, {}, parameters, 1_000_000)


CELL: dict[str, list[Any]] = {
    "image_size": [32], "classes": [10], "patch_size": [8], "position": ["learned"], "kernel_size": [3],
    "token_hidden": [16], "stem": ["patch"], "shape": ["isotropic"], "channels": [64], "depths": [(4, 1, 1)],
}  # fmt: skip


TARGETS: Any = {"parameters": 300_000, "macs": 4_860_000}


def deviations(fields: dict[str, Any]) -> list[float]:
    found = architecture("variant:metaformer", **fields)
    return [found.parameters / TARGETS["parameters"] - 1, found.macs / TARGETS["macs"] - 1]


def test_no_other_hidden_width_matches_both_costs_more_closely():
    fields = matched_config("variant:metaformer", CELL | {"mixing": ["depthwise"], "channels": [48, 64]}, TARGETS)
    reached = max(map(abs, deviations(fields)))
    assert reached < 0.02
    for channels, step in [(fields["channels"], -2), (fields["channels"], 2)]:
        other = fields | {"channels": channels, "channel_hidden": fields["channel_hidden"] + step}
        assert reached <= max(map(abs, deviations(other)))


def test_costs_that_no_candidate_has_are_refused_with_the_closest():
    with pytest.raises(UserError) as refused:
        matched_config(
            "variant:metaformer",
            CELL | {"mixing": ["attention"], "channels": [48, 64]},
            TARGETS | {"macs": 9_000_000},
        )
    assert str(refused.value) == (
        "variant:metaformer can't have parameters=300,000 and macs=9,000,000 within 2.0% with these candidates: give "
        "more widths or depths, or a larger tolerance. The closest deviates by 30.0%: channels=64, channel_hidden=354."
    )
    with pytest.raises(UserError, match=r"or a larger tolerance\.$"):
        matched_config("variant:metaformer", CELL | {"mixing": ["attention"]}, {"parameters": 1000})


@pytest.mark.parametrize(
    ("tokens", "channels", "widths"),
    [
        ("shared", "per-patch", {"channels": [8], "token_hidden": [8, 12, 16, 20]}),
        ("grouped", "shared", {"channels": [48, 56, 64]}),
        ("grouped", "per-patch", {"channels": [8], "token_hidden": [4, 8, 12]}),
        ("per-channel", "shared", {"channels": [16, 24]}),
        ("per-channel", "per-patch", {"channels": [8], "token_hidden": [4, 8, 12]}),
    ],
)
def test_mixers_with_any_tying_can_have_the_parameters_of_a_mixer_up_to_2_percent(tokens, channels, widths):
    target = architecture("mixer_nano").parameters
    tying = {"token_weights": [tokens], "channel_weights": [channels], "token_hidden": [16]}
    sizes = {"image_size": [32], "classes": [10], "patch_size": [4], "depth": [6]}
    fields = matched_config("variant:untied_mixer", tying | sizes | widths, {"parameters": target})
    assert architecture("variant:untied_mixer", **fields).parameters == pytest.approx(target, rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("shape", ["isotropic", "pyramid"])
@pytest.mark.parametrize("stem", ["patch", "convolutions"])
@pytest.mark.parametrize("mixing", ["attention", "token-mlp", "depthwise"])
def test_all_combinations_of_stem_mixing_and_shape_have_the_same_costs_up_to_2_percent(mixing, stem, shape):
    depths = [(3, 1, 1), (3, 2, 1)] if (mixing, shape) == ("attention", "pyramid") else [(4, 1, 1)]
    cell = CELL | {"mixing": [mixing], "stem": [stem], "shape": [shape], "channels": [64, 96], "depths": depths}
    fields = matched_config("variant:metaformer", cell, TARGETS)
    assert max(map(abs, deviations(fields))) <= 0.02


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mixer_nano", {"channels": 128, "token_hidden": 128, "channel_hidden": 512}),
        ("convmixer_nano", {"channels": 320}),
        ("davit_nano", {"channels": [64, 128], "heads": [2, 4]}),
        ("resnet_nano", {"channels": [32, 64, 128, 224]}),
        ("vit_nano", {"embed_dim": 128, "num_heads": 8}),
    ],
)
def test_twice_the_width_has_twice_the_channels_and_heads(name, fields):
    assert resized_config(name, width=2) == fields
    assert 3.3 < architecture(name, **fields).parameters / architecture(name).parameters < 4.5


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mixer_nano", {"depth": 12}),
        ("convmixer_nano", {"depth": 16}),
        ("davit_nano", {"depths": [2, 4]}),
        ("resnet_nano", {"layers": [2, 2, 2, 2]}),
        ("vit_nano", {"depth": 10}),
    ],
)
def test_twice_the_depth_has_twice_the_layers(name, fields):
    assert resized_config(name, depth=2) == fields
    assert architecture(name, **fields).macs > 1.5 * architecture(name).macs


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano"])
@pytest.mark.parametrize("factor", [0.25, 0.5, 0.75, 1.5, 3])
def test_any_factor_gives_a_model_that_can_be_built(name, factor):
    architecture(name, **resized_config(name, width=factor, depth=factor)).on_meta()


def test_a_factor_of_one_changes_nothing():
    assert resized_config("davit_nano", width=1, depth=1) == {}


@pytest.mark.parametrize("kind", ["width", "depth"])
def test_a_model_without_such_fields_is_refused(kind):
    with pytest.raises(UserError, match=f"timm:resnet18 has no {kind} in its config that could be changed: append"):
        resized_config("timm:resnet18", **{kind: 2})
