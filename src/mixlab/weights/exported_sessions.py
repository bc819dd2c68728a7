"""Opens the files of exported models with their runtimes, on the CPU and with PyTorch's number of threads.

Axes:  image, row, column  images at the size of the model
"""

import json
import zipfile
from collections.abc import Callable, Collection, Sequence
from io import BytesIO
from threading import Lock
from typing import Any
from warnings import catch_warnings
from xml.etree import ElementTree

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mixlab.data.readers.extras import first_line, needs_extra
from mixlab.errors import UserError
from mixlab.speed.openvino import OpenVinoPrecision, compile_openvino, core

Session = Callable[[UInt8[Tensor, "image row column 3"]], Float[Tensor, "image class"]]
"""Maps resized images to logits in fp32."""

INFERENCE_PRECISION: dict[str, OpenVinoPrecision] = {"fp32": "fp32", "bf16": "bf16", "int8": "bf16"}
"""The precision of the layers that are not quantised, by the precision of a model in OpenVINO."""

METADATA_FILE = "metadata.json"
"""The extra file of a program of PyTorch."""


def open_onnx(contents: Sequence[bytes], precision: str) -> Session:
    """A session of ONNX Runtime. Raises UserError if onnxruntime is not installed or can't open the file."""
    session, lock = onnx_session(contents[0]), Lock()

    def logits(images: Tensor) -> Tensor:
        with lock:
            (found,) = session.run(["logits"], {"images": images.numpy(), "is_resized": np.ones((), dtype=bool)})
        return torch.from_numpy(found)

    return logits


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


def onnx_metadata(contents: Sequence[bytes]) -> Collection[str]:
    """The keys of the metadata of an ONNX file."""
    return onnx_session(contents[0]).get_modelmeta().custom_metadata_map


def open_openvino(contents: Sequence[bytes], precision: str) -> Session:
    """A compiled network of OpenVINO. Raises UserError if openvino is not installed or can't read the files."""
    reader = core()
    graph, weights = contents
    try:
        network = reader.read_model(graph, weights)
    except RuntimeError as error:
        raise UserError(f"The files can't be read by OpenVINO: {first_line(error)}") from error
    forward = compile_openvino(network, INFERENCE_PRECISION[precision])
    return lambda images: forward(images)[1]


def openvino_metadata(contents: Sequence[bytes]) -> Collection[str]:
    """The keys of mixlab in the runtime information of a graph of OpenVINO."""
    try:
        stored = ElementTree.fromstring(contents[0]).find("rt_info/mixlab")
    except ElementTree.ParseError as error:
        raise UserError(f"The file can't be read as a graph of OpenVINO: {error}.") from error
    return () if stored is None else [element.tag for element in stored]


def open_torch(contents: Sequence[bytes], precision: str) -> Session:
    """A program of PyTorch. Raises UserError if torch can't load it."""
    try:
        with catch_warnings(action="ignore"):  # PyTorch 2.11 warns about buffers of its own
            program = torch.export.load(BytesIO(contents[0])).module()
    except Exception as error:  # torch.export has no class of errors of its own
        raise UserError(
            f"The program can't be loaded by PyTorch {torch.__version__} ({first_line(error)}): export the model again "
            "with this version."
        ) from error
    is_resized = torch.ones((), dtype=torch.bool)
    return lambda images: program(images, is_resized)[1]


def torch_metadata(contents: Sequence[bytes]) -> Collection[str]:
    """The keys of the extra file of a program of PyTorch."""
    try:
        with zipfile.ZipFile(BytesIO(contents[0])) as archive:
            files = [name for name in archive.namelist() if name.endswith(f"extra/{METADATA_FILE}")]
            return json.loads(archive.read(files[0])) if files else ()
    except (zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"The file can't be read as a program of PyTorch: {error}.") from error
