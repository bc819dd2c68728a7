"""The file formats of exported models: possible precisions, and predict.py of each format."""

import ast

import pytest

from mixlab.errors import UserError
from mixlab.export.model_formats import MODEL_FORMATS, reader_text, require_precision
from mixlab.export.parity import TOLERANCES
from mixlab.weights.exported import EXPORTED_FORMATS


@pytest.mark.parametrize(
    ("to", "precision", "message"),
    [
        ("onnx", "bf16", "because ONNX Runtime's CPU refuses bf16: give fp32, fp16 or int8"),
        ("openvino", "fp16", "because OpenVINO computes in fp32 or bf16 on most CPUs: give fp32, bf16 or int8"),
        ("torch", "fp16", "because PyTorch is slow in fp16 on CPUs: give fp32 or bf16"),
        ("torch", "int8", "because mixlab quantises for ONNX Runtime and OpenVINO only: give fp32 or bf16"),
    ],
)
def test_a_precision_that_a_format_can_not_have_is_refused_with_its_reason(to, precision, message):
    with pytest.raises(UserError, match=f"--precision {precision} is not possible with --to {to}, {message}"):
        require_precision(to, precision)


def test_every_precision_of_a_format_is_possible_or_has_a_reason():
    assert MODEL_FORMATS.keys() == EXPORTED_FORMATS.keys()
    for to, format in MODEL_FORMATS.items():
        assert {*format.precisions, *format.reasons} == set(TOLERANCES)
        for precision in format.precisions:
            require_precision(to, precision)


@pytest.mark.parametrize("to", MODEL_FORMATS)
def test_predict_py_has_at_most_60_lines_of_code_and_imports_only_the_runtime(to):
    text = reader_text(to)
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 60
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names if isinstance(node, ast.Import)}
    names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    runtime = {"onnx": {"onnxruntime"}, "openvino": {"openvino"}, "torch": {"torch", "warnings"}}[to]
    assert names == {"json", "sys", "pathlib", "numpy", "PIL"} | runtime
