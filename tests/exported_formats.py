"""Small exported models of every format: the mean of each channel as logits, as in `exported_folder`."""

import json
from pathlib import Path

import openvino
import torch
from torch import Tensor, nn

from exported_folder import CLASSES, NETWORK, PREPROCESS, write_card, write_exported_folder
from mixlab.export.openvino_model import with_normalisation
from mixlab.export.torch_model import torch_program
from mixlab.speed.openvino import core
from mixlab.weights.exported import FormatName
from mixlab.weights.exported_sessions import METADATA_FILE

METADATA = {"classes": json.dumps(CLASSES), "preprocess": json.dumps(PREPROCESS.to_dict())}


class _Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def write_folder(folder: Path, to: FormatName) -> Path:
    if to == "onnx":
        return write_exported_folder(folder)
    folder.mkdir()
    if to == "openvino":
        from onnx import parser

        network = core().read_model(parser.parse_model(NETWORK).SerializeToString())
        whole = with_normalisation(network, PREPROCESS)
        for key, value in METADATA.items():
            whole.set_rt_info(value, ["mixlab", key])
        openvino.save_model(whole, folder / "model.xml", compress_to_fp16=False)
    else:
        program = torch_program(_Means(), PREPROCESS)
        torch.export.save(program, folder / "model.pt2", extra_files={METADATA_FILE: json.dumps(METADATA)})
    return write_card(folder, to)
