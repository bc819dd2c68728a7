"""`mixlab publish`: what the folder holds and hides, that it works where it arrives, and the hub's stand-in."""

import json
import re
import socket
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image

import mixlab

FILES = ["README.md", "config.json", "model.safetensors", "results.json"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refused)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def answered_by_the_card(card: str) -> str:
    """What the two lines of the card print about a dark image."""
    Image.fromarray(np.full((8, 8, 3), 60, np.uint8)).save("image.jpg")
    (block,) = re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)
    with redirect_stdout(StringIO()) as said:
        exec(compile(block, "README.md", "exec"), {})
    return said.getvalue().strip()


def test_a_folder_has_the_weights_and_what_is_to_be_known(run, trained, no_network):
    ended = run("publish", trained, "--out", "published", "--quiet")
    assert (ended.status, ended.out) == (0, "published\n")
    assert names(Path("published")) == FILES


def test_without_out_the_folder_is_a_new_one_below_runs(run, trained):
    folder = Path(run("publish", trained, "--quiet").out.strip())
    assert folder.parent == Path("runs") and folder.name.startswith("publish-run-")
    assert names(folder) == FILES


def test_the_model_answers_as_the_run_does(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(mixlab.load("published")(images), mixlab.load(trained)(images))
    assert mixlab.Predictor("published").classes == ("cat", "dog")


@pytest.mark.parametrize("model", ["vit_nano", "resnet_nano", "davit_nano"])
def test_every_family_can_be_published(run, pets, model):
    settings = ("--set", "image_size=32", "--set", "steps=1", "--set", "batch=4", "--set", "speed=off")
    assert run("train", "--model", model, "--data", f"folder:{pets}", *settings, "--out", "run", "--quiet").status == 0
    assert run("publish", "run", "--out", "published", "--quiet").status == 0
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(mixlab.load("published")(images), mixlab.load("run")(images))
    card = Path("published/README.md").read_text()
    assert ('pip install "mixlab[baselines]"' in card) == (model != "davit_nano")


def test_the_lines_of_the_card_run(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    assert answered_by_the_card(Path("published/README.md").read_text()) in ("cat", "dog")


def test_the_card_tells_the_hub_what_this_is_and_how_good(run, trained):
    run("publish", trained, "--out", "published", "--licence", "mit", "--quiet")
    told = metadata(Path("published/README.md").read_text())
    assert (told["library_name"], told["pipeline_tag"]) == ("mixlab", "image-classification")
    assert (told["license"], told["tags"]) == ("mit", ["mixlab", "mixer"])
    (result,) = told["model-index"][0]["results"]
    top1 = json.loads(Path("published/results.json").read_text())["top1"]
    assert result["dataset"] == {"name": "pets", "type": "folder", "split": "test"}
    assert result["metrics"][0]["value"] == round(top1["value"], 2)
    assert f"[{top1['low']:.1f}, {top1['high']:.1f}]" in result["metrics"][0]["name"]


def test_the_card_tells_people_data_recipe_and_machine(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    card, results = Path("published/README.md").read_text(), json.loads(Path("published/results.json").read_text())
    assignment = {split: len(names) for split, names in json.loads((trained / "split.json").read_text()).items()}
    assert results["trained"]["images"] == assignment
    assert (
        f"folder:pets: {assignment['train']} train, {assignment['validation']} validation, {assignment['test']} test"
        in card
    )
    assert f"{results['data']['images']} images." in card
    assert f"{results['parameters']:,} parameters" in card and f"{results['macs']:,} multiply-accumulates" in card
    assert sum(parameter.numel() for parameter in mixlab.load(trained).parameters()) == results["parameters"]
    assert "learning_rate = " in card and "[expected]" not in card
    assert f"torch {torch.__version__.partition('+')[0]}" in card


def test_a_licence_is_only_what_the_user_gives(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    card = Path("published/README.md").read_text()
    assert "license" not in metadata(card)
    assert "None was given" in card


def test_no_path_of_this_machine_is_told(run, trained, here):
    assert str(here) in (trained / "recipe.toml").read_text()
    run("publish", trained.resolve(), "--out", here / "published", "--quiet")
    for file in (here / "published").iterdir():
        content = file.read_bytes()
        assert str(here).encode() not in content, file.name
        assert str(Path.home()).encode() + b"/" not in content, file.name
        assert str(Path(mixlab.__file__).parent).encode() not in content, file.name


def test_images_that_were_moved_are_found_by_data(run, trained, pets):
    pets.rename("elsewhere")
    assert run("publish", trained, "--out", "published", "--quiet").status == 2
    assert run("publish", trained, "--data", "folder:elsewhere", "--out", "published", "--quiet").status == 0
    assert "the test part that the run held out" in Path("published/README.md").read_text()


def test_a_dry_run_shows_files_and_card_and_leaves_nothing(run, trained, here, no_network):
    before = sorted(here.rglob("*"))
    ended = run("publish", trained, "me/mine", "--dry-run", "--quiet")
    assert ended.status == 0
    assert all(re.search(rf"[\d,]+ bytes  {re.escape(file)}$", ended.out, re.MULTILINE) for file in FILES)
    assert 'Predictor("hub:me/mine")' in ended.out
    assert sorted(here.rglob("*")) == before


def test_what_is_pushed_can_be_asked_by_its_name(run, trained, writable_hub):
    ended = run("publish", trained, "me/mine", "--out", "published", "--quiet")
    assert (ended.status, ended.out) == (0, f"{writable_hub.address}/me/mine\n")
    assert sorted(writable_hub.files) == FILES == names(Path("published"))
    assert answered_by_the_card(writable_hub.files["README.md"].decode()) in ("cat", "dog")


def test_private_reaches_the_hub(run, trained, writable_hub):
    assert run("publish", trained, "me/mine", "--private", "--quiet").status == 0
    assert writable_hub.private == {"me/mine"}


def test_a_refused_push_is_one_line_and_leaves_the_folder(run, trained, writable_hub):
    writable_hub.refuse["/api/repos/create"] = (403, "no")
    ended = run("publish", trained, "me/mine", "--out", "published", "--quiet")
    assert ended.status == 2
    assert "This login may not write to me/mine" in ended.err.splitlines()[-1]
    assert names(Path("published")) == FILES


def test_nobody_logged_in_is_said_before_anything_is_evaluated(run, trained, here, monkeypatch, no_network):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(here / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    before = sorted(here.rglob("*"))
    ended = run("publish", trained, "me/mine")
    assert (ended.status, ended.out) == (2, "")
    assert "run `hf auth login`" in ended.err
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mine",), '"mine" is no name on the hub'),
        (("--private",), "--private is about the hub"),
        (("--out", "pets"), "--out pets holds something else"),
    ],
)
def test_mistakes_are_a_sentence(run, trained, arguments, words):
    ended = run("publish", trained, *arguments)
    assert ended.status == 2
    assert words in ended.err


def test_what_is_no_run_is_refused(run, here):
    (here / "empty").mkdir()
    assert "is empty" in run("publish", "empty").err
    assert list((here / "empty").iterdir()) == []
