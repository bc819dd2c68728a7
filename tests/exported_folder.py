"""A small exported model whose network needs no conversion: it has the mean of each channel as its logits."""

import json
from pathlib import Path

from mixlab.data.preprocess import Preprocess
from mixlab.export.onnx_model import with_preprocessing
from mixlab.files import write_json, write_text
from mixlab.weights.exported import CARD, EXPORTED_FORMATS, FORMAT, MODEL, READER, FormatName, digest_of_contents

CLASSES = ["red", "green", "blue"]
PREPROCESS = Preprocess((8, 8), "shorter_side", 0.8)

NETWORK = """<ir_version: 10, opset_import: ["": 20]>
network (float[batch, 3, 8, 8] images) => (float[batch, 3] logits)
{
    axes = Constant <value_ints = [2, 3]> ()
    logits = ReduceMean <keepdims = 0> (images, axes)
}
"""


def write_exported_folder(folder: Path) -> Path:
    from onnx import parser

    metadata = {"classes": json.dumps(CLASSES), "preprocess": json.dumps(PREPROCESS.to_dict())}
    content = with_preprocessing(parser.parse_model(NETWORK), PREPROCESS, metadata).SerializeToString()
    folder.mkdir()
    (folder / MODEL).write_bytes(content)
    return write_card(folder, "onnx")


def write_card(folder: Path, to: FormatName) -> Path:
    """Complete a folder that has the files of the model."""
    write_text(folder / READER, "")
    card = {
        "format": FORMAT,
        "model": "means",
        "precision": "fp32",
        "classes": CLASSES,
        "has_class_names": True,
        "preprocess": PREPROCESS.to_dict(),
        "parameters": 0,
        "macs": 0,
        "patch_size": 2,
        "sha256": digest_of_contents([(folder / name).read_bytes() for name in EXPORTED_FORMATS[to].files]),
    }
    write_json(folder / CARD, card)
    return folder
