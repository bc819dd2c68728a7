"""Parse and check recipes. Every error is reported as one sentence."""

import tomllib
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mixlab.errors import UserError
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.key_hints import all_keys, section_type, suggested_key
from mixlab.training.recipes.schema import Recipe
from mixlab.training.recipes.section import Section

# pydantic's error types, for models and for dataclasses
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")
_NOT_A_SECTION = ("model_type", "dataclass_type")


def parse_training_recipe(fields: dict[str, Any], source: str) -> Recipe:
    """Check the fields of a recipe.

    Raises UserError with the first error. The message starts with `source`, the name or path of the recipe.
    """
    return _checked(Recipe, fields, source)


def parse_recipe(fields: dict[str, Any], source: str) -> Recipe | LinearProbeRecipe:
    """Check the fields of a recipe of a training, or of a linear probe if there is a section [linear_probe].

    Raises UserError as `parse_training_recipe` does.
    """
    return _checked(LinearProbeRecipe if "linear_probe" in fields else Recipe, fields, source)


_Kind = TypeVar("_Kind", bound=Section)


def _checked(kind: type[_Kind], fields: dict[str, Any], source: str) -> _Kind:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise UserError(_message(error, source, kind)) from error


def apply_overrides(fields: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """`with_keys` with the keys of `parse_settings`."""
    return with_keys(fields, parse_settings(settings))


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """The keys and values of settings `key=value` or `section.key=value`.

    Values are parsed as TOML; what is not valid TOML is a string. Raises UserError if a setting has no "=".
    """
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f'--set "{setting}" has no "=": write key=value, for example --set optimizer.name=sgd.')
        given[key.strip()] = _toml_value(text.strip())
    return given


def with_keys(fields: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `fields` with the keys `given`, such as "optimizer.name"; `epochs` replaces `steps`, and vice versa."""
    lengths = {"epochs", "steps"}
    result = {key: value for key, value in fields.items() if key not in lengths or not lengths & given.keys()}
    for key, value in given.items():
        *sections, last = key.split(".")
        inner = result
        for section in sections:
            existing = inner.get(section)
            inner[section] = dict(existing) if isinstance(existing, dict) else {}
            inner = inner[section]
        inner[last] = value
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _message(error: ValidationError, source: str, kind: type[Section]) -> str:
    """The message for the first error. Unknown keys come first, because a misspelt key is also reported as missing."""
    errors = sorted(error.errors(), key=lambda details: details["type"] not in _UNKNOWN)
    first = errors[0]
    key, section_keys = _key_at(first["loc"], kind)
    if first["type"] in _UNKNOWN:
        return f'{source}: the key "{key}" is unknown. {_hint(key, section_keys, kind)}'
    if first["type"] in _NOT_A_SECTION and f"{key}.name" in all_keys(kind):
        return f"{source}: {key}={first['input']!r} is invalid: {key} is a section. Did you mean {key}.name?"
    if first["type"] in _MISSING and isinstance(first["loc"][-1], str):
        return f'{source}: the key "{key}" is missing: it has no default, so add it.'
    if isinstance(user_error := first.get("ctx", {}).get("error"), UserError):
        return f"{source}: {user_error}"
    # a union type has an error for each of its types
    rules = dict.fromkeys(_rule(details) for details in errors if _key_at(details["loc"], kind)[0] == key)
    return f"{source}: {key}={first['input']!r} is invalid: it must be {' or '.join(rules)}."


def _hint(key: str, section_keys: list[str], kind: type[Section]) -> str:
    if kind is LinearProbeRecipe and key in signature(Recipe).parameters:
        return (
            "This recipe is a linear probe, which has no training steps: remove the key, or train with steps by naming "
            "a model, for example --model convmixer_nano."
        )
    return suggested_key(key, section_keys, kind) or f"Known keys: {', '.join(section_keys)}."


def _key_at(location: tuple[str | int, ...], recipe: type[Section]) -> tuple[str, list[str]]:
    """The key at or around pydantic's `location` in a `recipe`, with dots, and all keys of its section."""
    keys, section_keys, section = [], [], recipe
    for key in map(str, location):
        keys.append(key)
        fields = signature(section).parameters
        section_keys = list(fields)
        annotation = fields[key].annotation if key in fields else None
        section = section_type(annotation)
        if section is None:
            break
    return ".".join(keys), section_keys


def _rule(error: ErrorDetails) -> str:
    """The rule that the value violates, worded to follow "it must be"."""
    match error["type"]:
        case kind if kind in _NOT_A_SECTION:
            return "a section with keys"
        case "tuple_type":
            return "a list"
        case "missing" | "too_long":
            return "a list of another length"
        case _:
            return error["msg"].removeprefix("Input should be ").partition(", unable to parse")[0]
