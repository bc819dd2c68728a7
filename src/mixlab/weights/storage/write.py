"""Writes tensors to files (safetensors, NumPy archives, pickles of torch.save), and model folders for prediction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from mixlab.data.any_preprocess import AnyPreprocess
from mixlab.errors import UserError
from mixlab.files import atomic_file, write_json, write_text
from mixlab.runs.folder import FORMAT
from mixlab.weights.adapt import Weights
from mixlab.zoo import user_code
from mixlab.zoo.architecture import Architecture

_PICKLES = (".pth", ".pt", ".tar", ".bin")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors in the format of the suffix. A pickle contains them under "state_dict", as is common."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        match path.suffix:
            case ".safetensors":
                file.write(save(contiguous))  # `save_file` of safetensors does not report a full disk
            case ".npz":
                np.savez(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in contiguous.items()})
            case _:
                torch.save({"state_dict": contiguous}, file)


def require_suffix(path: Path, *, numpy: bool) -> None:
    suffixes = (".npz",) if numpy else (".safetensors", *_PICKLES)
    if path.suffix not in suffixes:
        raise UserError(f"{path} has the wrong suffix for this format: use {' or '.join(suffixes)}.")


def write_model_folder(
    folder: Path, weights: Weights, classes: tuple[str, ...], preprocess: AnyPreprocess, model: str | None = None
) -> None:
    """Writes model.safetensors and config.json, as in a run's folder, into `folder`, which must exist."""
    write_tensors(folder / "model.safetensors", weights.tensors)
    write_config(folder, weights.architecture, classes, preprocess, model)


def write_config(
    folder: Path,
    architecture: Architecture,
    classes: Sequence[str],
    preprocess: AnyPreprocess,
    model: str | None = None,
    other_entries: Mapping[str, Any] | None = None,
) -> None:
    """Writes config.json: everything that prediction needs in addition to the tensors.

    `model` is the displayed name of the model, and `other_entries` are for other programs. User code is copied into
    `folder`.
    """
    family = architecture.family
    if (file := architecture.user_file) is not None:
        family = family.replace(str(file), user_code.COPY)
        if not (folder / user_code.COPY).exists():  # a run has a copy from its first step on
            write_text(folder / user_code.COPY, file.read_text(encoding="utf-8"))
    stored = {
        "family": family,
        "config": dict(architecture.config),
        "classes": list(classes),
        "preprocess": preprocess.to_dict(),
    }
    displayed = {"model": model} if model else {}
    write_json(folder / "config.json", {"format": FORMAT} | displayed | stored | dict(other_entries or {}))
