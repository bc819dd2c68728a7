"""`export_triton`: a model as a repository for NVIDIA Triton Inference Server.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md and
model_configuration.md describe the folder. The graph is that of `mixlab export --to onnx`, with images as its only
input, because each input of a model that Triton batches has a batch dimension. Batches are made by Triton, of images
with the same size.
"""

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from mixlab.data.dataset import Split
from mixlab.export.export import files_to_compare, load_to_export, model_name
from mixlab.export.model_formats import require_precision
from mixlab.export.onnx_model import onnx_model
from mixlab.export.parity import TOLERANCES, compare_answers
from mixlab.export.preprocess_graph import IMAGES, IS_RESIZED
from mixlab.export.standalone_predict import decode
from mixlab.export.writer import Precision, Request
from mixlab.files import atomic_folder, write_text
from mixlab.models.contract import ImageSize
from mixlab.prediction.predictor import class_labels
from mixlab.report.progress import Log
from mixlab.weights.exported import MODEL
from mixlab.weights.exported_sessions import onnx_session
from mixlab.weights.load import build_with_weights

CONFIG, LABELS, VERSION = "config.pbtxt", "labels.txt", "1"
"""The files of a model in the repository, and the folder of its first version."""

MAX_BATCH = 32
"""Images that Triton joins to a batch, at most."""


def export_triton(
    source: str | Path,
    out: Path,
    *,
    precision: Precision = "fp32",
    image_size: ImageSize | None = None,
    data: str | None = None,
    check: Sequence[Split] = (),
    log: Log,
) -> None:
    """Write a model repository with one model.

    source      as for `mixlab.load`
    out         the folder to write, which must not exist
    precision   of the network, as for `export_model` to ONNX
    image_size  of the model, in pixels; None: that of the weights
    data        for int8: the name of a data set with training and validation images; None: that of the run
    check       splits with images on which the graph is also compared with mixlab
    log         called with the result of the comparison

    Raises UserError if the model has no head or is too large, if int8 is refused, or if the graph gives other answers.
    Nothing is written then.
    """
    require_precision("onnx", precision)
    files = files_to_compare(check)
    pretrained = load_to_export(source, image_size)
    classes, preprocess = class_labels(pretrained, source), pretrained.image_preprocess
    metadata = {"classes": list(classes), "preprocess": preprocess.to_dict()}
    whole, written = onnx_model(
        Request(source, pretrained, build_with_weights(pretrained.weights), precision, data, metadata)
    )
    (optional,) = (each for each in whole.graph.input if each.name == IS_RESIZED)
    whole.graph.input.remove(optional)  # its default remains as a constant
    content = whole.SerializeToString()
    session = onnx_session(content)

    def classify(file: bytes) -> np.ndarray:
        images = decode(BytesIO(file), preprocess.value_range)[None]
        return session.run(["probabilities"], {IMAGES: images})[0][0]

    log(f"{compare_answers(files, written.reference, preprocess, classify, TOLERANCES[precision])}.")
    name = re.sub(r"[^\w.-]", "_", model_name(source), flags=re.ASCII)
    with atomic_folder(out) as folder:
        version = folder / name / VERSION
        version.mkdir(parents=True)
        (version / MODEL).write_bytes(content)
        write_text(folder / name / CONFIG, triton_config(name, len(classes)))
        write_text(folder / name / LABELS, "".join(f"{' '.join(label.split())}\n" for label in classes))


def triton_config(name: str, classes: int) -> str:
    """The text of config.pbtxt, a `ModelConfig` of Triton, in which `dims` do not contain the batch."""
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
  {{
    name: "{IMAGES}"  # decoded RGB images: row, column, channel
    data_type: TYPE_UINT8
    dims: [ -1, -1, 3 ]
  }}
]
output [
  {{
    name: "probabilities"
    data_type: TYPE_FP32
    dims: [ {classes} ]
    label_filename: "{LABELS}"
  }},
  {{
    name: "logits"
    data_type: TYPE_FP32
    dims: [ {classes} ]
  }}
]
dynamic_batching {{ }}
"""
