"""A recipe: everything that decides a training, as TOML, complete and without code."""

import tomllib
from collections.abc import Iterable
from dataclasses import is_dataclass
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mixlab.data.augment import Augmentation
from mixlab.errors import UserError, did_you_mean

Rate = Annotated[float, Field(ge=0, lt=1)]

# pydantic's words, for its own sections and for the dataclasses of the augmentation
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Optimizer(_Section):
    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0)  # at the peak of the schedule
    weight_decay: float = Field(ge=0)  # of matrices and kernels; biases and norms never decay
    betas: tuple[Rate, Rate] = (0.9, 0.999)  # adamw
    epsilon: float = Field(default=1e-8, gt=0)  # adamw
    momentum: Rate = 0.9  # sgd
    clip_norm: float | None = Field(default=None, gt=0)  # of all gradients together


class Schedule(_Section):
    name: Literal["cosine", "linear"] = "cosine"
    warmup: Rate = 0.0  # share of the steps, linear from 0
    final: float = Field(default=0.0, ge=0, le=1)  # share of the peak at the last step


class Loss(_Section):
    label_smoothing: Rate = 0.0


class Ema(_Section):
    decay: Rate  # a step


class Expected(_Section):
    """What a recipe has reached, and where: written down after it was run."""

    top1: float  # per cent, mean
    spread: float | None = None  # sample standard deviation, points
    n: int
    by: str
    on: str  # which pictures were judged
    seconds: float | None = None  # a seed
    device: str | None = None


class Recipe(_Section):
    model: str
    data: str
    image_size: int | tuple[int, int] | None = None  # pixels; None: the model's own
    epochs: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"  # pictures a step
    accumulate: int = Field(default=1, ge=1)  # parts that a batch goes through the model in
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    max_unreadable: int = Field(default=0, ge=0)  # pictures of each part that may be left out
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    speed: Literal["auto", "off"] = "auto"
    config: dict[str, Any] = {}  # the model's own fields
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    ema: Ema | None = None
    expected: Expected | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise UserError("a recipe has exactly one of epochs and steps: give one and leave the other out.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """As TOML can hold it: what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def recipe_from(fields: dict[str, Any], source: str) -> Recipe:
    """The checked recipe. Raises UserError with the first thing that is wrong; `source` says where it came from."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise UserError(_sentence(error, source)) from error


def read_recipe(name_or_path: str) -> dict[str, Any]:
    """The fields of a recipe that comes with mixlab, by its name, or of a TOML file."""
    if name_or_path in recipe_names():
        return tomllib.loads((_folder() / f"{name_or_path}.toml").read_text(encoding="utf-8"))
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(
            f'There is no recipe "{name_or_path}": it is neither a file nor one that comes with mixlab '
            f"({', '.join(recipe_names())}). {did_you_mean(name_or_path, recipe_names())}".rstrip()
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML: {error}. Mend that line.") from error


def recipe_names() -> list[str]:
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def with_settings(fields: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
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


def _folder():
    return files("mixlab") / "recipes"


def _sentence(error: ValidationError, source: str) -> str:
    """About the first thing that is wrong; unknown keys go first, since a misspelt one also misses."""
    errors = sorted(error.errors(), key=lambda one: one["type"] not in _UNKNOWN)
    first = errors[0]
    key, beside = _key_at(first["loc"])
    if first["type"] in _UNKNOWN:
        hint = did_you_mean(key.rpartition(".")[2], beside) or f"Known keys: {', '.join(beside)}."
        return f'{source}: the key "{key}" is unknown. {hint}'
    if first["type"] in _MISSING and isinstance(first["loc"][-1], str):
        return f'{source}: the key "{key}" is missing, and it has no usual value: add it.'
    if isinstance(own := first.get("ctx", {}).get("error"), UserError):
        return f"{source}: {own}"
    rules = dict.fromkeys(_rule(one) for one in errors if _key_at(one["loc"])[0] == key)  # one a kind of value
    return f"{source}: {key}={first['input']!r} is not possible: it must be {' or '.join(rules)}."


def _key_at(location: tuple[str | int, ...]) -> tuple[str, list[str]]:
    """The key that pydantic's `location` is at or in, with dots, and the keys of its section."""
    keys, beside, section = [], [], Recipe
    for part in map(str, location):
        keys.append(part)
        fields = signature(section).parameters
        beside = list(fields)
        annotation = fields[part].annotation if part in fields else None
        section = next((kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)), None)
        if section is None:
            break
    return ".".join(keys), beside


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and (issubclass(kind, _Section) or is_dataclass(kind))


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
