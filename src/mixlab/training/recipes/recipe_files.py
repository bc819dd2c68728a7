"""Reads recipes, those of mixlab and those in files, without checking them and without importing torch."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from mixlab.errors import UserError, did_you_mean
from mixlab.zoo.code_names import split_name, with_file


def recipe_names() -> list[str]:
    """The sorted names of the recipes that are part of mixlab."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The text of a recipe that is part of mixlab, with its comments."""
    return (_folder() / f"{name}.toml").read_text(encoding="utf-8")


def read_recipe(name_or_path: str) -> dict[str, Any]:
    """The fields of a recipe, by name or from a TOML file. Raises UserError if it is missing or not TOML."""
    if name_or_path in recipe_names():
        return tomllib.loads(recipe_text(name_or_path))
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(
            f'There is no recipe "{name_or_path}": it is neither a file nor a name that `mixlab recipes` lists. '
            f"{did_you_mean(name_or_path, recipe_names())}".rstrip()
        )
    try:
        return with_local_code(tomllib.loads(path.read_text(encoding="utf-8")), path.parent)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}. Correct this line.") from error


def with_local_code(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the FILE of a model py:FILE.py:NAME absolute. A relative FILE is relative to `folder`."""
    model = str(fields.get("model", ""))
    if not model.startswith("py:"):
        return fields
    return fields | {"model": with_file(model, folder.resolve() / split_name(model)[0])}


def _folder():
    return files("mixlab") / "recipes"
