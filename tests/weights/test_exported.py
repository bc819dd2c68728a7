"""Exported models as sources: what they answer, and one sentence for everything that is wrong with them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mixlab
from exported_folder import CLASSES, NETWORK, PREPROCESS, write_exported_folder
from mixlab.errors import UserError
from mixlab.weights.classifier import load_classifier
from mixlab.weights.exported import CARD, MODEL, READER, is_exported, read_exported

pytest.importorskip("onnxruntime", reason='needs onnx and onnxruntime: pip install "mixlab[deploy]"')


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return write_exported_folder(tmp_path / "exported")


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 13, 3), dtype=np.uint8)


def test_the_logits_are_those_of_the_network_on_preprocessed_images(exported: Path):
    model = read_exported(exported)
    batch = model.preprocess.finished(model.preprocess.resized(image())[None].repeat(2, 1, 1, 1))
    expected = PREPROCESS(image()).mean(dim=(1, 2))
    torch.testing.assert_close(model.network(batch), expected.repeat(2, 1), rtol=1e-5, atol=1e-6)


def test_a_predictor_takes_the_folder_and_its_onnx_file(exported: Path):
    expected = PREPROCESS(image()).mean(dim=(1, 2)).softmax(dim=0).numpy()
    for source in (exported, exported / MODEL):
        prediction = mixlab.Predictor(source)(image())
        assert prediction.classes == tuple(CLASSES)
        assert prediction.probabilities == pytest.approx(expected, abs=1e-6)


def test_only_onnx_files_and_their_folders_are_exported_models(exported: Path, tmp_path: Path):
    assert is_exported(exported) and is_exported(str(exported / MODEL))
    assert not is_exported(tmp_path) and not is_exported(exported / CARD) and not is_exported("mixer_nano")


def test_its_weights_can_not_be_loaded(exported: Path):
    with pytest.raises(UserError, match="is an exported model, whose weights can't be read: give the run"):
        mixlab.load(exported)


def test_it_runs_on_the_cpu_only(exported: Path):
    assert load_classifier(exported).pick_device(None) == torch.device("cpu")
    with pytest.raises(UserError, match="runs on the CPU in mixlab, not on cuda: leave out --device"):
        mixlab.Predictor(exported, device="cuda")


@pytest.mark.parametrize("name", [MODEL, CARD])
def test_a_folder_with_a_missing_file_is_incomplete(exported: Path, name: str):
    (exported / name).unlink()
    with pytest.raises(UserError, match=rf"exported is incomplete: it has no {name}. Export the model again."):
        read_exported(exported)


def test_a_folder_with_nothing_but_the_card_is_incomplete(exported: Path):
    (exported / MODEL).unlink()
    (exported / READER).unlink()
    assert is_exported(exported)
    with pytest.raises(UserError, match=rf"it has no {MODEL} and no {READER}. Export the model again."):
        read_exported(exported)


def test_a_changed_graph_is_refused(exported: Path):
    content = bytearray((exported / MODEL).read_bytes())
    content[-1] ^= 1
    (exported / MODEL).write_bytes(content)
    with pytest.raises(UserError, match=r"model.onnx was changed after its export: its SHA-256 is not the one in card"):
        read_exported(exported)


def test_a_damaged_card_is_refused(exported: Path):
    (exported / CARD).write_text('{"format": 1')
    with pytest.raises(UserError, match=r"card.json is damaged \(.*\): copy the folder again"):
        read_exported(exported)


def test_missing_keys_of_the_card_are_listed(exported: Path):
    card = json.loads((exported / CARD).read_text())
    del card["classes"], card["sha256"]
    (exported / CARD).write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"card.json has no classes, sha256: export the model again"):
        read_exported(exported)


def test_a_card_of_another_format_is_refused(exported: Path):
    card = json.loads((exported / CARD).read_text())
    (exported / CARD).write_text(json.dumps(card | {"format": 2}))
    with pytest.raises(UserError, match="has format 2, but this version of mixlab reads format 1"):
        read_exported(exported)


def test_what_an_onnx_file_of_another_program_lacks_is_listed(tmp_path: Path):
    from onnx import parser

    file = tmp_path / "other.onnx"
    file.write_bytes(parser.parse_model(NETWORK).SerializeToString())
    with pytest.raises(UserError, match=r"was not exported by mixlab: its metadata have no classes and no preprocess,"):
        mixlab.Predictor(file)


def test_an_onnx_file_without_its_card_is_a_part_of_an_exported_model(exported: Path):
    (exported / CARD).unlink()
    with pytest.raises(UserError, match=r"is only a part of an exported model: give the whole folder, with model.onnx"):
        read_exported(exported / MODEL)


def test_a_file_that_is_no_onnx_is_one_sentence(tmp_path: Path):
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(UserError, match="can't be opened by ONNX Runtime"):
        read_exported(tmp_path / "text.onnx")


def test_without_onnxruntime_the_error_says_how_to_install_it(exported: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'An exported model needs .*: pip install "mixlab\[deploy\]"'):
        read_exported(exported)
    assert (exported / READER).exists()
