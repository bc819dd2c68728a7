"""The model of a finished run is the one that was trained, or a sentence."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.weights.load import load
from mixlab.zoo.architecture import Model, create_model

SMALL = {
    "mixer": ("mixer_nano", {"channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 1}),
    "convmixer": ("convmixer_nano", {"channels": 8, "depth": 1}),
    "davit": ("davit_nano", {"channels": [8, 16], "depths": [1, 1]}),
    "timm": ("resnet_nano", {"channels": [8, 8, 8, 8]}),
}


def small(family: str) -> Model:
    name, config = SMALL[family]
    return create_model(name, image_size=16, classes=3, **config)


def written(folder: Path, model: Model, family: str) -> Run:
    """A run's folder as far as loading reads it."""
    (folder / "config.json").write_text(json.dumps({"family": family, "config": asdict(model.config)}))
    save_file(model.state_dict(), folder / "model.safetensors")
    run = Run(folder)
    run.set_state("done")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return written(tmp_path, small("mixer"), "mixer")


@pytest.mark.parametrize("family", SMALL)
def test_a_model_comes_back_exactly(tmp_path, family):
    model = small(family)
    model(torch.randn(4, 3, 16, 16))  # in training mode, so that batch norm's statistics are not the fresh ones
    again = load(written(tmp_path, model, family).path)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(again(images), model.eval()(images))
    assert not again.training


def test_a_run_without_weights_is_said_so(run):
    run.weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is broken .*: train again, or copy the run anew"):
        load(run.path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_of_weights_is_said_so(run, kept):
    content = run.weights.read_bytes()
    run.weights.write_bytes(content[:kept])
    with pytest.raises(UserError, match=r"model\.safetensors is broken .*: train again, or copy the run anew"):
        load(run.path)


def test_weights_of_another_model_are_refused_with_both_sides(run):
    weights = load_file(run.weights)
    weights["head.scale"] = weights.pop("head.bias")
    weights["stem.weight"] = weights["stem.weight"][:4].contiguous()
    save_file(weights, run.weights)
    with pytest.raises(UserError) as refused:
        load(run.path)
    for split in ("head.bias", "head.scale", "stem.weight", "(4, 3, 4, 4)", "(8, 3, 4, 4)"):
        assert split in str(refused.value), split
