"""Reads exported models: the folders that `mixlab export` writes.

An exported model is a function of decoded images, which resizes and normalises them itself. It can predict and be
evaluated, but has no weights that mixlab could train, resize or convert.

Axes:  image, channel, row, column  images at the size of the model
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.extras import first_line, needs_extra
from mixlab.errors import UserError
from mixlab.files import translate_read_errors

FORMAT = 1
MODEL, CARD, READER = "model.onnx", "card.json", "predict.py"
"""The files of an exported model: the graph, what is known about it, and a program that needs no mixlab."""

METADATA = ("classes", "preprocess")
"""Keys of the metadata of the ONNX file, as JSON."""

_KEYS = {"format", "model", "precision", "classes", "has_class_names", "preprocess", "sha256"}
_KEYS |= {"parameters", "macs", "patch_size"}


def is_exported(source: str | Path) -> bool:
    """Whether a path is an ONNX file, or a folder with one."""
    path = Path(source).expanduser()
    if path.is_dir():
        return (path / MODEL).is_file() or (path / READER).is_file()
    return path.suffix == ".onnx" and path.is_file()


@dataclass(frozen=True)
class ExportedModel:
    """An exported model.

    network     maps images, as `preprocess` returns them, to logits; it runs on the CPU
    classes     the names of the classes, or their indices if `has_class_names` is False
    preprocess  decodes and resizes images, whose pixels remain from 0 to 255
    mean        the mean in the preprocessing of the graph, for pixel values in [0, 1]
    precision   of the network, such as "fp32"
    parameters  their number in the network
    macs        multiply-accumulates of the network for one image
    patch_size  the longer side of a patch in pixels; 1 without patches
    digest      SHA-256 of the file, in hexadecimal
    """

    network: nn.Module
    classes: tuple[str, ...]
    has_class_names: bool
    preprocess: Preprocess
    mean: tuple[float, float, float]
    precision: str
    parameters: int
    macs: int
    patch_size: int
    digest: str


def read_exported(source: str | Path) -> ExportedModel:
    """Open an exported model.

    source  a path for which `is_exported` is true: the folder, or its model.onnx

    Raises UserError if the folder is incomplete or was changed, if the file was written by another program, or if
    onnxruntime is not installed.
    """
    path = Path(source).expanduser()
    folder = path if path.is_dir() else path.parent
    file = folder / MODEL if path.is_dir() else path
    if not path.is_dir() and not (file.name == MODEL and (folder / CARD).is_file()):
        raise UserError(_not_from_mixlab(file))
    if missing := [name for name in (MODEL, CARD, READER) if not (folder / name).is_file()]:
        raise UserError(f"{folder} is incomplete: it has no {' and no '.join(missing)}. Export the model again.")
    card = _read_card(folder / CARD)
    with translate_read_errors(file):
        content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card["sha256"]:
        raise UserError(
            f"{file} was changed after its export: its SHA-256 is not the one in {CARD}. Copy the folder again, or "
            "export the model again."
        )
    preprocess = Preprocess.from_dict(card["preprocess"])
    return ExportedModel(
        _OnnxNetwork(content),
        tuple(card["classes"]),
        card["has_class_names"],
        replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255), transform=None),
        preprocess.mean,
        card["precision"],
        card["parameters"],
        card["macs"],
        card["patch_size"],
        digest,
    )


def _read_card(file: Path) -> dict[str, Any]:
    with translate_read_errors(file):
        text = file.read_text(encoding="utf-8")
    try:
        card = json.loads(text)
        missing = sorted(_KEYS - card.keys())
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}): copy the folder again.") from error
    if missing:
        raise UserError(f"{file} has no {', '.join(missing)}: export the model again with this version of mixlab.")
    if card["format"] != FORMAT:
        raise UserError(
            f"{file} has format {card['format']}, but this version of mixlab reads format {FORMAT}: export the model "
            "again."
        )
    return card


def _not_from_mixlab(file: Path) -> str:
    """Why an ONNX file alone can't be used, with what is missing."""
    stored = onnx_session(file.read_bytes()).get_modelmeta().custom_metadata_map
    missing = [name for name in METADATA if name not in stored]
    if missing:
        return (
            f"{file} was not exported by mixlab: its metadata have no {' and no '.join(missing)}, so the labels and "
            "the preprocessing are unknown. Give a folder that mixlab export wrote."
        )
    return f"{file} is only a part of an exported model: give the whole folder, with {MODEL}, {CARD} and {READER}."


class _OnnxNetwork(nn.Module):
    """Maps images with pixels from 0 to 255 to logits, with ONNX Runtime on the CPU."""

    def __init__(self, content: bytes):
        super().__init__()
        self._session = onnx_session(content)
        self._lock = Lock()

    def forward(self, images: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image class"]:
        pixels = images.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        with self._lock:
            (logits,) = self._session.run(["logits"], {"images": pixels, "is_resized": np.ones((), dtype=bool)})
        return torch.from_numpy(logits)


def onnx_session(content: bytes) -> Any:
    """A session of ONNX Runtime with PyTorch's number of threads."""
    with needs_extra("An exported model", "deploy"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # else idle threads slow other work
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of errors for each status
        raise UserError(f"The ONNX file can't be opened by ONNX Runtime: {first_line(error)}") from error
