"""Scales the widths and depths of an architecture: to a cost, to the costs of another, or by a factor."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

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
    has_heads_by_stage = isinstance(base.config.get("heads"), list | tuple)
    widths = _widths_of_heads if has_heads_by_stage else _widths

    def cost_at(step: int) -> int:
        return cost(base.with_fields(**widths(base.config, step)))

    low, high = 1, _WIDEST
    while high - low > 1:  # the cost increases with the width
        middle = (low + high) // 2
        low, high = (middle, high) if cost_at(middle) <= target else (low, middle)
    return widths(base.config, min((low, high), key=lambda step: abs(cost_at(step) - target)))


def resized_config(name: str, *, width: float = 1.0, depth: float = 1.0) -> dict[str, Any]:
    """The config fields of `name` with `width` times its channels and heads, and `depth` times its layers.

    Channels are multiples of 4, and of the number of heads; nothing is below 1. Works for every family whose widths,
    heads and depths are in its config, also for models of timm whose name has them, such as
    timm:plain_vit:embed_dim=64:depth=5:num_heads=4. Raises UserError for other models.
    """
    config = architecture(name).config
    given = config.get("arguments", config)
    fields: dict[str, Any] = {}
    if width != 1:
        heads = {key: _times(given[key], width) for key in _HEADS if key in given}
        units = next(iter(heads.values()), 1)
        channels = {key: _times(given[key], width, _multiplied(4, units)) for key in _CHANNELS if key in given}
        hidden = {key: _times(given[key], width) for key in _HIDDEN if given.get(key) is not None}
        fields |= _require_fields(name, "width", channels) | hidden | heads
    if depth != 1:
        fields |= _require_fields(name, "depth", {key: _times(given[key], depth) for key in _DEPTHS if key in given})
    return fields


_CHANNELS = ("channels", "embed_dim")
_HIDDEN = ("token_hidden", "channel_hidden")
_HEADS = ("heads", "num_heads")
_DEPTHS = ("depth", "depths", "layers")


def _times(value: Any, factor: float, unit: Any = 1) -> Any:
    """`factor` times a number, or times each number of a list, rounded to a multiple of `unit`, which may be a list."""
    if isinstance(value, Sequence):
        units = unit if isinstance(unit, Sequence) else [unit] * len(value)
        return [_times(one, factor, of_one) for one, of_one in zip(value, units, strict=True)]
    return max(round(value * factor / unit), 1) * unit


def _multiplied(factor: int, value: Any) -> Any:
    return [factor * one for one in value] if isinstance(value, Sequence) else factor * value


def _require_fields(name: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """`fields`. Raises UserError if there are none."""
    if not fields:
        raise UserError(
            f"{name} has no {kind} in its config that could be changed: append its fields to the name, such as "
            "timm:plain_vit:patch_size=4:embed_dim=64:depth=5:num_heads=4, or leave the model out."
        )
    return fields


def matched_config(
    name: str,
    candidates: Mapping[str, Sequence[Any]],
    targets: Mapping[Literal["parameters", "macs"], int],
    tolerance: float = 0.02,
) -> dict[str, Any]:
    """The config fields with which all costs in `targets` are closest to them: parameters, MACs, or both at once.

    candidates  values of each field to try, such as {"mixing": ["attention"], "channels": [56, 64]}. All combinations
                are tried, each with the best even `channel_hidden`, of which both costs are linear functions.
    tolerance   the largest deviation of a cost, as a fraction of its target

    Raises UserError if no combination is within the tolerance.
    """

    def relative_costs(fields: Mapping[str, Any]) -> list[float]:
        found = architecture(name, **fields)
        return [getattr(found, cost) / target for cost, target in targets.items()]

    def deviation(fields: Mapping[str, Any]) -> float:
        return max(abs(cost - 1) for cost in relative_costs(fields))

    solved = []
    for values in product(*candidates.values()):
        fields = dict(zip(candidates, values, strict=True))
        # With the best width, one cost is as much too high as the other is too low: their sum is that of the targets.
        narrow, wide = (sum(relative_costs(fields | {"channel_hidden": hidden})) for hidden in (2, 4))
        if (hidden := 2 + 2 * round((len(targets) - narrow) / (wide - narrow))) > 0:
            solved.append(fields | {"channel_hidden": hidden})
    best = min(solved, key=deviation, default=None)
    if best is not None and deviation(best) <= tolerance:
        return best
    wanted = " and ".join(f"{cost}={target:,}" for cost, target in targets.items())
    message = (
        f"{name} can't have {wanted} within {tolerance:.1%} with these candidates: give more widths or depths, or a "
        "larger tolerance."
    )
    if best is not None:
        chosen = [field for field in best if field == "channel_hidden" or len(candidates[field]) > 1]
        values = ", ".join(f"{field}={best[field]}" for field in chosen)
        message += f" The closest deviates by {deviation(best):.1%}: {values}."
    raise UserError(message)


def _widths(base: Mapping[str, Any], step: int) -> dict[str, Any]:
    channels = _WIDTH_STEP * step
    hidden = [name for name in ("token_hidden", "channel_hidden") if name in base]
    return {"channels": channels} | {name: max(round(base[name] * channels / base["channels"]), 1) for name in hidden}


def _widths_of_heads(base: Mapping[str, Any], step: int) -> dict[str, Any]:
    return {"channels": [heads * _HEAD_WIDTH_STEP * step for heads in base["heads"]]}
