"""The page without a browser; `test_web_page_in_a_browser.py` has the rest."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mixlab
from mixlab.data.preprocess import Preprocess
from mixlab.data.transforms import Transform
from mixlab.export import web_page
from mixlab.export.classification_page import SOURCES
from mixlab.export.web_page import PageNetwork, page_data, write_page
from mixlab.zoo.architecture import Model

CLASSES = ("cat", "dog")
PREPROCESS = Preprocess((32, 32))


@pytest.fixture(autouse=True)
def no_dear_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime is not fetched, and the network is not converted."""
    monkeypatch.setattr(web_page, "write_runtime", lambda folder, source, digests: None)
    monkeypatch.setattr(web_page, "onnx_bytes", lambda model, image_shape, outputs: b"")


def _model(name: str = "mixer_nano", **fields: object) -> Model:
    model = mixlab.create_model(name, classes=2, image_size=32, **fields).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)  # a head of zeros would make all probabilities equal
    return model


def _data(model: Model, preprocess: Preprocess = PREPROCESS) -> dict[str, Any]:
    return page_data(PageNetwork(model, (32, 32)), preprocess, CLASSES)


def test_the_network_returns_the_probabilities_and_maps_of_the_model() -> None:
    model, images = _model(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        probabilities, maps = PageNetwork(model, (32, 32))(images)
        torch.testing.assert_close(probabilities, model(images).softmax(dim=1))
    assert maps.shape == (2, 2, 8, 8)


def test_a_model_without_feature_maps_has_windows_and_no_maps() -> None:
    pytest.importorskip("timm")
    model = _model("timm:resnet18")
    with torch.no_grad():
        assert len(PageNetwork(model, (32, 32))(torch.zeros(1, 3, 32, 32))) == 1
    assert {"windows", "map_places"} & _data(model).keys() == {"windows"}


def test_a_model_of_permuted_images_has_neither() -> None:
    permuted = replace(PREPROCESS, transform=Transform("permute_patches", patch_size=4, seed=0))
    assert not {"windows", "map_places"} & _data(_model(), permuted).keys()


def test_the_places_of_maps_and_windows_cover_the_image() -> None:
    data = _data(_model())
    for places in (data["map_places"], data["windows"]):
        for sides in (places["rows"], places["columns"]):
            assert sides[0][0] == 0
            assert sides[-1][1] == 32
            assert all(end == start for (_, end), (start, _) in pairwise(sides))
            assert len(sides) == 8


def test_titles_are_escaped_and_nothing_comes_from_another_server(tmp_path: Path) -> None:
    write_page(tmp_path, _model(), PREPROCESS, "<cats> & dogs", CLASSES)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h1>&lt;cats&gt; &amp; dogs</h1>" in page
    assert "$" not in page.partition("<script")[0]
    for file in ("index.html", "classifier.mjs"):
        assert "//" not in (tmp_path / file).read_text(encoding="utf-8").replace("// ", "")


def test_names_of_classes_are_stored_as_they_are(tmp_path: Path) -> None:
    classes = ('"quoted"', "katze, schwarz")
    write_page(tmp_path, _model(), PREPROCESS, "animals", classes)
    assert json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["classes"] == list(classes)


def test_the_demo_has_the_current_page() -> None:
    demo = Path(__file__).parents[2] / "docs" / "demo"
    page = (demo / "index.html").read_text(encoding="utf-8")
    assert all(
        (SOURCES / name).read_text(encoding="utf-8") in page for name in ("page.mjs", "in_browser.mjs", "page.css")
    )
    assert (demo / "classifier.mjs").read_bytes() == (SOURCES / "classifier.mjs").read_bytes()
