"""Sources of weights: files of Cards (served on loopback), folders of the hub, folders of timm, and runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from loopback import Serve, Served
from mixlab.errors import UserError
from mixlab.weights import load as module
from mixlab.weights import source
from mixlab.weights.source import find_source, is_pretrained
from mixlab.zoo import cards
from mixlab.zoo.cards import Card, CardSource
from mixlab.zoo.sizes import Paper

load: Any = module.load

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = {
    "image_size": 32,
    "classes": 7,
    "patch_size": 8,
    "channels": 32,
    "token_hidden": 16,
    "channel_hidden": 64,
    "depth": 2,
}


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> Served:
    """A server with the golden file of Google."""
    (tmp_path / "served").mkdir()
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", tmp_path / "served" / "Mixer-T.npz")
    return serve(tmp_path / "served")


@pytest.fixture
def published(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """The only Card: it has the golden file, and the cache is in `tmp_path`."""
    preprocess = {"image_size": [32, 32], "resize": "shorter_side", "crop_fraction": 0.9, "interpolation": "bilinear"}
    made = Card(
        name="mixer_t8.test",
        size="mixer_nano",
        family="mixer",
        config={**CONFIG, "gelu": "tanh"},
        parameters=0,
        macs=0,
        paper=Paper("", ""),
        labels="none",
        licence="",
        provenance="",
        preprocess={**preprocess, "mean": [0, 0, 0], "std": [1, 1, 1]},
        sources=(CardSource("url", f"{served.address}/Mixer-T.npz", "Mixer-T.npz", "google", "unknown"),),
        aliases=("mixer_t8_32.timms",),
    )
    monkeypatch.setattr(cards, "_cards", lambda: (made,))
    monkeypatch.setattr(source, "cache_folder", lambda: tmp_path / "cache")
    return made


def test_the_file_of_a_card_is_downloaded_once_and_has_the_logits_of_the_authors(published, served, tmp_path, caplog):
    model = load("mixer_t8.test")
    with np.load(GOLDEN / "google_mixer_tiny.io.npz") as golden:
        images = torch.from_numpy(golden["images_nhwc"].transpose(0, 3, 1, 2).copy())
        logits = torch.from_numpy(golden["logits"])
    with torch.no_grad():
        assert ((model(images) - logits).abs().max() / logits.abs().max()) < 1e-5
    assert served.asked == ["/Mixer-T.npz"]
    assert (tmp_path / "cache" / "weights" / "mixer_t8.test" / "Mixer-T.npz").is_file()
    load("mixer_t8_32.timms")
    assert served.asked == ["/Mixer-T.npz"]
    assert not caplog.records  # the Card has every field


def test_a_manually_downloaded_file_of_a_card_is_used_without_the_network(published, served, tmp_path):
    path = tmp_path / "cache" / "weights" / "mixer_t8.test" / "Mixer-T.npz"
    path.parent.mkdir(parents=True)
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", path)
    load("mixer_t8.test")
    assert served.asked == []


def test_files_that_timm_downloaded_are_used_without_the_network(published, served, tmp_path, monkeypatch):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", folder)
    on_hub = CardSource("hub", "someone/mixer", "model.safetensors", "google", "unknown")
    both = replace(published, sources=(*published.sources, on_hub))
    monkeypatch.setattr(cards, "_cards", lambda: (both,))
    monkeypatch.setattr(source, "cached_weights", {"someone/mixer": folder}.get)
    load("mixer_t8.test")
    assert served.asked == []


def test_without_a_network_the_error_names_the_file_and_its_path(published, served, tmp_path, monkeypatch):
    gone = CardSource("url", "http://127.0.0.1:9/Mixer-T.npz", "Mixer-T.npz", "google", "unknown")
    monkeypatch.setattr(cards, "_cards", lambda: (replace(published, sources=(gone,)),))
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/Mixer-T\.npz .* by hand, and put it at .*Mixer-T\.npz"):
        load("mixer_t8.test")


def test_the_file_of_another_model_is_refused_for_a_card(published, tmp_path):
    path = tmp_path / "cache" / "weights" / "mixer_t8.test" / "Mixer-T.npz"
    path.parent.mkdir(parents=True)
    shutil.copy(GOLDEN / "locuslab_convmixer_tiny.pth.tar", path)
    with pytest.raises(UserError, match="contains a convmixer, but a mixer is expected"):
        load("mixer_t8.test")


def test_a_card_with_a_different_config_is_refused_with_both_shapes(published, monkeypatch):
    monkeypatch.setattr(cards, "_cards", lambda: (replace(published, config={**published.config, "classes": 8}),))
    with pytest.raises(UserError, match=r"head/kernel \(7, 32\), \(8, 32\)"):
        load("mixer_t8.test")


def test_the_preprocessing_comes_from_the_card(published):
    pretrained = module.load_pretrained("mixer_t8.test", image_size=64)
    assert (pretrained.image_preprocess.crop_fraction, pretrained.image_preprocess.image_size) == (0.9, (64, 64))
    assert pretrained.classes == tuple("0123456")


def hub_folder_of_timm(folder: Path, **config: Any) -> Path:
    import timm

    folder.mkdir()
    model = timm.create_model(
        "davit_tiny", embed_dims=(8, 16), depths=(1, 1), num_heads=(2, 2), window_size=4, num_classes=3
    )
    save_file(model.state_dict(), folder / "model.safetensors")
    described = {
        "architecture": "davit_tiny",
        "num_classes": 3,
        "model_args": {"num_heads": [2, 2], "window_size": 4},
        "label_names": ["a", "b", "c"],
        "pretrained_cfg": {
            "tag": "mine",
            "input_size": [3, 64, 48],
            "mean": [0.1, 0.2, 0.3],
            "std": [1, 1, 1],
            "crop_pct": 0.8,
            "interpolation": "bilinear",
        },
    }
    (folder / "config.json").write_text(json.dumps(described | config))
    return folder


def test_a_timm_folder_determines_heads_window_labels_and_preprocessing(tmp_path, caplog):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    pretrained = module.load_pretrained(hub_folder_of_timm(tmp_path / "hub"))
    assert (pretrained.weights.config["heads"], pretrained.weights.config["window"]) == ((2, 2), 4)
    assert pretrained.weights.config["image_size"] == (64, 48)
    assert pretrained.classes == ("a", "b", "c")
    assert (pretrained.image_preprocess.image_size, pretrained.image_preprocess.mean) == ((64, 48), (0.1, 0.2, 0.3))
    assert (pretrained.image_preprocess.resize, pretrained.image_preprocess.crop_fraction) == ("shorter_side", 0.8)
    assert not caplog.records


def test_a_timm_folder_of_a_published_model_uses_its_card(tmp_path, published, monkeypatch):
    folder = tmp_path / "hub"
    folder.mkdir()
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", folder / "w.npz")
    (folder / "config.json").write_text(json.dumps({"architecture": "mixer_t8_32", "pretrained_cfg": {"tag": "timms"}}))
    assert find_source(folder).config.items() >= published.config.items()


def test_a_truncated_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": ')
    with pytest.raises(UserError, match=r"config\.json is not valid JSON"):
        find_source(tmp_path)


def test_a_hub_name_is_loaded_from_the_hub(tmp_path, monkeypatch):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    folder = hub_folder_of_timm(tmp_path / "hub")
    monkeypatch.setattr(source, "hub_folder", {"someone/davit": folder}.__getitem__)
    assert load("hub:someone/davit").config.window == 4


@pytest.fixture
def timm_network(tmp_path, monkeypatch) -> Any:
    """A small timm network with its weights in the hub's cache."""
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    network = timm.create_model("test_resnet").eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(source, "cached_weights", {"timm/test_resnet.r160_in1k": tmp_path}.get)
    return network


