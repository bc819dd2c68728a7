"""Widths that bring one model to another's count, as near as its family allows."""

from typing import Any

import pytest
import torch

from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.zoo.architecture import Model, create_model
from mixlab.zoo.scaling import scaled_config

FAMILIES = ("mixer_nano", "convmixer_nano", "davit_nano")
FIELDS = {"classes": 10, "image_size": 16}


def macs(model: Model) -> int:
    return count_macs(model, (3, 16, 16))


def build_with_weights(name: str, **fields: Any) -> Any:
    with torch.device("meta"):
        return create_model(name, **FIELDS | fields)


@pytest.mark.parametrize(
    ("cost", "target"),
    [(count_parameters, 60_000), (count_parameters, 1_000_000), (count_parameters, 20_000_000), (macs, 5_000_000)],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_neighbouring_width_is_nearer_to_the_target(name, target, cost):
    widths = scaled_config(name, FIELDS, cost, target)
    reached = abs(cost(build_with_weights(name, **widths)) - target)
    for step in (-1, 1):
        if (neighbour := widths_beside(name, widths, step)) is not None:
            assert reached <= abs(cost(build_with_weights(name, **neighbour)) - target)


def widths_beside(name: str, widths: dict[str, Any], step: int) -> dict[str, Any] | None:
    """One step of the family's wider or narrower; None where there is none narrower."""
    if name == "davit_nano":
        heads = build_with_weights(name).config.heads
        channels = [width + 4 * step * count for width, count in zip(widths["channels"], heads, strict=True)]
        return {"channels": channels} if channels[0] else None
    channels = widths["channels"] + 8 * step
    if channels == 0:
        return None
    base = build_with_weights(name).config
    hidden = {
        field: max(round(getattr(base, field) * channels / base.channels), 1) for field in widths if field != "channels"
    }
    return {"channels": channels} | hidden


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_matched_to_itself_stays_as_it_is(name):
    model = build_with_weights(name)
    again = build_with_weights(name, **scaled_config(name, FIELDS, count_parameters, count_parameters(model)))
    assert again.config == model.config


@pytest.mark.parametrize("name", FAMILIES)
def test_only_widths_change(name):
    widths = scaled_config(name, FIELDS, count_parameters, 1_000_000)
    assert set(widths) <= {"channels", "token_hidden", "channel_hidden"}


def test_a_mixer_keeps_the_proportions_of_its_widths():
    widths = scaled_config("mixer_s16", {}, count_parameters, 5_000_000)
    assert widths["channel_hidden"] == 4 * widths["channels"]
    assert widths["token_hidden"] == widths["channels"] / 2


def test_fields_that_are_laid_over_the_config_count():
    few = scaled_config("convmixer_nano", {"depth": 2}, count_parameters, 300_000)
    many = scaled_config("convmixer_nano", {"depth": 16}, count_parameters, 300_000)
    assert few["channels"] > many["channels"]


@pytest.mark.parametrize("name", ["vit_nano", "timm:resnet18"])
def test_a_model_of_a_fixed_size_is_refused(name):
    with pytest.raises(UserError, match=f"{name} has a fixed size, .*: leave it out, or put it first"):
        scaled_config(name, {}, count_parameters, 1_000_000)
