"""A folder with a page that classifies images in the browser. Images do not leave the device.

    index.html       the page
    classifier.mjs   its worker, which decodes images and runs the model
    model.json       the classes, and the places of maps
    preprocess.onnx  from an image of any size to the input of the network
    network.onnx     from there to the probabilities
    ort*             ONNX Runtime Web

Axes:  batch          images
       rows, columns  pixels of the image size of the model
       row, column    places of the feature map
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.export.class_maps import has_class_maps, logits_and_class_maps
from mixlab.export.classification_page import SOURCES, classification_page
from mixlab.export.export import files_to_compare, load_to_export, model_name
from mixlab.export.parity import TOLERANCES, compare_answers
from mixlab.export.preprocess_graph import preprocess_graph
from mixlab.export.standalone_predict import decode
from mixlab.export.web_runtime import WEBASSEMBLY, WEBGPU, write_runtime
from mixlab.files import atomic_folder, write_json, write_text
from mixlab.models.contract import ImageSize
from mixlab.prediction.importance_map import equal_spans
from mixlab.prediction.occlusion import default_window, place_windows
from mixlab.prediction.patches import patch_size
from mixlab.prediction.predictor import class_labels
from mixlab.report.progress import Log
from mixlab.speed.onnx import onnx_bytes
from mixlab.weights.exported_sessions import onnx_session
from mixlab.weights.load import build_with_weights
from mixlab.zoo.architecture import Model

PREPROCESS, NETWORK = "preprocess.onnx", "network.onnx"

Provider = Literal["wasm", "webgpu"]
"""WebAssembly, or WebGPU, which the page takes only if it gives the same answer and is faster on the device."""

_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src blob:"
)

OPSET = 18
"""Version of the operators of preprocess.onnx."""

TOLERANCE = 1e-3
"""Of the probabilities of the test image, which the page computes before it answers."""

LARGEST_PIXELS = 2**26
"""Images with more pixels are refused, because they need more than 256 MiB for their colours alone."""


class PageNetwork(nn.Module):
    """From normalised images to probabilities, and class maps if the model has them."""

    def __init__(self, model: Model, image_size: tuple[int, int]):
        super().__init__()
        self.model = model
        self.has_maps = has_class_maps(model, torch.randn(1, 3, *image_size))

    def forward(self, images: Float[Tensor, "batch 3 rows columns"]) -> tuple[Tensor, ...]:
        """Probabilities (batch, class) and, if the model has them, class maps (batch, class, row, column)."""
        if not self.has_maps:
            return (self.model(images).softmax(dim=1),)
        logits, maps = logits_and_class_maps(self.model, images)
        return logits.softmax(dim=1), maps


def page_data(network: PageNetwork, preprocess: Preprocess, classes: tuple[str, ...]) -> dict[str, Any]:
    """The content of model.json, without the runtimes.

    Without maps if a transform moves the patches, because they would be at other places than on the image.
    """
    data: dict[str, Any] = {
        "classes": list(classes),
        "image_size": list(preprocess.image_size),
        "largest_pixels": LARGEST_PIXELS,
        "check": {"probabilities": _answer(network, preprocess.image_size), "tolerance": TOLERANCE},
    }
    if preprocess.transform is not None:
        return data
    window = default_window(preprocess.image_size, patch_size(network.model))
    windows = place_windows(preprocess.image_size, window, window)
    data["windows"] = {"rows": windows.rows, "columns": windows.columns}
    if network.has_maps:
        height, width = preprocess.image_size
        with torch.no_grad():
            rows, columns = network(torch.zeros(1, 3, height, width))[1].shape[2:]
        data["map_places"] = {"rows": equal_spans(height, rows), "columns": equal_spans(width, columns)}
    return data


def export_page(
    source: str | Path,
    out: Path,
    *,
    image_size: ImageSize | None = None,
    check: Sequence[Split] = (),
    runtime: Path | None = None,
    providers: Sequence[Provider] = ("wasm",),
    log: Log,
) -> None:
    """Export a model as a page, after a comparison of its graphs with mixlab.

    source      as for `mixlab.load`
    out         the folder to write, which must not exist
    image_size  of the model, in pixels; None: that of the weights
    check       images on which the graphs are also compared with mixlab
    runtime     see `write_page`, as `providers`
    log         called with the result of the comparison

    Raises UserError if the model has no head, an image of `check` is not a file, the files of the runtime can't be had,
    or the graphs give other answers. Nothing is written then.
    """
    files = files_to_compare(check)
    pretrained = load_to_export(source, image_size)
    classes, preprocess = class_labels(pretrained, source), pretrained.image_preprocess
    model = build_with_weights(pretrained.weights)
    with atomic_folder(out) as folder:
        write_page(folder, model, preprocess, model_name(source), classes, runtime, providers)
        sessions = [onnx_session((folder / name).read_bytes()) for name in (PREPROCESS, NETWORK)]

        def classify(content: bytes) -> np.ndarray:
            images = decode(BytesIO(content), preprocess.value_range)[None]
            (normalised,) = sessions[0].run(["normalised"], {"images": images})
            return sessions[1].run(["probabilities"], {"images": normalised})[0][0]

        parity = compare_answers(files, model, preprocess, classify, TOLERANCES["fp32"])
        log(f"{parity}.")


def write_page(
    folder: Path,
    model: Model,
    preprocess: Preprocess,
    title: str,
    classes: tuple[str, ...],
    runtime: Path | None = None,
    providers: Sequence[Provider] = ("wasm",),
) -> None:
    """Write the page into `folder`, which must exist.

    model      in evaluation mode and in fp32
    title      the heading of the page
    classes    the names of the classes
    runtime    the package of ONNX Runtime Web, see `write_runtime`
    providers  what the page can run the model on; "wasm" is always one of them

    Raises UserError if onnx or onnxscript are not installed, or if the files of the runtime can't be had.
    """
    write_runtime(folder, runtime, WEBASSEMBLY | WEBGPU if "webgpu" in providers else WEBASSEMBLY)
    network = PageNetwork(model, preprocess.image_size)
    outputs = ("probabilities", "maps") if network.has_maps else ("probabilities",)
    content = onnx_bytes(network, (3, *preprocess.image_size), outputs=outputs)
    (folder / NETWORK).write_bytes(content)
    (folder / PREPROCESS).write_bytes(_seen_and_normalised(preprocess))
    write_json(folder / "model.json", page_data(network, preprocess, classes) | {"webgpu": "webgpu" in providers})
    page = classification_page(
        SOURCES / "in_browser.mjs",
        SOURCES / "in_browser.html",
        policy=_POLICY,
        kicker="Image classification in your browser",
        title=title,
        lead=f"The model distinguishes {len(classes):,} classes. It runs in this browser, and no image leaves this "
        "device.",
        status="Loading the model …",
    )
    write_text(folder / "index.html", page)
    write_text(folder / "classifier.mjs", (SOURCES / "classifier.mjs").read_text(encoding="utf-8"))


def _seen_and_normalised(preprocess: Preprocess) -> bytes:
    """The preprocessing as an ONNX file that also returns the resized image, in uint8 (batch, row, column, channel)."""
    from onnx import TensorProto, helper

    model = preprocess_graph(preprocess, OPSET)
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["resized"], ["seen_channels_first"], to=TensorProto.UINT8),
            helper.make_node("Transpose", ["seen_channels_first"], ["seen"], perm=[0, 2, 3, 1]),
        ]
    )
    shape = ["batch", *preprocess.image_size, 3]
    model.graph.output.append(helper.make_tensor_value_info("seen", TensorProto.UINT8, shape))
    return model.SerializeToString()


def _answer(network: PageNetwork, image_size: tuple[int, int]) -> list[float]:
    """The probabilities of the test image, whose values are the upper bytes of the multiples of Knuth's constant."""
    height, width = image_size
    values = np.arange(height * width * 3, dtype=np.uint64) * 2654435761 % 2**32 // 2**24
    image = torch.from_numpy(values.astype(np.float32) / 64 - 2).reshape(1, 3, height, width)
    with torch.no_grad():
        return network(image)[0][0].tolist()
