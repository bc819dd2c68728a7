"""Where weights are found: a Card's file on loopback, the hub's folders, timm's, runs; and what is known besides."""

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
    """A server of Google's golden."""
    (tmp_path / "served").mkdir()
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", tmp_path / "served" / "Mixer-T.npz")
    return serve(tmp_path / "served")


@pytest.fixture
def published(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A Card of the golden, known to all, with the cache below `tmp_path`."""
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


def test_a_card_s_file_is_fetched_once_and_gives_the_authors_logits(published, served, tmp_path, caplog):
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
    assert not caplog.records  # the Card says all


def test_a_file_of_a_card_put_there_by_hand_touches_no_network(published, served, tmp_path):
    place = tmp_path / "cache" / "weights" / "mixer_t8.test" / "Mixer-T.npz"
    place.parent.mkdir(parents=True)
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", place)
    load("mixer_t8.test")
    assert served.asked == []


def test_what_timm_has_left_in_the_hub_s_cache_touches_no_network(published, served, tmp_path, monkeypatch):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", folder)
    on_hub = CardSource("hub", "someone/mixer", "model.safetensors", "google", "unknown")
    both = replace(published, sources=(*published.sources, on_hub))
    monkeypatch.setattr(cards, "_cards", lambda: (both,))
    monkeypatch.setattr(source, "cached_weights", {"someone/mixer": folder}.get)
    load("mixer_t8.test")
    assert served.asked == []


def test_without_a_network_the_sentence_names_the_file_and_its_place(published, served, tmp_path, monkeypatch):
    gone = CardSource("url", "http://127.0.0.1:9/Mixer-T.npz", "Mixer-T.npz", "google", "unknown")
    monkeypatch.setattr(cards, "_cards", lambda: (replace(published, sources=(gone,)),))
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/Mixer-T\.npz .* by hand, and put it at .*Mixer-T\.npz"):
        load("mixer_t8.test")


def test_another_model_s_file_under_a_card_s_name_is_refused(published, tmp_path):
    place = tmp_path / "cache" / "weights" / "mixer_t8.test" / "Mixer-T.npz"
    place.parent.mkdir(parents=True)
    shutil.copy(GOLDEN / "locuslab_convmixer_tiny.pth.tar", place)
    with pytest.raises(UserError, match="holds a convmixer, where a mixer was expected"):
        load("mixer_t8.test")


def test_a_card_of_other_sizes_is_refused_with_both_sides(published, monkeypatch):
    monkeypatch.setattr(cards, "_cards", lambda: (replace(published, config={**published.config, "classes": 8}),))
    with pytest.raises(UserError, match=r"head/kernel \(7, 32\), \(8, 32\)"):
        load("mixer_t8.test")


def test_the_card_s_preprocessing_and_size_come_with_the_weights(published):
    opened = module.load_pretrained("mixer_t8.test", image_size=64)
    assert (opened.preprocess.crop_fraction, opened.preprocess.image_size) == (0.9, (64, 64))
    assert opened.classes == tuple("0123456")


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


def test_a_folder_of_timm_s_tells_heads_window_labels_and_preprocessing(tmp_path, caplog):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    opened = module.load_pretrained(hub_folder_of_timm(tmp_path / "hub"))
    assert (opened.weights.config["heads"], opened.weights.config["window"]) == ((2, 2), 4)
    assert opened.weights.config["image_size"] == (64, 48)
    assert opened.classes == ("a", "b", "c")
    assert (opened.preprocess.image_size, opened.preprocess.mean) == ((64, 48), (0.1, 0.2, 0.3))
    assert not caplog.records


def test_a_folder_of_timm_s_that_is_a_published_model_is_its_card(tmp_path, published, monkeypatch):
    folder = tmp_path / "hub"
    folder.mkdir()
    shutil.copy(GOLDEN / "google_mixer_tiny.npz", folder / "w.npz")
    (folder / "config.json").write_text(json.dumps({"architecture": "mixer_t8_32", "pretrained_cfg": {"tag": "timms"}}))
    assert find_source(folder).config.items() >= published.config.items()


def test_a_config_that_is_cut_off_is_said(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": ')
    with pytest.raises(UserError, match=r"config\.json is no JSON"):
        find_source(tmp_path)


def test_a_name_of_the_hub_goes_to_the_hub(tmp_path, monkeypatch):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    folder = hub_folder_of_timm(tmp_path / "hub")
    monkeypatch.setattr(source, "hub_folder", {"someone/davit": folder}.__getitem__)
    assert load("hub:someone/davit").config.window == 4


@pytest.fixture
def timms_weights(tmp_path, monkeypatch) -> Any:
    """A small network of timm's, whose weights are where timm leaves them in the hub's cache."""
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    network = timm.create_model("test_resnet").eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(source, "cached_weights", {"timm/test_resnet.r160_in1k": tmp_path}.get)
    return network


def test_weights_that_timm_publishes_give_timm_s_logits(timms_weights):
    images = torch.randn(2, 3, 160, 160)
    model = load("timm:test_resnet.r160_in1k")
    with torch.no_grad():
        torch.testing.assert_close(model(images), timms_weights(images), rtol=0, atol=0)
    opened = module.load_pretrained("timm:test_resnet.r160_in1k")
    assert (opened.classes[0], opened.preprocess.crop_fraction) == ("tench", 0.95)
    assert (opened.preprocess.image_size, opened.preprocess.interpolation) == ((160, 160), "bilinear")


def test_another_network_s_file_in_the_place_of_timm_s_is_refused_with_both_sides(timms_weights, tmp_path):
    save_file({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1000)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"does not fit this TimmModel: only in the file: conv1\.weight; only in the"):
        load("timm:test_resnet.r160_in1k")


def test_weights_that_timm_publishes_come_from_the_hub_where_they_are_not_here(timms_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "cached_weights", lambda repository: None)
    monkeypatch.setattr(source, "hub_folder", {"timm/test_resnet.r160_in1k": tmp_path}.__getitem__)
    assert find_source("timm:test_resnet.r160_in1k").path == tmp_path


def test_weights_that_timm_does_not_have_are_refused_with_the_nearest():
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    with pytest.raises(UserError, match=r'no weights "resnet50\.a1_in1kk": .* Did you mean "resnet50\.a1_in1k"\?'):
        find_source("timm:resnet50.a1_in1kk")


@pytest.mark.parametrize("asked", [{"image_size": 64}, {"classes": 3}, {"depth": 2}])
def test_mixlab_changes_no_weights_of_timm_s(timms_weights, asked):
    with pytest.raises(UserError, match=r"can't be given for .*, weights of a model of timm's: .* Leave it out"):
        load("timm:test_resnet.r160_in1k", **asked)


def test_a_name_says_whether_it_stands_for_weights(published, tmp_path):
    weights = ["mixer_t8.test", "mixer_t8_32.timms", "hub:someone/davit", "timm:vit_tiny.augreg", str(tmp_path)]
    fresh = ["mixer_nano", "timm:vit_tiny", "timm:vit_tiny:drop_rate=0.1", "nothing"]
    assert [is_pretrained(name) for name in (*weights, *fresh)] == [True] * 5 + [False] * 4


@pytest.mark.parametrize(
    ("name", "end"), [("mixer_b16.goog_in1", 'or a file. Did you mean "mixer_b16.goog_in1k"?'), ("zzz", "or a file.")]
)
def test_unknown_weights_end_in_one_mark(name: str, end: str):
    with pytest.raises(UserError) as raised:
        find_source(name)
    assert str(raised.value).endswith(end)
