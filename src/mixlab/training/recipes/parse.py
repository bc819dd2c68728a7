"""A recipe from TOML, with everything that is wrong about it said in a sentence."""

import tomllib
from collections.abc import Iterable
from dataclasses import is_dataclass
from inspect import signature
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mixlab.errors import UserError, did_you_mean
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Recipe, Section

# pydantic's words, for its own sections and for the dataclasses of the augmentation
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


def parse_training_recipe(fields: dict[str, Any], source: str) -> Recipe:
    """The checked recipe. Raises UserError with the first thing that is wrong; `source` says where it came from."""
    return _checked(Recipe, fields, source)


def parse_recipe(fields: dict[str, Any], source: str) -> Recipe | LinearProbeRecipe:
    """As `parse_training_recipe`; with a section [linear_probe] it is the recipe of a head in closed form."""
    return _checked(LinearProbeRecipe if "linear_probe" in fields else Recipe, fields, source)


_Kind = TypeVar("_Kind", bound=Section)


def _checked(kind: type[_Kind], fields: dict[str, Any], source: str) -> _Kind:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise UserError(_sentence(error, source, kind)) from error


def apply_overrides(fields: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """`fields` with each `key=value` or `section.key=value` laid over them; values are read as TOML, else as text.

    A length that is set, in epochs or in steps, takes the place of the recipe's own in the other unit.
    """
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f'--set "{setting}" has no "=": write it as key=value, such as --set optimizer.name=sgd.')
        given[key.strip()] = _toml_value(text.strip())
    lengths = {"epochs", "steps"}
    result = {key: value for key, value in fields.items() if key not in lengths or not lengths & given.keys()}
    for key, value in given.items():
        *sections, last = key.split(".")
        inner = result
        for section in sections:
            known = inner.get(section)
            inner[section] = dict(known) if isinstance(known, dict) else {}
            inner = inner[section]
        inner[last] = value
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence(error: ValidationError, source: str, kind: type[Section]) -> str:
    """About the first thing that is wrong; unknown keys go first, since a misspelt one also misses."""
    errors = sorted(error.errors(), key=lambda one: one["type"] not in _UNKNOWN)
    first = errors[0]
    key, beside = _key_at(first["loc"], kind)
    if first["type"] in _UNKNOWN:
        hint = did_you_mean(key.rpartition(".")[2], beside) or f"Known keys: {', '.join(beside)}."
        return f'{source}: the key "{key}" is unknown. {hint}'
    if first["type"] in _MISSING and isinstance(first["loc"][-1], str):
        return f'{source}: the key "{key}" is missing, and it has no usual value: add it.'
    if isinstance(own := first.get("ctx", {}).get("error"), UserError):
        return f"{source}: {own}"
    rules = dict.fromkeys(_rule(one) for one in errors if _key_at(one["loc"], kind)[0] == key)  # one a kind of value
    return f"{source}: {key}={first['input']!r} is not possible: it must be {' or '.join(rules)}."


def _key_at(location: tuple[str | int, ...], recipe: type[Section]) -> tuple[str, list[str]]:
    """The key that pydantic's `location` in a `recipe` is at or in, with dots, and the keys of its section."""
    keys, beside, section = [], [], recipe
    for key in map(str, location):
        keys.append(key)
        fields = signature(section).parameters
        beside = list(fields)
        annotation = fields[key].annotation if key in fields else None
        section = next((kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)), None)
        if section is None:
            break
    return ".".join(keys), beside


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and (issubclass(kind, Section) or is_dataclass(kind))


def _rule(error: ErrorDetails) -> str:
    """What the value has to be, to follow "it must be"."""
    match error["type"]:
        case "model_type" | "dataclass_type":
            return "a section with keys of its own"
        case "tuple_type":
            return "a list"
        case "missing" | "too_long":
            return "a list of another length"
        case _:
            return error["msg"].removeprefix("Input should be ").partition(", unable to parse")[0]
