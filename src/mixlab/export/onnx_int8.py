"""int8 in ONNX Runtime.

First with ONNX Runtime's static quantisation of convolutions and matrix products, with a scale for each output channel.
NNCF, which corrects biases, is tried if this loses accuracy; for ConvMixers its result was slower than fp32
(docs/log.md).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.data.readers.extras import needs_extra
from mixlab.speed.inference_plan import Forward
from mixlab.speed.int8 import quantize_with_nncf
from mixlab.speed.onnx import onnx_bytes
from mixlab.weights.exported_sessions import onnx_session
from mixlab.weights.load import Pretrained, build_with_weights

_QUANTISED = ["Conv", "MatMul", "Gemm"]


class OnnxInt8:
    """Quantises and runs networks for `mixlab.prediction.int8`. A network is the content of an ONNX file."""

    name, rival = "onnx", "fp32"
    methods: Sequence[str] = ("onnxruntime", "nncf")

    def convert(self, pretrained: Pretrained, key: Mapping[str, Any]) -> bytes:
        return onnx_bytes(build_with_weights(pretrained.weights), (3, *pretrained.image_preprocess.image_size))

    def cached(self, key: Mapping[str, Any], build: Callable[[], bytes]) -> bytes:
        return build()

    def quantize(self, network: bytes, images: Sequence[Tensor], method: str) -> bytes:
        return quantize_onnx_with_nncf(network, images) if method == "nncf" else quantize_onnx(network, images)

    def compile(self, network: bytes, precision: str) -> Forward:
        session = onnx_session(network)
        return lambda images: (torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]),)


def quantize_onnx(network: bytes, images: Sequence[Float[Tensor, "1 channel row column"]]) -> bytes:
    """A copy of an ONNX file with weights and activations in 8 bits.

    images  preprocessed training images, whose smallest and largest activations are the ranges

    Raises UserError if onnxruntime or onnx are not installed.
    """
    with needs_extra("int8", "deploy"):
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    with TemporaryDirectory() as folder, catch_warnings():
        simplefilter("ignore")
        original, prepared, quantised = (Path(folder) / name for name in ("original", "prepared", "quantised"))
        original.write_bytes(network)
        quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            _Images(images),  # pyright: ignore[reportArgumentType]
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return quantised.read_bytes()


def quantize_onnx_with_nncf(network: bytes, images: Sequence[Float[Tensor, "1 channel row column"]]) -> bytes:
    """As `quantize_onnx`, with NNCF, which also corrects biases. Raises UserError if nncf or onnx are not installed."""
    with needs_extra("int8", "deploy"):
        import onnx
    samples = [{"images": image.numpy()} for image in images]
    with catch_warnings(action="ignore"):
        return quantize_with_nncf(onnx.load_from_string(network), samples).SerializeToString()


class _Images:
    """ONNX Runtime's interface CalibrationDataReader: one image after another, then None."""

    def __init__(self, images: Sequence[Tensor]):
        self._images: Iterator[np.ndarray] = iter([image.numpy() for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image}