def test_weights_published_by_timm_have_the_logits_of_timm(timm_network):
    images = torch.randn(2, 3, 160, 160)
    model = load("timm:test_resnet.r160_in1k")
    with torch.no_grad():
        torch.testing.assert_close(model(images), timm_network(images), rtol=0, atol=0)
    pretrained = module.load_pretrained("timm:test_resnet.r160_in1k")
    assert (pretrained.classes[0], pretrained.image_preprocess.crop_fraction) == ("tench", 0.95)
    assert (pretrained.image_preprocess.image_size, pretrained.image_preprocess.interpolation) == (
        (160, 160),
        "bilinear",
    )


def test_the_file_of_another_network_is_refused_with_both_sides(timm_network, tmp_path):
    save_file({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1000)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"does not match this TimmModel: only in the file: conv1\.weight; only in the"):
        load("timm:test_resnet.r160_in1k")


def test_weights_published_by_timm_are_downloaded_from_the_hub(timm_network, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "cached_weights", lambda repository: None)
    monkeypatch.setattr(source, "hub_folder", {"timm/test_resnet.r160_in1k": tmp_path}.__getitem__)
    assert find_source("timm:test_resnet.r160_in1k").path == tmp_path


def test_unknown_timm_weights_are_refused_with_the_nearest_name():
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    with pytest.raises(UserError, match=r'no weights "resnet50\.a1_in1kk": .* Did you mean "resnet50\.a1_in1k"\?'):
        find_source("timm:resnet50.a1_in1kk")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"image_size": 64}, r"image_size=64 is not supported for .*, weights of family timm: .* Leave it out"),
        ({"depth": 2}, r"depth=2 is not supported for .*, weights of family timm: .* Leave it out"),
        ({"classes": 3}, r"timm:test_resnet has a head for 1,000 classes, which can't be replaced by one for 3: "),
    ],
)
def test_timm_weights_can_not_be_changed(timm_network, option, sentence):
    with pytest.raises(UserError, match=sentence):
        load("timm:test_resnet.r160_in1k", **option)


def test_is_pretrained_separates_weights_from_sizes(published, tmp_path):
    weights = ["mixer_t8.test", "mixer_t8_32.timms", "hub:someone/davit", "timm:vit_tiny.augreg", str(tmp_path)]
    sizes = ["mixer_nano", "timm:vit_tiny", "timm:vit_tiny:drop_rate=0.1", "nothing"]
    assert [is_pretrained(name) for name in (*weights, *sizes)] == [True] * 5 + [False] * 4


@pytest.mark.parametrize(
    ("name", "end"), [("mixer_b16.goog_in1", 'or a file. Did you mean "mixer_b16.goog_in1k"?'), ("zzz", "or a file.")]
)
def test_the_error_for_unknown_weights_ends_with_one_punctuation_mark(name: str, end: str):
    with pytest.raises(UserError) as raised:
        find_source(name)
    assert str(raised.value).endswith(end)
