"""Models with random weights, also of the head, so that their probabilities differ."""

from pathlib import Path
from typing import Any

import torch

from mixlab.data.preprocess import Preprocess
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

_SMALL = {"mixer_nano": {"depth": 1, "channels": 16, "token_hidden": 8, "channel_hidden": 32}}


def write_model(
    folder: Path,
    name: str = "mixer_nano",
    classes: tuple[str, ...] = ("a", "b", "c"),
    image_size: int = 32,
    **fields: Any,
) -> Path:
    """A folder of weights that resizes the shorter side; `name` as for `architecture`, with its config `fields`."""
    torch.manual_seed(0)
    found = architecture(name, **(_SMALL.get(name, {}) | {"image_size": image_size, "classes": len(classes)} | fields))
    model = found.build()
    if classes:
        for parameter in model.get_submodule("head").parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    folder.mkdir(parents=True)
    preprocess = Preprocess((image_size, image_size), "shorter_side", 0.875)
    write_model_folder(folder, Weights(found.family, dict(found.config), model.state_dict()), classes, preprocess, name)
    return folder
