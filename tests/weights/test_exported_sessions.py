"""Exported models of every format as sources, and one sentence for everything that is wrong with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mixlab
from exported_folder import CLASSES, NETWORK, PREPROCESS
from mixlab.errors import UserError
from mixlab.weights.exported import CARD, EXPORTED_FORMATS, MODEL, READER, FormatName, is_exported, read_exported
from mixlab.zoo import user_code

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f'needs {package}: pip install "mixlab[deploy]"')

FORMATS: tuple[FormatName, ...] = tuple(EXPORTED_FORMATS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, Path]:
    from exported_formats import write_folder

    folder = tmp_path_factory.mktemp("written")
    return {to: write_folder(folder / to, to) for to in FORMATS}


@pytest.fixture(autouse=True)
def nothing_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(user_code, "_trusts_all", False)


@pytest.fixture
def folder(to: FormatName, written: dict[FormatName, Path], tmp_path: Path) -> Path:
    """A copy, which is trusted."""
    copy = shutil.copytree(written[to], tmp_path / "exported")
    if to == "torch":
        mixlab.trust_code(copy / "model.pt2")
    return copy


@pytest.mark.parametrize("to", FORMATS)
def test_the_logits_are_those_of_the_network_on_preprocessed_images(folder: Path, to: FormatName):
    image = np.random.default_rng(0).integers(0, 256, (20, 13, 3), dtype=np.uint8)
    model = read_exported(folder)
    batch = model.preprocess.finished(model.preprocess.resized(image)[None].repeat(2, 1, 1, 1))
    expected = PREPROCESS(image).mean(dim=(1, 2))
    torch.testing.assert_close(model.network(batch), expected.repeat(2, 1), rtol=1e-5, atol=1e-6)
    prediction = mixlab.Predictor(folder / EXPORTED_FORMATS[to].files[0])(image)
    assert prediction.classes == tuple(CLASSES)
    assert prediction.probabilities == pytest.approx(expected.softmax(dim=0).numpy(), abs=1e-5)


@pytest.mark.parametrize("to", FORMATS)
def test_every_missing_file_is_named(folder: Path, to: FormatName):
    for name in (*EXPORTED_FORMATS[to].files[1:], CARD, READER):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(UserError, match=rf"exported is incomplete: it has no {name}. Export the model again."):
            read_exported(folder)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("to", FORMATS)
def test_every_changed_file_is_refused(folder: Path, to: FormatName):
    for name in EXPORTED_FORMATS[to].files:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match=r"was changed after its export: its SHA-256 is not the one in card\.json"):
            read_exported(folder)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_without_its_card_is_a_part_of_an_exported_model(folder: Path, to: FormatName):
    (folder / CARD).unlink()
    with pytest.raises(UserError, match=r"is only a part of an exported model: give the whole folder, with model\."):
        read_exported(folder / EXPORTED_FORMATS[to].files[0])


def test_what_a_file_of_another_program_lacks_is_listed(tmp_path: Path):
    import openvino
    from onnx import parser

    content = parser.parse_model(NETWORK).SerializeToString()
    (tmp_path / "other.onnx").write_bytes(content)
    openvino.save_model(openvino.Core().read_model(content), tmp_path / "other.xml")
    torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(2),)), tmp_path / "other.pt2")
    for suffix in ("onnx", "xml", "pt2"):
        file = tmp_path / f"other.{suffix}"
        assert is_exported(file)
        with pytest.raises(UserError, match=rf"{file.name} was not exported by mixlab: its metadata have no classes"):
            mixlab.Predictor(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.xml", "can't be read as a graph of OpenVINO: syntax error"),
        ("text.pt2", "can't be read as a program of PyTorch: File is not a zip file"),
    ],
)
def test_a_file_with_other_content_is_one_sentence(tmp_path: Path, name: str, message: str):
    (tmp_path / name).write_text("text")
    with pytest.raises(UserError, match=message):
        read_exported(tmp_path / name)


@pytest.mark.parametrize("to", ["torch"])
def test_a_program_from_elsewhere_is_opened_only_if_it_is_trusted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "of another user")
    with pytest.raises(UserError, match=r"model.pt2 is a program that was not exported on this machine, and PyTorch"):
        read_exported(folder)
    user_code.trust_code(folder / "model.pt2")
    assert read_exported(folder).classes == tuple(CLASSES)


def test_a_folder_is_an_exported_model_if_it_has_a_file_of_a_format(written: dict[FormatName, Path], tmp_path: Path):
    assert not is_exported(tmp_path)
    for to, format in EXPORTED_FORMATS.items():
        assert is_exported(written[to]) and is_exported(written[to] / format.files[0])
    assert EXPORTED_FORMATS["onnx"].files == (MODEL,)
