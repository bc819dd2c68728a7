"""A folder with a page that classifies images in the browser. Images do not leave the device.

    index.html       the page
    classifier.mjs   its worker, which decodes images and runs the model
    model.json       the classes, and the places of maps
    preprocess.onnx  from an image of any size to the image as the model sees it
    network.onnx     from there to the probabilities
    ort*             ONNX Runtime Web

Axes:  batch           images of one size
       row, column     pixels of the original images
       rows, columns   pixels of the image size of the model
"""

from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from mixlab.data.preprocess import Preprocess
from mixlab.export.class_maps import has_class_maps, logits_and_class_maps
from mixlab.export.pillow_resize import PillowResize
from mixlab.export.web_runtime import WEBASSEMBLY, WEBGPU, write_runtime
from mixlab.files import write_json, write_text
from mixlab.prediction.importance_map import equal_spans
from mixlab.prediction.occlusion import default_window, place_windows
from mixlab.report.colours import css_variables
from mixlab.report.page import written_by
from mixlab.zoo.architecture import Model

_SOURCES = Path(__file__).with_name("web")

Provider = Literal["wasm", "webgpu"]
"""WebAssembly, or WebGPU, which the page takes only if it gives the same answer and is faster on the device."""

TOLERANCE = 1e-3
"""Of the probabilities of the test image, which the page computes before it answers."""

LARGEST_PIXELS = 2**26
"""Images with more pixels are refused, because they need more than 256 MiB for their colours alone."""


class SeenImages(nn.Module):
    """From images of any size to images as the model sees them, in uint8."""

    def __init__(self, preprocess: Preprocess):
        super().__init__()
        self.resize = PillowResize(preprocess)
        self.register_buffer("is_resized", torch.zeros((), dtype=torch.bool), persistent=False)

    def forward(self, images: UInt8[Tensor, "batch row column 3"]) -> UInt8[Tensor, "batch rows columns 3"]:
        return self.resize(images, self.is_resized).to(torch.uint8).permute(0, 2, 3, 1)


class PageNetwork(nn.Module):
    """From images as the model sees them to probabilities, and class maps if the model has them."""

    def __init__(self, model: Model, preprocess: Preprocess):
        super().__init__()
        self.model, self.preprocess = model, preprocess
        self.has_maps = has_class_maps(model, torch.rand(1, 3, *preprocess.image_size))

    def forward(self, images: UInt8[Tensor, "batch rows columns 3"]) -> tuple[Tensor, ...]:
        """Probabilities (batch, class) and, if the model has them, class maps (batch, class, row, column)."""
        inputs = self.preprocess.finished(images.permute(0, 3, 1, 2))
        if not self.has_maps:
            return (self.model(inputs).softmax(dim=1),)
        logits, maps = logits_and_class_maps(self.model, inputs)
        return logits.softmax(dim=1), maps


def page_data(network: PageNetwork, classes: tuple[str, ...]) -> dict[str, Any]:
    """The content of model.json."""
    height, width = image_size = network.preprocess.image_size
    window = default_window(network.model)
    windows = place_windows(image_size, window, window)
    data = {
        "classes": list(classes),
        "image_size": [height, width],
        "mean_colour": [round(255 * mean) for mean in network.preprocess.mean],
        "windows": {"rows": windows.rows, "columns": windows.columns},
        "largest_pixels": LARGEST_PIXELS,
        "check": {"probabilities": _answer(network), "tolerance": TOLERANCE},
    }
    if not network.has_maps:
        return data
    with torch.no_grad():
        rows, columns = network.model.feature_maps(torch.zeros(1, 3, height, width))[-1].shape[2:]
    return data | {"map_places": {"rows": equal_spans(height, rows), "columns": equal_spans(width, columns)}}


def write_page(
    folder: Path,
    network: PageNetwork,
    title: str,
    classes: tuple[str, ...],
    runtime: Path | None = None,
    providers: Sequence[Provider] = ("wasm",),
) -> None:
    """Write the page into `folder`, which must exist.

    network    in evaluation mode
    title      the heading of the page
    classes    the names of the classes
    runtime    the package of ONNX Runtime Web, see `write_runtime`
    providers  what the page can run the model on; "wasm" is always one of them

    Raises UserError if the files of the runtime can't be had.
    """
    write_runtime(folder, runtime, WEBASSEMBLY | WEBGPU if "webgpu" in providers else WEBASSEMBLY)
    write_json(folder / "model.json", page_data(network, classes) | {"webgpu": "webgpu" in providers})
    values = {
        "title": title,
        "lead": f"The model distinguishes {len(classes):,} classes. It runs in this browser, and no image leaves this "
        "device.",
        "footer": written_by(version("mixlab")),
        "light": css_variables(0),
        "dark": css_variables(1),
        "style": _source("page.css"),
        "script": _source("page.mjs"),
    }
    escaped = {name: value if name in ("style", "script") else escape(value) for name, value in values.items()}
    write_text(folder / "index.html", Template(_source("page.html")).substitute(escaped))
    write_text(folder / "classifier.mjs", _source("classifier.mjs"))
    seen = SeenImages(network.preprocess)
    dynamic = torch.export.Dim.DYNAMIC
    outputs = ["probabilities", "maps"] if network.has_maps else ["probabilities"]
    _write_graph(folder / "preprocess.onnx", seen, (1, 40, 50, 3), {1: dynamic, 2: dynamic}, ["resized"])
    _write_graph(folder / "network.onnx", network, (2, *network.preprocess.image_size, 3), {0: dynamic}, outputs)


def _write_graph(
    file: Path, module: nn.Module, shape: tuple[int, ...], dynamic: dict[int, Any], outputs: list[str]
) -> None:
    program = torch.onnx.export(
        module.eval(),
        (torch.zeros(shape, dtype=torch.uint8),),
        dynamo=True,
        dynamic_shapes=(dynamic,),
        input_names=["images"],
        output_names=outputs,
        verbose=False,
    )
    assert program is not None
    program.save(file)


def _answer(network: PageNetwork) -> list[float]:
    """The probabilities of the test image, whose bytes are the upper ones of the multiples of Knuth's constant."""
    height, width = network.preprocess.image_size
    values = (np.arange(height * width * 3, dtype=np.uint64) * 2654435761 % 2**32 // 2**24).astype(np.uint8)
    image = torch.from_numpy(values.reshape(1, height, width, 3))
    with torch.no_grad():
        return network(image)[0][0].tolist()


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")
