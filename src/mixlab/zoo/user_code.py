"""Models in the user's Python files: `py:FILE.py:NAME`, where NAME is a class or a function.

NAME is called with one argument, a config: an instance of the dataclass that annotates the parameter. The config must
have the fields `image_size`, `image_channels` and `classes`; the returned module must have the submodules of a family
(see `mixlab.models.contract`).

A file that you give with --model or in Python is run, and is trusted from then on. A file that a recipe or a folder of
weights refers to is run only if it is trusted. So are exported programs of PyTorch (.pt2), because `torch.export.load`
unpickles objects and evaluates expressions.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, get_type_hints

import torch
from torch import nn

from mixlab.errors import UserError, did_you_mean
from mixlab.files import cache_folder, translate_access_errors, write_text
from mixlab.models.contract import input_dtype, input_shape
from mixlab.runs.sources import code_digest

COPY = "architecture.py"
"""The name of the copy in the folder of a run or of a model."""

PROGRAM = ".pt2"
"""The suffix of exported programs of PyTorch."""

_PARTS = ("config", "stem", "body", "norm", "head", "embed", "feature_maps")
"""The anatomy of a model, see `mixlab.models.contract`."""

_CONFIG_FIELDS = ("image_size", "image_channels", "classes")

_trusts_all = False


def trust_all_code() -> None:
    """Trust the code in every folder that this process opens from now on."""
    global _trusts_all
    _trusts_all = True


def trust_code(file: str | Path) -> None:
    """Trust this code and all copies of it, permanently for this user. Changed comments do not matter."""
    path = Path(file).expanduser()
    marker = _trusted(digest_of(path))
    if not marker.exists():
        write_text(marker, f"{path.resolve()}\n")


def require_trusted(file: Path) -> None:
    """Raises UserError if the code in `file` is not trusted."""
    if _trusts_all:
        trust_code(file)
    if not _trusted(digest_of(file)).exists():
        reason = (
            "is a program that was not exported on this machine, and PyTorch can run any code when it opens it: if you "
            "trust who made it"
            if file.suffix == PROGRAM
            else "is a model's code that was not run on this machine before: read it, and if you trust it"
        )
        raise UserError(f'{file} {reason}, give --trust-code, or call mixlab.trust_code("{file}") in Python.')


@translate_access_errors()
def digest_of(file: Path) -> str:
    """The digest of the code as 64 hexadecimal digits. Raises UserError if the file is missing or not valid Python."""
    try:
        if file.suffix == PROGRAM:
            return hashlib.sha256(file.read_bytes()).hexdigest()
        return code_digest(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"There is no file {file}: give py:FILE.py:NAME with the path of a Python file.") from error
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file} is not valid Python ({error}): correct it.") from error


def builder(file: Path, name: str) -> Any:
    """The class or function `name` of `file`. Raises UserError if there is none."""
    digest_of(file)
    module = _import(file)
    found = getattr(module, name, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise UserError(
            f"{file} has no class or function {name}: it defines {', '.join(names) or 'none'}. "
            f"{did_you_mean(name, names)}".rstrip()
        )
    return found


def config_class(build: Callable[[Any], nn.Module], name: str) -> type:
    """The dataclass that annotates the only parameter of `build`. Raises UserError."""
    function = build.__init__ if isinstance(build, type) else build
    with _errors_of(name, "has annotations that can't be read"):
        annotations = get_type_hints(function)
    hints = {key: value for key, value in annotations.items() if key not in ("return", "self")}
    found = next(iter(hints.values()), None)
    if not is_dataclass(found):
        raise UserError(
            f"{name} takes no config: give it one parameter that is annotated with a dataclass, as in "
            f"`def {name.rpartition(':')[2]}(config: MixerConfig)`."
        )
    needed = ("classes",) if hasattr(found, "input_shape") else _CONFIG_FIELDS
    missing = [field for field in needed if field not in found.__dataclass_fields__]
    if missing:
        raise UserError(
            f"{name} has a config, {getattr(found, '__name__', found)}, without {', '.join(missing)}: add these fields "
            "to the dataclass, because they follow from the data."
        )
    return found  # pyright: ignore[reportReturnType]


def build(make: Callable[[Any], Any], config: Any, family: str) -> Any:
    """`make(config)`. Raises UserError, with the line, if the code raises an exception."""
    with _errors_of(family, "can't be built"):
        return make(config)


def require_anatomy(model: Any, family: str) -> None:
    """Raises UserError if a model on the meta device lacks a part, or does not map images to a logit for each class."""
    missing = [part for part in _PARTS if not hasattr(model, part)]
    if missing:
        raise UserError(
            f"{family} has no {', '.join(missing)}: a model needs {', '.join(_PARTS)}, as in mixlab.models.contract."
        )
    config, images = model.config, _meta_images(model.config)
    with _errors_of(family, f"can't compute images of shape {tuple(images.shape)}"):
        logits = model(images)
    expected = (2, config.classes)
    if config.classes and getattr(logits, "shape", None) != expected:
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(
            f"{family} returns {given} for images of shape {tuple(images.shape)}: forward must return the logits, a "
            f"tensor of shape (batch, class), which is {expected} here."
        )


def require_trainable(model: nn.Module, family: str) -> None:
    """Raises UserError if the logits of a model on the meta device depend on no parameter with a gradient."""
    if not model(_meta_images(model.config)).requires_grad:
        raise UserError(
            f"{family} has nothing to train: its logits depend on no parameter with requires_grad. Add parameters, or "
            "remove what cuts their gradients, such as detach() or no_grad()."
        )


def _meta_images(config: Any) -> torch.Tensor:
    """A batch of two inputs of a model on the meta device."""
    return torch.empty(2, *input_shape(config), dtype=input_dtype(config), device="meta")


@contextmanager
def _errors_of(family: str, failure: str) -> Iterator[None]:
    """Turn an exception of the user's code into a UserError with its line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        file = Path(family.removeprefix("py:").rpartition(":")[0])
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f"line {lines[-1]}" if lines else "it"
        message = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        rule = " (a model is a single file, without imports of your other files)"
        reason = f"{message}{rule if isinstance(error, ModuleNotFoundError) else ''}"
        raise UserError(f"{family} {failure}, because {place} raises {reason}. Correct it.") from error


def _import(file: Path) -> ModuleType:
    """Import the file under a module name with the digest of its code, so that its classes can be pickled."""
    name = f"mixlab_user_code_{digest_of(file)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _errors_of(f"py:{file}:", "can't be imported"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _trusted(digest: str) -> Path:
    return cache_folder() / "trusted-code" / digest
