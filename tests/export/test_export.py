"""Export to ONNX: the same answers in another program, or nothing on disk."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

import mixlab
from mixlab.data.dataset import Split
from mixlab.data.image_file import read_image
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.export import onnx_model
from mixlab.export.check_images import check_images
from mixlab.export.export import export_model
from mixlab.export.model_formats import MODEL_FORMATS
from mixlab.export.parity import compare_answers
from mixlab.measure.machine import versions
from mixlab.prediction import int8
from mixlab.weights.exported import CARD, MODEL, READER
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo import user_code
from small_model import CLASSES, write_model

pytest.importorskip("onnxscript", reason='needs onnx and onnxscript: pip install "mixlab[deploy]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "mixlab[deploy]"')


@pytest.fixture(autouse=True)
def nothing_trusted(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "trusted")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    export_model(source, out, log=lambda _line: None)
    return out


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.image" for number in range(len(check_images()))]
    for file, content in zip(files, check_images().values(), strict=True):
        file.write_bytes(content)
    return files


def test_image_files_of_all_kinds_have_the_probabilities_of_the_predictor(source, exported, files):
    expected, found = (mixlab.Predictor(each, device="cpu")(files) for each in (source, exported))
    for one, other in zip(expected, found, strict=True):
        assert other.classes == CLASSES
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-5)


def test_predict_py_needs_neither_torch_nor_mixlab(source, exported, files):
    assert_answers_alone(source, exported, files, ["torch", "mixlab", "onnx"])


def assert_answers_alone(source: Path, exported: Path, files: Any, without: list[str]) -> None:
    blocked = f"import sys; sys.modules |= dict.fromkeys({without})"
    program = f"{blocked}; import runpy; sys.argv = ['predict.py', *{list(map(str, files))}]"
    command = f"{program}; runpy.run_path({str(exported / READER)!r}, run_name='__main__')"
    answers = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=120)
    assert not answers.stderr
    expected = mixlab.Predictor(source, device="cpu")(files)
    assert [line.split("\t") for line in answers.stdout.splitlines()] == [
        [str(file), one.label, f"{one.probabilities.max():.3f}"] for file, one in zip(files, expected, strict=True)
    ]


def test_the_onnx_file_alone_says_its_classes_and_preprocessing(source, exported):
    metadata = onnxruntime.InferenceSession(exported / MODEL).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert Preprocess.from_dict(json.loads(metadata["preprocess"])) == load_pretrained(source).preprocess
    assert metadata["weights"] == load_pretrained(source).source_digest


def test_the_card_says_what_was_compared_and_measured(exported):
    card = json.loads((exported / CARD).read_text(encoding="utf-8"))
    assert card["parity"]["files"] == len(check_images())
    assert 0 <= card["parity"]["difference"] <= card["parity"]["tolerance"] == 1e-4
    for unit in ("milliseconds", "images_per_second"):
        assert all(card["speed"][unit][side] > 0 for side in ("pytorch", "exported"))
    assert card["opset"] >= 18 and card["versions"]["torch"] == versions()["torch"]
    assert sorted(file.name for file in exported.iterdir()) == sorted([CARD, MODEL, READER])


def test_a_model_with_other_answers_is_not_written(source, tmp_path, monkeypatch):
    """The preprocessing of the graph has another crop than that of the run."""
    whole = onnx_model.with_preprocessing
    monkeypatch.setattr(
        onnx_model,
        "with_preprocessing",
        lambda network, preprocess, metadata: whole(network, replace(preprocess, crop_fraction=0.5), metadata),
    )
    with pytest.raises(UserError, match=r"was not written, because it does not answer like mixlab for a JPEG: a prob"):
        export_model(source, tmp_path / "out", log=lambda _line: None)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_differs_unless_the_labels_are_a_near_tie(source):
    pretrained = load_pretrained(source)
    model, content = build_with_weights(pretrained.weights), check_images()["a grey PNG"]
    with torch.inference_mode():
        expected = model(pretrained.image_preprocess(read_image(content))[None]).softmax(dim=1).numpy()
    swapped = np.sort(expected)  # the same probabilities for other classes
    gap = float(np.sort(expected[0])[-1] - np.sort(expected[0])[-2])

    def compare(found: np.ndarray, tolerance: float):
        files = [("grey.png", content)]
        return compare_answers(files, model, pretrained.image_preprocess, lambda _content: found[0], tolerance)

    assert compare(expected, 1e-4).near_ties == 0
    with pytest.raises(UserError, match=r"does not answer like mixlab for grey.png"):
        compare(swapped[:, ::-1] if expected.argmax() else swapped, gap / 4)
    top_two = expected.copy()
    first, second = np.argsort(expected[0])[::-1][:2]
    top_two[0, [first, second]] = expected[0, [second, first]]
    assert compare(top_two, 1.01 * gap).near_ties == 1


def test_images_to_check_must_be_files(source, tmp_path):
    split = Split(["array 0"], np.zeros(1, dtype=np.int64), [np.zeros((4, 4, 3), dtype=np.uint8)])
    with pytest.raises(UserError, match="array 0 is not a file: give --check images in files"):
        export_model(source, tmp_path / "out", check=[split], log=lambda _line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_head_is_refused(tmp_path):
    source = write_model(tmp_path / "model")
    pretrained = load_pretrained(source, classes=0)
    write_model_folder(tmp_path / "model", pretrained.weights, (), pretrained.preprocess)
    with pytest.raises(UserError, match="has no head, so it can't predict labels: give a model with classes"):
        export_model(source, tmp_path / "out", log=lambda _line: None)


@pytest.mark.parametrize("to", MODEL_FORMATS)
def test_an_exported_model_has_no_folder_of_this_machine(source, tmp_path, to):
    if to == "openvino":
        pytest.importorskip("openvino", reason='needs openvino: pip install "mixlab[deploy]"')
    export_model(source, tmp_path / "out", to=to, log=lambda _line: None)
    contents = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    if to == "torch":
        with ZipFile(tmp_path / "out" / "model.pt2") as archive:
            contents |= {name: archive.read(name) for name in archive.namelist()}
    folders = [str(Path(folder).parent).encode() for folder in (mixlab.__file__, torch.__file__, source, tmp_path)]
    assert [name for name, content in contents.items() if any(folder in content for folder in folders)] == []


FAMILIES = {
    "mixer_nano": {"depth": 2},
    "convmixer_nano": {"depth": 2},
    "davit_nano": {},
    "variant:metaformer": {
        "mixing": "depthwise",
        "patch_size": 8,
        "channels": 16,
        "channel_hidden": 16,
        "depths": (1,),
    },
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("to", "precision"),
    [("onnx", "fp32"), ("onnx", "fp16"), ("openvino", "fp32"), ("openvino", "bf16"), ("torch", "bf16")],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_answers_in_every_format(tmp_path, files, name, to, precision):
    source = write_model(tmp_path / "model", name, **FAMILIES[name])
    export_model(source, tmp_path / "out", to=to, precision=precision, log=lambda _line: None)
    Image.init()
    assert mixlab.Predictor(tmp_path / "out")(files[0]).label == mixlab.Predictor(source, device="cpu")(files[0]).label


@pytest.mark.long
@pytest.mark.parametrize(("to", "without"), [("openvino", ["torch", "mixlab", "onnx"]), ("torch", ["mixlab", "onnx"])])
def test_predict_py_of_the_other_formats_needs_no_mixlab(source, tmp_path, files, to, without):
    pytest.importorskip("openvino", reason='needs openvino: pip install "mixlab[deploy]"')
    out = tmp_path / "out"
    export_model(source, out, to=to, log=lambda _line: None)
    assert_answers_alone(source, out, files, without)
    card = json.loads((out / CARD).read_text(encoding="utf-8"))
    assert (card["runtime"], card["parity"]["files"]) == (to, len(check_images()))
    expected, found = (mixlab.Predictor(each, device="cpu")(files) for each in (source, out))
    for one, other in zip(expected, found, strict=True):
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_is_written_if_the_guard_accepts_it(source, tmp_path, monkeypatch, shades, to):
    pytest.importorskip("nncf", reason='needs nncf: pip install "mixlab[deploy]"')
    monkeypatch.setattr(int8, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(int8, "_images", lambda *_: shades)
    monkeypatch.setattr(int8, "_MIN_SPEED_RATIO", 1e9)
    with pytest.raises(UserError, match=r"int8 is not faster for .* \(top-1 .* times as fast as (bf16|fp32)"):
        export_model(source, tmp_path / "out", to=to, precision="int8", log=lambda _line: None)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(int8, "_MIN_SPEED_RATIO", 0.0)
    monkeypatch.setattr(int8, "MAX_LOSS", 100.0)
    export_model(source, tmp_path / "out", to=to, precision="int8", log=lambda _line: None)
    card = json.loads((tmp_path / "out" / CARD).read_text(encoding="utf-8"))
    assert card["int8"]["rival"] == {"onnx": "fp32", "openvino": "bf16"}[to]
    assert card["parity"]["tolerance"] == 0.02


@pytest.mark.long
def test_a_model_is_exported_at_another_size(source, tmp_path):
    export_model(source, tmp_path / "out", image_size=64, log=lambda _line: None)
    assert json.loads((tmp_path / "out" / CARD).read_text(encoding="utf-8"))["preprocess"]["image_size"] == [64, 64]
