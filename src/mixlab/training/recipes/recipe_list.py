"""Tables of the recipes that are part of mixlab: a human-readable and a machine-readable one. Does not import torch."""

from collections.abc import Sequence
from typing import Any

from mixlab.errors import UserError, did_you_mean
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.estimate import Estimate
from mixlab.training.recipes.recipe_files import read_recipe, recipe_names, recipe_text

_KEYS = ("model", "data", "image_size", "epochs", "steps", "batch")
_EXPECTED = ("top1", "spread", "n", "by", "on", "seconds", "device")


def list_recipes(pattern: str) -> list[str]:
    """The names of the recipes that start with `pattern`. Raises UserError if there are none."""
    names = [name for name in recipe_names() if name.startswith(pattern)]
    if not names:
        raise UserError(
            f'No recipe name starts with "{pattern}": `mixlab recipes` lists all. '
            f"{did_you_mean(pattern, recipe_names())}".rstrip()
        )
    return names


def recipes_table(names: Sequence[str]) -> Table:
    """The human-readable table."""
    return Table(
        title="Recipes",
        columns=(
            Column("name", "recipe"),
            Column("model", "model"),
            Column("data", "data"),
            Column("top1", "top-1", "%"),
            Column("by", "reported by", note="recipes without a number have not been measured in exactly this form."),
            Column("device", "device"),
        ),
        rows=[_row(name, read_recipe(name)) for name in names],
        notes=("`mixlab recipes NAME` prints a recipe. Use `--data folder:PATH` for your own images.",),
    )


def recipes_full_table(names: Sequence[str]) -> Table:
    """The machine-readable table, with more columns."""
    rows = [_full_row(name, read_recipe(name)) for name in names]
    return Table(title="Recipes", columns=[Column(key, key) for key in rows[0]], rows=rows)


def _row(name: str, fields: dict[str, Any]) -> dict[str, Cell]:
    expected = fields.get("expected", {})
    return {
        "name": name,
        "model": fields["model"],
        "data": fields["data"] or "your own",
        "top1": _accuracy(expected),
        "by": expected.get("by"),
        "device": expected.get("device"),
    }


def _accuracy(expected: dict[str, Any]) -> Cell:
    """An estimate if the number of trainings is known; else the number as it was published."""
    if "n" in expected:
        return Estimate(expected["top1"], None, None, expected["n"], "%", expected.get("spread"))
    return str(expected["top1"]) if expected else None


def _full_row(name: str, fields: dict[str, Any]) -> dict[str, Cell]:
    expected = fields.get("expected", {})
    first, *_ = recipe_text(name).splitlines()
    title = first.removeprefix("# ") if first.startswith("# ") else None
    return (
        {"name": name, "title": title}
        | {key: fields.get(key) for key in _KEYS}
        | {key: expected.get(key) for key in _EXPECTED}
    )
