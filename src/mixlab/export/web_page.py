"""A folder with a page that classifies images in the browser. Images do not leave the device.

    index.html      the page
    classifier.mjs  its worker, which decodes images and runs the model
    model.json      the classes, and the places of maps
    model.onnx      the preprocessing and the model
    ort*            ONNX Runtime Web

Axes:  batch           images of one size
       row, column     pixels of the original images
       rows, columns   pixels of the image size of the model
"""

from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from mixlab.data.preprocess import Preprocess
from mixlab.export.class_maps import has_class_maps, logits_and_class_maps
from mixlab.export.pillow_resize import PillowResize
from mixlab.export.web_runtime import write_runtime
from mixlab.files import write_json, write_text
from mixlab.prediction.importance_map import equal_spans
from mixlab.prediction.occlusion import default_window, place_windows
from mixlab.report.colours import css_variables
from mixlab.report.page import written_by
from mixlab.zoo.architecture import Model

_SOURCES = Path(__file__).with_name("web")

LARGEST_PIXELS = 2**26
"""Images with more pixels are refused, because they need more than 256 MiB for their colours alone."""


class PageNetwork(nn.Module):
    """From images of any size to probabilities, and what the page shows beside them."""

    def __init__(self, model: Model, preprocess: Preprocess):
        super().__init__()
        self.model, self.resize = model, PillowResize(preprocess)
        self.preprocess = preprocess
        self.has_maps = has_class_maps(model, torch.rand(1, 3, *preprocess.image_size))

    def forward(
        self, images: UInt8[Tensor, "batch row column 3"], is_resized: Bool[Tensor, ""]
    ) -> tuple[Tensor, ...]:
        """Probabilities (batch, class), the resized images (batch, rows, columns, 3), and class maps if there are any.

        is_resized  True leaves images that have the size of the model as they are
        """
        resized = self.resize(images, is_resized).to(torch.uint8)
        inputs, seen = self.preprocess.finished(resized), resized.permute(0, 2, 3, 1)
        if not self.has_maps:
            return self.model(inputs).softmax(dim=1), seen
        logits, maps = logits_and_class_maps(self.model, inputs)
        return logits.softmax(dim=1), seen, maps


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
    }
    if not network.has_maps:
        return data
    with torch.no_grad():
        rows, columns = network.model.feature_maps(torch.zeros(1, 3, height, width))[-1].shape[2:]
    return data | {"map_places": {"rows": equal_spans(height, rows), "columns": equal_spans(width, columns)}}


def write_page(folder: Path, network: PageNetwork, title: str, classes: tuple[str, ...], runtime: Path | None) -> None:
    """Write everything but model.onnx into `folder`, which must exist.

    network  in evaluation mode
    title    the heading of the page
    classes  the names of the classes
    runtime  see `write_runtime`

    Raises UserError if the files of the runtime can't be had.
    """
    write_runtime(folder, runtime)
    write_json(folder / "model.json", page_data(network, classes))
    values = {
        "title": title,
        "lead": f"The model distinguishes {len(classes):,} classes. It runs in this browser: no image leaves this device.",
        "footer": written_by(version("mixlab")),
        "light": css_variables(0),
        "dark": css_variables(1),
        "style": _source("page.css"),
        "script": _source("page.mjs"),
    }
    escaped = {name: value if name in ("style", "script") else escape(value) for name, value in values.items()}
    write_text(folder / "index.html", Template(_source("page.html")).substitute(escaped))
    write_text(folder / "classifier.mjs", _source("classifier.mjs"))


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")
