"""A recipe: everything that decides a training, as TOML, complete and without code."""

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mixlab.data.augment import Augmentation
from mixlab.errors import UserError, did_you_mean

Rate = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    max_unreadable: int = Field(default=0, ge=0)  # pictures
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
            raise UserError("A recipe needs exactly one of epochs and steps: give one and leave the other out.")
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
    """`fields` with each `key=value` or `section.key=value` laid over them; values are read as TOML, else as text."""
    result = dict(fields)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f'--set "{setting}" has no "=": write it as key=value, such as --set optimizer.name=sgd.')
        *sections, last = key.strip().split(".")
        inner = result
        for section in sections:
            inner[section] = dict(inner.get(section) or {})
            inner = inner[section]
        inner[last] = _toml_value(text.strip())
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _folder():
    return files("mixlab") / "recipes"


def _sentence(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        siblings = _keys_beside(first["loc"])
        hint = did_you_mean(str(first["loc"][-1]), siblings) or f"Known keys: {', '.join(siblings)}."
        return f'{source}: the key "{key}" is unknown. {hint}'
    if first["type"] in ("missing", "missing_argument"):
        return f'{source}: the key "{key}" is missing: every recipe needs it.'
    rule = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{source}: {key}={first['input']!r} is not possible: it must be {rule}."


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """The keys of the section that `location` is in."""
    section: Any = Recipe
    for part in location[:-1]:
        section = {
            "optimizer": Optimizer,
            "schedule": Schedule,
            "augmentation": Augmentation,
            "loss": Loss,
            "ema": Ema,
            "expected": Expected,
        }.get(str(part), section)
    return list(getattr(section, "model_fields", None) or section.__dataclass_fields__)
