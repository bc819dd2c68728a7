"""Loading a finished run: the model is the one that was trained; damaged files are refused in a sentence."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.weights.load import load
from mixlab.weights.storage.write import write_config
from mixlab.zoo.architecture import Model, create_model, of_family

SMALL = {
    "mixer": ("mixer_nano", {"channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 1}),
    "convmixer": ("convmixer_nano", {"channels": 8, "depth": 1}),
    "davit": ("davit_nano", {"channels": [8, 16], "depths": [1, 1]}),
    "variant:ablated_davit": (
        "variant:ablated_davit",
        {"channels": [8, 16], "depths": [1, 1], "heads": [1, 2], "attention": "channel-window"},
    ),
    "timm": ("resnet_nano", {"channels": [8, 8, 8, 8]}),
}


def small(family: str) -> Model:
    name, config = SMALL[family]
    return create_model(name, image_size=16, classes=3, **config)


def write_run(folder: Path, model: Model, family: str) -> Run:
    """The files of a run's folder that loading reads."""
    architecture = of_family(SMALL[family][0], family, asdict(model.config))
    write_config(folder, architecture, ("a", "b", "c"), Preprocess((16, 16)))
    save_file(model.state_dict(), folder / "model.safetensors")
    run = Run(folder)
    run.set_state("done")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_run(tmp_path, small("mixer"), "mixer")


@pytest.mark.parametrize("family", SMALL)
def test_a_loaded_model_computes_the_same(tmp_path, family):
    model = small(family)
    model(torch.randn(4, 3, 16, 16))  # in training mode, so that batch norm's statistics are not the fresh ones
    again = load(write_run(tmp_path, model, family).path)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(again(images), model.eval()(images))
    assert not again.training


def test_a_run_without_weights_is_refused(run):
    run.weights.unlink()
    sentence = (
        r"is incomplete: model\.safetensors is missing, but the run wrote [\d,]+ bytes\. Copy the whole folder again"
    )
    with pytest.raises(UserError, match=sentence):
        load(run.path)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_weights_are_refused(run, length):
    content = run.weights.read_bytes()
    run.weights.write_bytes(content[:length])
    sentence = r"is incomplete: model\.safetensors has [\d,]+ bytes?, but the run wrote [\d,]+ bytes\. Copy the whole"
    with pytest.raises(UserError, match=sentence):
        load(run.path)


def test_weights_of_another_model_are_refused_with_both_sides(run):
    weights = load_file(run.weights)
    weights["head.scale"] = weights.pop("head.bias")
    weights["stem.weight"] = weights["stem.weight"][:4].contiguous()
    save_file(weights, run.weights)
    run.set_state("done")
    with pytest.raises(UserError) as refused:
        load(run.path)
    for expected in ("head.bias", "head.scale", "stem.weight", "(4, 3, 4, 4)", "(8, 3, 4, 4)"):
        assert expected in str(refused.value), expected
