"""Runtimes other than PyTorch, on the CPU, for one batch of images."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from mixlab.speed.onnx import write_onnx
from mixlab.speed.openvino import OpenVinoPrecision, compile_openvino, to_openvino


def openvino_pass(network: nn.Module, images: Tensor, precision: OpenVinoPrecision) -> Callable[[], object]:
    """A forward pass of `images` (batch, channel, row, column) in OpenVINO, converted for this size of batch."""
    converted = to_openvino(network, images.shape[1:])
    converted.reshape(list(images.shape))
    forward = compile_openvino(converted, precision)
    return lambda: forward(images)


def onnxruntime_pass(network: nn.Module, images: Tensor) -> Callable[[], object]:
    """A forward pass of `images` (batch, channel, row, column) in ONNX Runtime, with PyTorch's number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # else its idle threads slow the other peers
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(network, images.shape[1:], file)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = {"images": images.numpy()}
    return lambda: session.run(None, inputs)
