"""The page without a browser; `test_web_page_in_a_browser.py` has the rest."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import mixlab
from mixlab.data.preprocess import Preprocess
from mixlab.export import web_page
from mixlab.export.web_page import PageNetwork, SeenImages, page_data, write_page
from mixlab.models.mixer import Mixer

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_page, "write_runtime", lambda folder, source, digests: None)


def _network(name: str = "mixer_nano", image_size: int = 32, **fields: object) -> PageNetwork:
    model = mixlab.create_model(name, classes=2, image_size=image_size, **fields).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)  # a head of zeros would make all probabilities equal
    return PageNetwork(model, Preprocess((image_size, image_size))).eval()


def test_both_graphs_answer_as_preprocessing_and_model_do() -> None:
    network = _network()
    image = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8)
    with torch.no_grad():
        seen = SeenImages(network.preprocess)(image[None])
        probabilities, maps = network(seen)
        expected = network.model(network.preprocess(image.numpy())[None]).softmax(dim=1)
    torch.testing.assert_close(probabilities, expected)
    assert torch.equal(seen[0].permute(2, 0, 1), network.preprocess.resized(image.numpy()))
    assert maps.shape == (1, 2, 8, 8)


def test_a_model_without_feature_maps_has_no_places_of_maps() -> None:
    pytest.importorskip("timm")
    network = _network("timm:resnet18")
    with torch.no_grad():
        outputs = network(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert len(outputs) == 1
    assert "map_places" not in page_data(network, CLASSES)


def test_the_places_of_maps_and_windows_cover_the_image() -> None:
    network = _network()
    assert isinstance(network.model, Mixer)
    data = page_data(network, CLASSES)
    for places in (data["map_places"], data["windows"]):
        for sides in (places["rows"], places["columns"]):
            assert sides[0][0] == 0
            assert sides[-1][1] == 32
            assert all(end == start for (_, end), (start, _) in pairwise(sides))
    assert len(data["map_places"]["rows"]) == 32 // network.model.config.patch_size


def test_titles_are_escaped_and_nothing_comes_from_another_server(tmp_path: Path) -> None:
    write_page(tmp_path, _network(), "<cats> & dogs", CLASSES)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h1>&lt;cats&gt; &amp; dogs</h1>" in page
    assert "$" not in page.partition("<script")[0]
    for file in ("index.html", "classifier.mjs"):
        assert "//" not in (tmp_path / file).read_text(encoding="utf-8").replace("// ", "")


def test_names_of_classes_are_stored_as_they_are(tmp_path: Path) -> None:
    classes = ('"quoted"', "katze, schwarz")
    write_page(tmp_path, _network(), "animals", classes)
    assert json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["classes"] == list(classes)
