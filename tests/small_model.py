"""Models with random weights, also of the head, so that their probabilities differ."""

from pathlib import Path
from typing import Any

import torch

from mixlab.data.preprocess import Preprocess
from mixlab.models.contract import height_and_width
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import Architecture, architecture
from mixlab.zoo.timm_models import TimmModel

CLASSES = ("cat", "dog", "füchse")
_SMALL = {"mixer_nano": {"depth": 1, "channels": 16, "token_hidden": 8, "channel_hidden": 32}}


def write_model(
    folder: Path, name: str = "mixer_nano", classes: tuple[str, ...] = CLASSES, image_size: int = 32, **fields: Any
) -> Path:
    """A folder of weights that resizes the shorter side; `name` as for `architecture`, with its config `fields`."""
    sized = {"image_size": image_size, "classes": len(classes)}
    return write_architecture(folder, architecture(name, **(_SMALL.get(name, {}) | sized | fields)), classes)


def write_architecture(folder: Path, found: Architecture, classes: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    model = found.build()
    if classes:
        head = model.network.get_classifier() if isinstance(model, TimmModel) else model.get_submodule("head")
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    folder.mkdir(parents=True)
    preprocess = Preprocess(height_and_width(found.image_size), "shorter_side", 0.875)
    weights = Weights(found.family, dict(found.config), model.state_dict())
    write_model_folder(folder, weights, classes, preprocess, found.name)
    return folder
