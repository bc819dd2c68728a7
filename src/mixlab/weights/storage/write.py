"""Tensors into files (numpy's archive, safetensors, PyTorch's pickle), and a folder with all that prediction needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.files import atomic_file, write_json, write_text
from mixlab.runs.folder import FORMAT
from mixlab.weights.adapt import Weights
from mixlab.zoo import user_code
from mixlab.zoo.architecture import Architecture

_PICKLES = (".pth", ".pt", ".tar", ".bin")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """The suffix says how. A pickle has them as the `state_dict` of a checkpoint, where other programs look for it."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        match path.suffix:
            case ".safetensors":
                file.write(save(contiguous))  # safetensors' own writing hides that a disk is full
            case ".npz":
                np.savez(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in contiguous.items()})
            case _:
                torch.save({"state_dict": contiguous}, file)


def require_suffix(path: Path, *, numpy: bool) -> None:
    able = (".npz",) if numpy else (".safetensors", *_PICKLES)
    if path.suffix not in able:
        raise UserError(f"{path} has not the name of a file in this format: let it end in {' or '.join(able)}.")


def write_model_folder(
    folder: Path, weights: Weights, classes: tuple[str, ...], preprocess: Preprocess, model: str | None = None
) -> None:
    """model.safetensors and config.json, as in a run's folder, into `folder`, which exists; `load` reads it."""
    write_tensors(folder / "model.safetensors", weights.tensors)
    write_config(folder, weights.architecture, classes, preprocess, model)


def write_config(
    folder: Path,
    architecture: Architecture,
    classes: Sequence[str],
    preprocess: Preprocess,
    model: str | None = None,
) -> None:
    """config.json: all that a prediction needs beside the tensors; `model` is the name to show. A user's own code is
    copied beside it.
    """
    family = architecture.family
    if (file := architecture.user_file) is not None:
        family = family.replace(str(file), user_code.COPY)
        if not (folder / user_code.COPY).exists():  # a run has its copy since its first step
            write_text(folder / user_code.COPY, file.read_text(encoding="utf-8"))
    stored = {
        "family": family,
        "config": dict(architecture.config),
        "classes": list(classes),
        "preprocess": preprocess.to_dict(),
    }
    write_json(folder / "config.json", {"format": FORMAT} | ({"model": model} if model else {}) | stored)
