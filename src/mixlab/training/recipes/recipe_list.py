"""The recipes that come with mixlab as a table: a narrow one for people, a complete one for programs; no torch."""

from collections.abc import Sequence
from typing import Any

from mixlab.errors import UserError, did_you_mean
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.estimate import Estimate
from mixlab.training.recipes.recipe_files import read_recipe, recipe_names, recipe_text

_KEYS = ("model", "data", "image_size", "epochs", "steps", "batch")
_EXPECTED = ("top1", "spread", "n", "by", "on", "seconds", "device")


def list_recipes(pattern: str) -> list[str]:
    """The names that begin with `pattern`. Raises UserError where none does."""
    found = [name for name in recipe_names() if name.startswith(pattern)]
    if not found:
        raise UserError(
            f'No recipe\'s name begins with "{pattern}": `mixlab recipes` lists all. '
            f"{did_you_mean(pattern, recipe_names())}".rstrip()
        )
    return found


def recipes_table(names: Sequence[str]) -> Table:
    return Table(
        title="Recipes",
        columns=(
            Column("name", "recipe"),
            Column("model", "model"),
            Column("data", "data"),
            Column("top1", "top-1", "%"),
            Column(
                "by", "whose", note="who has measured it; where nobody has with just this recipe, there is no number."
            ),
            Column("device", "device"),
        ),
        rows=[_row(name, read_recipe(name)) for name in names],
        notes=("`mixlab recipes NAME` shows one whole; data of one's own are given as `--data folder:PATH`.",),
    )


def recipes_full_table(names: Sequence[str]) -> Table:
    rows = [_full_row(name, read_recipe(name)) for name in names]
    return Table(title="Recipes", columns=[Column(key, key) for key in rows[0]], rows=rows)


def _row(name: str, fields: dict[str, Any]) -> dict[str, Cell]:
    expected = fields.get("expected", {})
    return {
        "name": name,
        "model": fields["model"],
        "data": fields["data"] or "one's own",
        "top1": _accuracy(expected),
        "by": expected.get("by"),
        "device": expected.get("device"),
    }


def _accuracy(expected: dict[str, Any]) -> Cell:
    """As an estimate where trainings were counted; else as it was printed."""
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
