"""Exported models as MODEL: a command answers with one, or ends in a sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from exported_folder import write_exported_folder
from mixlab.benchmark import benchmark as measuring
from mixlab.benchmark import forms

pytest.importorskip("onnxscript", reason='needs onnx, onnxscript and onnxruntime: pip install "mixlab[deploy]"')
pytest.importorskip("onnxruntime", reason='needs onnx, onnxscript and onnxruntime: pip install "mixlab[deploy]"')

NO_WEIGHTS = "is an exported model, whose weights can't be read: give the run or the weights that it was exported from."
NO_RUN = "exported is not a run's folder: it has no status.json. Give the folder that mixlab train printed."


@pytest.fixture
def exported(here: Path) -> Path:
    """A small exported model, without a run."""
    write_exported_folder(here / "exported")
    return Path("exported")


@pytest.fixture
def exported_run(run, trained) -> Path:
    assert run("export", trained, "exported", "--quiet").status == 0
    return Path("exported")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark without processes for the memory and matrix products, and with a stock plan instead of a search."""
    monkeypatch.setattr(measuring, "peak_memory", lambda form: 2**20)
    monkeypatch.setattr(measuring, "matrix_product_peak", lambda device, dtype: 1e12)
    stock = forms.stock_forms
    monkeypatch.setattr(measuring, "mixlab_form", lambda *each: stock("mixlab", *each[:4])[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--model", "exported", "--data", "digits"), f"exported {NO_WEIGHTS}"),
        (("train", "--model", "exported/model.onnx", "--data", "digits"), f"exported/model.onnx {NO_WEIGHTS}"),
        (
            ("train", "--model", "mixer_nano", "--set", "initialization.weights=exported", "--data", "digits"),
            f"exported {NO_WEIGHTS}",
        ),
        (
            ("train", "--model", "mixer_nano", "--set", "distillation.teacher=exported", "--data", "digits", "--quiet"),
            f"exported {NO_WEIGHTS}",
        ),
        (("train", "--resume", "exported"), NO_RUN),
        (
            ("compare", "--models", "exported,mixer_nano", "--data", "digits"),
            "--models mixes exported, which is pretrained,",
        ),
        (("data", "labels", "digits", "--model", "exported"), f"exported {NO_WEIGHTS}"),
        (("convert", "exported", "out", "--to", "timm"), f"exported {NO_WEIGHTS}"),
        (("inspect", "exported"), f"exported {NO_WEIGHTS}"),
        (("publish", "exported"), NO_RUN),
        (("runs", "exported", "--average", "--out", "out"), NO_RUN),
        (("export", "exported", "out"), f"exported {NO_WEIGHTS}"),
        (("export", "exported", "out", "--to", "web"), f"exported {NO_WEIGHTS}"),
        (("predict", "exported", "pets", "--precision", "int8"), f"exported {NO_WEIGHTS}"),
        (("serve", "exported", "--precision", "int8", "--port", "0"), f"exported {NO_WEIGHTS}"),
        (("serve", "exported", "--device", "cuda", "--port", "0"), "runs on the CPU in mixlab, not on cuda"),
        (("explain", "exported", "pets", "--method", "grad-cam"), "has no gradients: use --method occlusion"),
        (
            ("explain", "exported", "pets", "--check", "1"),
            "--check shuffles weights, and exported is an exported model",
        ),
        (("benchmark", "exported", "--train"), "exported is an exported model, which can't be trained: leave it out"),
        (("benchmark", "exported", "--against", "eager"), "--against eager needs another MODEL: give the run that"),
        (("benchmark", "exported", "--device", "meta"), 'device "meta" is not available'),
        (("study", "filters", "--model", "exported"), f"exported {NO_WEIGHTS}"),
        (("study", "mixing", "--models", "exported"), f"exported {NO_WEIGHTS}"),
        (("study", "representation", "exported", "exported"), "export"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_that_needs_weights_ends_in_a_sentence(refused, exported, pets, words, message):
    found = refused(*words)
    assert message in found


def test_occlusion_has_the_maps_of_the_run(run, trained, pets):
    config = json.loads((trained / "config.json").read_text())
    config["preprocess"]["mean"] = [51 / 255, 102 / 255, 153 / 255]  # an exported model receives whole numbers
    Path("weights").mkdir()
    Path("weights/config.json").write_text(json.dumps(config))
    shutil.copy(trained / "model.safetensors", "weights")
    assert run("export", "weights", "exported", "--quiet").status == 0
    images = (pets / "cat" / "00.png", pets / "dog" / "00.png")
    for source in ("weights", "exported"):
        assert run("explain", source, *images, "--out", f"maps-{source}", "--quiet").status == 0
    own, other = (json.loads(Path(f"maps-{source}/results.json").read_text()) for source in ("weights", "exported"))
    assert other["plan"] is None
    for one, found in zip(own["images"], other["images"], strict=True):
        assert found["label"] == one["label"]
        (expected,), (measured,) = one["maps"], found["maps"]
        assert measured["rows"] == expected["rows"]
        assert np.abs(expected["values"]).max() > 1e-3
        assert np.abs(np.subtract(measured["values"], expected["values"])).max() < 1e-5


def test_an_exported_model_takes_turns_with_the_peers_of_its_run(run, trained, exported_run, quick):
    ended = run(
        *("benchmark", exported_run, trained, "mixer_nano", "--against", "eager", "--rounds", "6", "--format", "json")
    )
    assert ended.status == 0, ended.err
    own, other = json.loads(ended.out)
    assert (own["model"], other["model"]) == (str(trained), "mixer_nano")
    assert [row["name"] for row in own["rows"]] == ["mixlab", "eager", "exported exported"]
    assert [row["name"] for row in other["rows"]] == ["mixlab", "eager"]
    assert own["exported_ratios"]["exported exported"].keys() == {"best_stock", "mixlab"}
    assert other["exported_ratios"] == {}


def test_an_exported_model_alone_has_its_speed_and_a_note_about_peers(run, exported_run, quick):
    ended = run("benchmark", exported_run, "--rounds", "6", "--out", "speed")
    assert ended.status == 0, ended.err
    assert "exported exported" in ended.out and "Speed of mixlab relative to peers" not in ended.out
    assert "give the run or the weights that the model was exported from as another MODEL" in ended.out
    (result,) = json.loads(Path("speed/results.json").read_text())["results"]
    assert result["macs"] > 0 and result["parameters"] > 0 and result["ratios"]["best_stock"] is None
    assert "The speed of exported models was measured." in Path("speed/report.html").read_text()


@pytest.mark.long
def test_the_memory_of_an_exported_model_is_that_of_a_process(run, exported_run):
    ended = run("benchmark", exported_run, "--rounds", "6", "--format", "json")
    assert ended.status == 0, ended.err
    ((row,),) = (result["rows"] for result in json.loads(ended.out))
    assert 2**26 < row["peak_bytes"] < 2**32
