"""Scales the widths of an architecture, to compare two at equal parameters or multiply-accumulates."""

from collections.abc import Callable, Mapping
from typing import Any

from mixlab.errors import UserError
from mixlab.zoo.architecture import FAMILIES, Architecture, architecture

_WIDTH_STEP = 8
_HEAD_WIDTH_STEP = 4
_WIDEST = 4096  # steps


def scaled_config(
    name: str, fields: Mapping[str, Any], cost: Callable[[Architecture], int], target: int
) -> dict[str, Any]:
    """The widths of `name` with which `cost` is closest to `target`, as config fields.

    `fields` override the config first. Widths keep their proportions and are multiples of 8, those of each DaViT head
    multiples of 4; depth, patches and kernels do not change. Raises UserError for models outside `FAMILIES` and the
    variants.
    """
    base = architecture(name, **fields)
    if base.family not in FAMILIES and not base.family.startswith("variant:"):
        raise UserError(
            f"{name} has a fixed size, so it can't be matched to another model: leave it out, or put it first, so that "
            "the others are matched to it."
        )
    widths = _widths_of_heads if "heads" in base.config else _widths

    def cost_at(step: int) -> int:
        return cost(base.with_fields(**widths(base.config, step)))

    low, high = 1, _WIDEST
    while high - low > 1:  # the cost increases with the width
        middle = (low + high) // 2
        low, high = (middle, high) if cost_at(middle) <= target else (low, middle)
    return widths(base.config, min((low, high), key=lambda step: abs(cost_at(step) - target)))


def _widths(base: Mapping[str, Any], step: int) -> dict[str, Any]:
    channels = _WIDTH_STEP * step
    hidden = [name for name in ("token_hidden", "channel_hidden") if name in base]
    return {"channels": channels} | {name: max(round(base[name] * channels / base["channels"]), 1) for name in hidden}


def _widths_of_heads(base: Mapping[str, Any], step: int) -> dict[str, Any]:
    return {"channels": [heads * _HEAD_WIDTH_STEP * step for heads in base["heads"]]}
