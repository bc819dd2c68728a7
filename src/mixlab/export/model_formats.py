"""The file formats of `mixlab export`: who writes a model, the reader beside it, and the possible precisions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mixlab.errors import UserError
from mixlab.export import standalone_onnx, standalone_openvino, standalone_predict, standalone_torch
from mixlab.export.onnx_model import write_onnx_model
from mixlab.export.openvino_model import write_openvino_model
from mixlab.export.torch_model import write_torch_model
from mixlab.export.writer import Precision, Request, Written
from mixlab.report.text import join_words
from mixlab.weights.exported import FormatName

_IMPORT = "\nfrom mixlab.export.standalone_onnx import open_model\n"


@dataclass(frozen=True)
class ModelFormat:
    """How a model is written; its files are in `EXPORTED_FORMATS`.

    write       writes the files into a folder
    reader      the module with `open_model` of predict.py
    precisions  that are possible
    reasons     why others are not
    """

    write: Callable[[Path, Request], Written]
    reader: ModuleType
    precisions: tuple[Precision, ...]
    reasons: Mapping[Precision, str]


MODEL_FORMATS: dict[FormatName, ModelFormat] = {
    "onnx": ModelFormat(
        write_onnx_model,
        standalone_onnx,
        ("fp32", "fp16", "int8"),
        {"bf16": "ONNX Runtime's CPU refuses bf16"},
    ),
    "openvino": ModelFormat(
        write_openvino_model,
        standalone_openvino,
        ("fp32", "bf16", "int8"),
        {"fp16": "OpenVINO computes in fp32 or bf16 on most CPUs"},
    ),
    "torch": ModelFormat(
        write_torch_model,
        standalone_torch,
        ("fp32", "bf16"),
        {"fp16": "PyTorch is slow in fp16 on CPUs", "int8": "mixlab quantises for ONNX Runtime and OpenVINO only"},
    ),
}


def require_precision(to: FormatName, precision: Precision) -> None:
    """Raises UserError if a format can't have this precision."""
    format = MODEL_FORMATS[to]
    if precision not in format.precisions:
        raise UserError(
            f"--precision {precision} is not possible with --to {to}, because {format.reasons[precision]}: give "
            f"{join_words(format.precisions, conjunction='or')}."
        )


def reader_text(to: FormatName) -> str:
    """The program predict.py."""
    program, part = (_source(module) for module in (standalone_predict, MODEL_FORMATS[to].reader))
    functions = part[part.index("def open_model") :]
    return program.replace(_IMPORT, "").replace("if __name__", f"{functions}\n\nif __name__")


def _source(module: ModuleType) -> str:
    return Path(module.__file__ or "").read_text(encoding="utf-8")
