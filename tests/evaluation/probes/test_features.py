"""Features of a backbone: they are the input of the head, and only missing ones are computed."""

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


def random_weights(name: str) -> Weights:
    model = create_model(name, image_size=16, classes=5, **SMALL[name])
    family = name.partition("_")[0]
    return Weights(family, vars(model.config).copy(), dict(model.state_dict()))


@pytest.fixture
def backbone() -> Backbone:
    weights = random_weights("mixer_nano")
    return Backbone("a/mixer", weights, Preprocess((16, 16), "shorter_side", 0.8, "bilinear"), weights.digest)


@pytest.fixture
def read_images(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the images that were read, for each call."""
    calls: list[list[str]] = []

    class Recording(module.EvalBatches):
        def __init__(self, split: Split, *arguments: Any, **named: Any):
            calls.append(split.names)
            super().__init__(split, *arguments, **named)

    monkeypatch.setattr(module, "EvalBatches", Recording)
    return calls


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> Compute:
    """`features` with an empty cache."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")

    def compute_features(split: Split, backbone: Backbone = backbone, **settings: Any) -> Features:
        return features(backbone, split, CPU, batch=5, quiet=True, **settings)

    return compute_features


@pytest.fixture
def files(tmp_path: Path) -> Split:
    """Seven files of 20x24 pixels."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return Split([path.name for path in paths], np.arange(7) % 3, paths)


@pytest.mark.parametrize("name", SMALL)
def test_the_head_applied_to_the_features_gives_the_logits(name, shades, compute):
    split = shades.splits["test"]
    weights = random_weights(name)
    backbone = Backbone(name, weights, Preprocess((16, 16)), weights.digest)
    result = compute(split, backbone)
    model: Any = build_with_weights(backbone.weights)
    images = torch.stack([backbone.preprocess(split.image(index)) for index in range(len(split))])
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(model.head(torch.from_numpy(result.values)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(result.labels, split.labels)


def test_a_second_call_computes_nothing(files, compute, read_images):
    first = compute(files)
    second = compute(files)
    assert read_images == [files.names]
    np.testing.assert_array_equal(second.values, first.values)


def test_only_new_images_are_computed_in_any_split(files, compute, read_images):
    first = compute(files.subset([0, 1, 2]))
    second = compute(files.subset([4, 2, 0]))
    assert read_images[1] == ["4.png", "2.png"]  # and one cached image
    np.testing.assert_array_equal(second.values[[2, 1]], first.values[[0, 2]])


def test_a_changed_image_is_computed_again(files, compute):
    first = compute(files)
    Image.new("RGB", (20, 24), "red").save(files.images[3])
    second = compute(files)
    assert [index for index in range(7) if (first.values[index] != second.values[index]).any()] == [3]


@pytest.mark.parametrize("field", ["weights", "preprocess", "config"])
def test_other_weights_preprocessing_or_config_need_new_features(field, files, compute, backbone, read_images):
    compute(files)
    changed = {
        "weights": replace(backbone, weights=random_weights("mixer_nano")),
        "preprocess": replace(backbone, preprocess=replace(backbone.preprocess, crop_fraction=1.0)),
        "config": replace(
            backbone, weights=replace(backbone.weights, config={**backbone.weights.config, "gelu": "erf"})
        ),
    }
    compute(files, changed[field])
    assert read_images == [files.names, files.names]


def test_features_written_before_an_interruption_are_reused(files, compute, read_images, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_PER_FILE", 5)
    write_cache = module._write_cache

    def interrupted(folder: Path, vectors: Any) -> None:
        write_cache(folder, vectors)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_cache", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute(files)
    monkeypatch.setattr(module, "_write_cache", write_cache)
    compute(files)
    assert read_images[1] == ["5.png", "6.png", "0.png"]


def test_a_damaged_cache_file_is_computed_again(files, compute, tmp_path):
    first = compute(files)
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    np.testing.assert_array_equal(compute(files).values, first.values)


def test_up_to_max_unreadable_images_are_skipped_and_listed_each_time(files, compute):
    files.images[3].write_bytes(b"no image")
    for _ in range(2):
        result = compute(files, max_unreadable=1)
        assert result.labels.tolist() == [0, 1, 2, 1, 2, 0]
        assert list(result.unreadable) == ["3.png"]


def test_more_unreadable_images_are_an_error(files, compute):
    files.images[3].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"3\.png"):
        compute(files)


def test_the_preprocessing_of_the_weights_is_used_with_bilinear_interpolation(tmp_path):
    write_model_folder(
        tmp_path, random_weights("mixer_nano"), tuple("abcde"), Preprocess((16, 16), "shorter_side", 0.9)
    )
    assert open_backbone(tmp_path).preprocess == Preprocess((16, 16), "shorter_side", 0.9, "bilinear")
    assert open_backbone(tmp_path, image_size=32).preprocess.image_size == (32, 32)


def test_timm_models_have_features(tmp_path, shades, compute):
    model = create_model("resnet_nano", layers=[1, 1, 1, 1], channels=[8, 8, 8, 8], classes=2)
    weights = Weights("timm", vars(model.config).copy(), dict(model.state_dict()))
    write_model_folder(tmp_path, weights, ("a", "b"), Preprocess((32, 32)))
    assert compute(shades.splits["test"], open_backbone(tmp_path)).values.shape == (12, 8)
