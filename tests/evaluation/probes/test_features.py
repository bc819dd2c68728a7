"""A backbone's features: what the model's head would see, and what is computed again and what not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.probes import features as module
from mixlab.evaluation.probes.features import Backbone, Features, features, open_backbone
from mixlab.weights.adapt import Weights
from mixlab.weights.load import build_with_weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")
SMALL: dict[str, dict[str, Any]] = {
    "mixer_nano": {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 1},
    "convmixer_nano": {"patch_size": 4, "channels": 8, "depth": 1},
    "davit_nano": {"channels": (8, 16), "depths": (1, 1), "heads": (1, 2), "window": 2},
}

Compute = Callable[..., Features]


def fresh(name: str) -> Weights:
    model = create_model(name, image_size=16, classes=5, **SMALL[name])
    family = name.partition("_")[0]
    return Weights(family, vars(model.config).copy(), dict(model.state_dict()))


@pytest.fixture
def backbone() -> Backbone:
    return Backbone("a/mixer", fresh("mixer_nano"), Preprocess((16, 16), "shorter_side", 0.8, "bilinear"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the images that were read, call by call."""
    calls: list[list[str]] = []

    class Noted(module.EvalBatches):
        def __init__(self, split: Split, *arguments: Any, **named: Any):
            calls.append(split.names)
            super().__init__(split, *arguments, **named)

    monkeypatch.setattr(module, "EvalBatches", Noted)
    return calls


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> Compute:
    """With a cache of its own."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")

    def computed(split: Split, of: Backbone = backbone, **settings: Any) -> Features:
        return features(of, split, CPU, batch=5, quiet=True, **settings)

    return computed


@pytest.fixture
def files(tmp_path: Path) -> Split:
    """Seven files of 20x24 pixels."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return Split([path.name for path in paths], np.arange(7) % 3, paths)


@pytest.mark.parametrize("name", SMALL)
def test_the_head_of_the_features_gives_the_model_s_logits(name, shades, compute):
    split = shades.splits["test"]
    backbone = Backbone(name, fresh(name), Preprocess((16, 16)))
    found = compute(split, backbone)
    model: Any = build_with_weights(backbone.weights)
    images = torch.stack([backbone.preprocess(split.image(index)) for index in range(len(split))])
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(model.head(torch.from_numpy(found.values)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.labels, split.labels)


def test_a_second_call_computes_nothing(files, compute, asked):
    first = compute(files)
    second = compute(files)
    assert asked == [files.names]
    np.testing.assert_array_equal(second.values, first.values)


def test_only_new_images_are_computed_whatever_part_they_are_in(files, compute, asked):
    first = compute(files.subset([0, 1, 2]))
    second = compute(files.subset([4, 2, 0]))
    assert asked[1] == ["4.png", "2.png"]  # and one that is known
    np.testing.assert_array_equal(second.values[[2, 1]], first.values[[0, 2]])


def test_a_changed_image_is_computed_again(files, compute):
    first = compute(files)
    Image.new("RGB", (20, 24), "red").save(files.images[3])
    second = compute(files)
    assert [index for index in range(7) if (first.values[index] != second.values[index]).any()] == [3]


@pytest.mark.parametrize("what", ["weights", "preprocess", "config"])
def test_other_weights_preprocessing_or_fields_are_other_features(what, files, compute, backbone, asked):
    compute(files)
    changed = {
        "weights": replace(backbone, weights=fresh("mixer_nano")),
        "preprocess": replace(backbone, preprocess=replace(backbone.preprocess, crop_fraction=1.0)),
        "config": replace(
            backbone, weights=replace(backbone.weights, config={**backbone.weights.config, "gelu": "erf"})
        ),
    }
    compute(files, changed[what])
    assert asked == [files.names, files.names]


def test_an_interruption_keeps_the_files_that_were_written(files, compute, asked, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_PER_FILE", 5)
    keep = module._keep

    def interrupted(folder: Path, vectors: Any) -> None:
        keep(folder, vectors)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute(files)
    monkeypatch.setattr(module, "_keep", keep)
    compute(files)
    assert asked[1] == ["5.png", "6.png", "0.png"]


def test_a_damaged_file_of_the_cache_is_computed_anew(files, compute, tmp_path):
    first = compute(files)
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    np.testing.assert_array_equal(compute(files).values, first.values)


def test_as_many_unreadable_images_as_are_allowed_are_left_out_and_named_each_time(files, compute):
    files.images[3].write_bytes(b"no image")
    for _ in range(2):
        found = compute(files, max_unreadable=1)
        assert found.labels.tolist() == [0, 1, 2, 1, 2, 0]
        assert list(found.unreadable) == ["3.png"]


def test_one_unreadable_image_more_is_the_error(files, compute):
    files.images[3].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"3\.png"):
        compute(files)


def test_a_folder_of_weights_gives_its_preprocessing_but_bilinear(tmp_path):
    write_model_folder(tmp_path, fresh("mixer_nano"), tuple("abcde"), Preprocess((16, 16), "shorter_side", 0.9))
    assert open_backbone(tmp_path).preprocess == Preprocess((16, 16), "shorter_side", 0.9, "bilinear")
    assert open_backbone(tmp_path, image_size=32).preprocess.image_size == (32, 32)


def test_a_run_of_timm_s_has_features_too(tmp_path, shades, compute):
    model = create_model("resnet_nano", layers=[1, 1, 1, 1], channels=[8, 8, 8, 8], classes=2)
    weights = Weights("timm", vars(model.config).copy(), dict(model.state_dict()))
    write_model_folder(tmp_path, weights, ("a", "b"), Preprocess((32, 32)))
    assert compute(shades.splits["test"], open_backbone(tmp_path)).values.shape == (12, 8)
