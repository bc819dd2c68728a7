import re
from pathlib import Path

import pytest
import torch

from mixlab.cli.main import main
from mixlab.data.preprocess import Preprocess
from mixlab.export import web_page
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small Mixer; the runtime is not fetched."""
    monkeypatch.setattr(web_page, "write_runtime", lambda folder, source, digests: None)
    monkeypatch.chdir(tmp_path)
    small = architecture("mixer_nano", classes=2, depth=1, channels=8, token_hidden=8, channel_hidden=8)
    tensors = {name: torch.randn_like(tensor) for name, tensor in small.build().state_dict().items()}
    folder = tmp_path / "model"
    folder.mkdir()
    write_model_folder(folder, Weights("mixer", small.config, tensors), ("cat", "dog"), Preprocess((32, 32)))
    return folder


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(["export", *arguments])
    assert exit_info.value.code == 2
    return capsys.readouterr().err


@pytest.mark.long
def test_the_page_is_written_after_a_comparison(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["export", "model", "page", "--to", "web"])
    assert not exit_info.value.code
    printed = capsys.readouterr()
    assert printed.out == "page\n"
    assert re.search(r"\d+ image files have the same label", printed.err)
    names = {file.name for file in Path("page").iterdir()}
    assert names == {"index.html", "classifier.mjs", "model.json", "preprocess.onnx", "network.onnx"}


def test_another_precision_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = _error(capsys, "model", "page", "--to", "web", "--precision", "fp16")
    assert "--precision fp16 is not possible with --to web" in error
    assert not Path("page").exists()


def test_a_runtime_without_a_page_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "only have an effect with --to web" in _error(capsys, "model", "out", "--webgpu")
    assert not Path("out").exists()


def test_nothing_is_written_without_the_runtime(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(model.parent)
    error = _error(capsys, "model", "page", "--to", "web", "--runtime", "missing.tgz")
    assert "missing.tgz can't be read as a package of npm: run `npm pack onnxruntime-web@1.30.0`" in error
    assert not Path("page").exists()
