"""The code of a model in a received folder is run only with --trust-code."""

import shutil
from pathlib import Path

import pytest

from mixlab.zoo import user_code

CODE = """
from pathlib import Path

from mixlab.models.mixer import Mixer, MixerConfig


def mine(config: MixerConfig) -> Mixer:
    Path("code-ran").touch()
    return Mixer(config)
"""


@pytest.fixture
def received(run, pets, here, monkeypatch) -> Path:
    """The folder of a run with a model of user code, on a machine where that code was never run."""
    monkeypatch.setattr(user_code, "_trusts_all", False)
    monkeypatch.setattr(user_code, "cache_folder", lambda: here / "cache-of-the-author")
    (here / "mine.py").write_text(CODE)
    fields = "image_size=8:patch_size=4:channels=8:token_hidden=8:channel_hidden=8:depth=1"
    settings = ("--set", "steps=3", "--set", "batch=8", "--set", "speed=off")
    given = ("--model", f"py:mine.py:mine:{fields}", "--data", f"folder:{pets}", *settings)
    ended = run("train", *given, "--out", "run", "--quiet")
    assert ended.status == 0, ended.err
    monkeypatch.setattr(user_code, "cache_folder", lambda: here / "cache-of-the-reader")
    (here / "mine.py").unlink()
    (here / "code-ran").unlink()
    shutil.move("run", "received")
    return Path("received")


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "received", "pets/cat/00.png"),
        ("evaluate", "received"),
        ("inspect", "received"),
        ("convert", "received", "converted", "--to", "mixlab"),
        ("publish", "received", "--out", "published"),
        ("train", "--model", "received", "--data", "folder:pets", "--set", "steps=1"),
        ("train", "received/recipe.toml"),
    ],
    ids=" ".join,
)
def test_code_of_a_received_folder_runs_only_if_it_is_trusted(run, received, here, command):
    ended = run(*command)
    assert ended.status == 2
    assert ended.err.splitlines()[-1].startswith("mixlab: ")
    assert "architecture.py is a model's code that was not run on this machine before" in ended.err
    assert "--trust-code" in ended.err
    assert not Path("code-ran").exists()
    assert not [path for path in here.iterdir() if path.name in ("converted", "published", "runs")]


def test_trusted_code_runs_and_stays_trusted(run, received):
    given = ("predict", received, "pets/cat/00.png", "--quiet")
    assert run(*given, "--trust-code").status == 0
    assert Path("code-ran").exists()
    user_code._trusts_all = False
    assert run(*given).status == 0


def test_changed_code_is_not_trusted(run, received, monkeypatch):
    assert run("predict", received, "pets/cat/00.png", "--quiet", "--trust-code").status == 0
    monkeypatch.setattr(user_code, "_trusts_all", False)
    file = received / user_code.COPY
    file.write_text(file.read_text().replace("return Mixer(config)", "return Mixer(config).train()"))
    assert run("predict", received, "pets/cat/00.png").status == 2
