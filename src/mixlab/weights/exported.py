"""Reads exported models: the folders that `mixlab export` writes.

An exported model is a function of decoded images, which resizes and normalises them itself. It can predict and be
evaluated, but has no weights that mixlab could train, resize or convert.

Axes:  image, channel, row, column  images at the size of the model
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.files import translate_read_errors
from mixlab.weights import exported_sessions as sessions
from mixlab.weights.exported_sessions import Session
from mixlab.zoo.user_code import require_trusted

FORMAT = 1
"""The version of the card."""

MODEL, CARD, READER = "model.onnx", "card.json", "predict.py"
"""The files of a model in ONNX: the graph, what is known about it, and a program that needs no mixlab.

Another format has other files in the place of the first one.
"""

METADATA = ("classes", "preprocess")
"""Keys of the metadata in the files of a model, as JSON."""

_KEYS = {"format", "model", "precision", "classes", "has_class_names", "preprocess", "sha256"}
_KEYS |= {"parameters", "macs", "patch_size"}


@dataclass(frozen=True)
class ExportedFormat:
    """A file format of exported models.

    title       for messages
    files       of a model; the first one has the graph
    open        takes the contents of the files and the precision of the model
    metadata    the keys of the metadata in these contents
    runs_code   opening a file can run code from it
    """

    title: str
    files: tuple[str, ...]
    open: Callable[[Sequence[bytes], str], Session]
    metadata: Callable[[Sequence[bytes]], Collection[str]]
    runs_code: bool = False


FormatName = Literal["onnx", "openvino", "torch"]

EXPORTED_FORMATS: dict[FormatName, ExportedFormat] = {
    "onnx": ExportedFormat("ONNX", (MODEL,), sessions.open_onnx, sessions.onnx_metadata),
    "openvino": ExportedFormat(
        "OpenVINO", ("model.xml", "model.bin"), sessions.open_openvino, sessions.openvino_metadata
    ),
    "torch": ExportedFormat("PyTorch", ("model.pt2",), sessions.open_torch, sessions.torch_metadata, runs_code=True),
}


def is_exported(source: str | Path) -> bool:
    """Whether a path is a file of one of the formats, or a folder with one or with another file of an export."""
    path = Path(source).expanduser()
    if path.is_dir():
        names = CARD, READER, *(each.files[0] for each in EXPORTED_FORMATS.values())
        return any((path / name).is_file() for name in names)
    return path.is_file() and path.suffix in {Path(each.files[0]).suffix for each in EXPORTED_FORMATS.values()}


def digest_of_contents(contents: Sequence[bytes]) -> str:
    """SHA-256 of the files of a model, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


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

    source  a path for which `is_exported` is true: the folder, or its file with the graph

    Raises UserError if the folder is incomplete or was changed, if the file was written by another program, if it can
    run code and is not trusted, or if its runtime is not installed.
    """
    path = Path(source).expanduser()
    folder = path if path.is_dir() else path.parent
    format = _format_of(path)
    if not path.is_dir() and not (path.name == format.files[0] and (folder / CARD).is_file()):
        raise UserError(_not_from_mixlab(path, format))
    if missing := [name for name in (*format.files, CARD, READER) if not (folder / name).is_file()]:
        raise UserError(f"{folder} is incomplete: it has no {' and no '.join(missing)}. Export the model again.")
    card = _read_card(folder / CARD)
    contents = _contents([folder / name for name in format.files])
    digest = digest_of_contents(contents)
    if digest != card["sha256"]:
        raise UserError(
            f"{folder / format.files[0]} was changed after its export: its SHA-256 is not the one in {CARD}. Copy the "
            "folder again, or export the model again."
        )
    if format.runs_code:
        require_trusted(folder / format.files[0])
    preprocess = Preprocess.from_dict(card["preprocess"])
    return ExportedModel(
        _ExportedNetwork(format.open(contents, card["precision"])),
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


def _format_of(path: Path) -> ExportedFormat:
    """The format of a file by its suffix, or of a folder by the file that it has; ONNX if it has none."""
    formats = EXPORTED_FORMATS.values()
    if path.is_dir():
        return next((each for each in formats if (path / each.files[0]).is_file()), EXPORTED_FORMATS["onnx"])
    return next(each for each in formats if path.suffix == Path(each.files[0]).suffix)


def _contents(files: Sequence[Path]) -> list[bytes]:
    contents = []
    for file in files:
        with translate_read_errors(file):
            contents.append(file.read_bytes())
    return contents


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


def _not_from_mixlab(file: Path, format: ExportedFormat) -> str:
    """Why a file alone can't be used, with what is missing."""
    stored = format.metadata(_contents([file]))
    missing = [name for name in METADATA if name not in stored]
    if missing:
        return (
            f"{file} was not exported by mixlab: its metadata have no {' and no '.join(missing)}, so the labels and "
            "the preprocessing are unknown. Give a folder that mixlab export wrote."
        )
    needed = [*format.files, CARD]
    return f"{file} is only a part of an exported model: give the whole folder, with {', '.join(needed)} and {READER}."


class _ExportedNetwork(nn.Module):
    """Maps images with pixels from 0 to 255 to logits, in the runtime of the model."""

    def __init__(self, session: Session):
        super().__init__()
        self._session = session

    def forward(self, images: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image class"]:
        return self._session(images.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous())
