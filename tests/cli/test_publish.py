"""`mixlab publish`: content of the folder, use of the folder, and upload to a fake hub."""

import json
import re
import socket
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image

import mixlab
from mixlab.evaluation.novelty import NoveltyDetector

NEEDS_DEPLOY = 'needs onnx, onnxscript and onnxruntime: pip install "mixlab[deploy]"'
FILES = ["README.md", "config.json", "model.safetensors", "results.json"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refused)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def python_blocks(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)


def output_of_the_card(card: str) -> str:
    """The output of the two lines of Python in the card for a dark image."""
    Image.fromarray(np.full((8, 8, 3), 60, np.uint8)).save("image.jpg")
    block, *_ = python_blocks(card)
    with redirect_stdout(StringIO()) as output:
        exec(compile(block, "README.md", "exec"), {})
    return output.getvalue().strip()


def test_the_folder_has_weights_config_results_and_card(run, trained, no_network):
    ended = run("publish", trained, "--out", "published", "--quiet")
    assert (ended.status, ended.out) == (0, "published\n")
    assert names(Path("published")) == FILES


def test_features_of_training_images_are_not_published(run, trained):
    NoveltyDetector(np.eye(8, dtype=np.float16), 1, 0.5, 40).write(trained / "novelty.safetensors")
    assert run("publish", trained, "--out", "published", "--quiet").status == 0
    assert names(Path("published")) == FILES


def test_without_out_a_new_folder_in_runs_is_written(run, trained):
    folder = Path(run("publish", trained, "--quiet").out.strip())
    assert folder.parent == Path("runs") and folder.name.startswith("publish-run-")
    assert names(folder) == FILES


def test_the_published_model_has_the_logits_of_the_run(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(mixlab.load("published")(images), mixlab.load(trained)(images))
    assert mixlab.Predictor("published").classes == ("cat", "dog")


@pytest.fixture
def published(run: Callable[..., Any], pets: Path) -> Callable[[str], Path]:
    """Trains a model for one step and publishes it."""

    def published(model: str, *settings: str) -> Path:
        words = ("image_size=32", "steps=1", "batch=4", "speed=off", *settings)
        options = [word for setting in words for word in ("--set", setting)]
        trained = run("train", "--model", model, "--data", f"folder:{pets}", *options, "--out", "run", "--quiet")
        assert trained.status == 0, trained.err
        assert run("publish", "run", "--out", "published", "--quiet").status == 0
        return Path("published")

    return published


@pytest.mark.parametrize(
    ("model", "for_timm"), [("vit_nano", True), ("resnet_nano", False), ("davit_nano", True), ("convmixer_nano", False)]
)
def test_every_family_can_be_published(published, model, for_timm):
    folder = published(model)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(mixlab.load(folder)(images), mixlab.load("run")(images))
    assert names(folder) == FILES
    card = (folder / "README.md").read_text()
    assert ('pip install "mixlab[baselines]"' in card) == (model in ("vit_nano", "resnet_nano"))
    assert ("architecture" in json.loads((folder / "config.json").read_text())) == for_timm
    assert (metadata(card)["library_name"] == "timm") == for_timm
    assert ("timm and transformers can't use this model: timm " in card) == (not for_timm)


@pytest.mark.parametrize(
    "path", ["variant:untied_mixer:token_weights=grouped:channel_weights=shared", "py:mine.py:mine"]
)
def test_a_network_of_mixlab_or_your_own_can_be_published(published, here, path):
    (here / "mine.py").write_text("from mixlab.models.mixer import Mixer as mine, MixerConfig\n")
    folder = published(f"{path}:patch_size=8:channels=8:token_hidden=8:channel_hidden=8:depth=1")
    card = (folder / "README.md").read_text()
    assert "timm does not have this network." in card and str(here) not in card
    assert (folder / "architecture.py").exists() == path.startswith("py:")


def test_a_folder_whose_preprocessing_timm_lacks_is_not_for_timm(published):
    folder = published("davit_nano", "transform.name=permute_all_pixels")
    assert "architecture" not in json.loads((folder / "config.json").read_text())
    assert "can't use this model: timm's config has no permutation of" in (folder / "README.md").read_text()


def test_the_onnx_file_is_published_with_its_own_results_and_without_digests_of_images(run, trained, pets, here):
    pytest.importorskip("onnxscript", reason=NEEDS_DEPLOY)
    pytest.importorskip("onnxruntime", reason=NEEDS_DEPLOY)
    ended = run("publish", trained, "--onnx", "--out", "published", "--quiet")
    assert ended.status == 0, ended.err
    assert names(Path("published")) == sorted([*FILES, "onnx"])
    assert names(Path("published/onnx")) == ["card.json", "model.onnx", "predict.py"]
    results = json.loads(Path("published/results.json").read_text())
    assert results["onnx"]["top1"] == results["top1"]
    assert [results["onnx"]["data"][key] == results["data"][key] for key in ("images", "evaluated", "name")] == [
        True
    ] * 3
    card = Path("published/README.md").read_text()
    assert (
        "## ONNX" in card
        and "onnx/model.onnx on folder:pets" in card
        and "use onnx/model.onnx with ONNX Runtime Web" in card
    )
    for file in Path("published").rglob("*.*"):
        assert str(here).encode() not in file.read_bytes(), file.name
    image = next(pets.rglob("*.png"))
    expected, found = (mixlab.Predictor(source)(image) for source in (trained, "published/onnx"))
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_card_without_onnx_does_not_mention_its_file(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    assert "onnx/" not in Path("published/README.md").read_text()


@pytest.mark.long
def test_timm_and_transformers_run_the_code_of_the_card_with_the_outputs_of_mixlab(published, pets):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    pytest.importorskip("transformers", reason='needs pip install "mixlab[papers]"')
    folder = published("davit_nano")
    _, block = python_blocks((folder / "README.md").read_text())
    made: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), made)
    predictor = mixlab.Predictor(folder)
    for file in sorted(pets.rglob("*.png"))[:4]:
        expected = predictor(file)
        with Image.open(file) as image, torch.inference_mode():
            probabilities = made["model"](made["transform"](image.convert("RGB"))[None]).softmax(-1)[0].numpy()
        answers = made["classify"](str(file))
        assert np.abs(probabilities - expected.probabilities).max() < 1e-5
        assert answers[0]["label"] == expected.label
        assert abs(answers[0]["score"] - expected.top(1)[0][1]) < 1e-5


def test_the_code_of_the_card_runs(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    assert output_of_the_card(Path("published/README.md").read_text()) in ("cat", "dog")


def test_the_metadata_of_the_card_has_task_licence_and_results(run, trained):
    run("publish", trained, "--out", "published", "--licence", "mit", "--quiet")
    card = metadata(Path("published/README.md").read_text())
    assert (card["library_name"], card["pipeline_tag"]) == ("mixlab", "image-classification")
    assert (card["license"], card["tags"]) == ("mit", ["mixlab", "mixer"])
    (result,) = card["model-index"][0]["results"]
    top1 = json.loads(Path("published/results.json").read_text())["top1"]
    assert result["dataset"] == {"name": "pets", "type": "folder", "split": "test"}
    assert result["metrics"][0]["value"] == round(top1["value"], 2)
    assert f"[{top1['low']:.1f}, {top1['high']:.1f}]" in result["metrics"][0]["name"]


def test_the_card_has_data_recipe_and_machine(run, trained):
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


def test_the_card_has_no_licence_unless_one_is_given(run, trained):
    run("publish", trained, "--out", "published", "--quiet")
    card = Path("published/README.md").read_text()
    assert "license" not in metadata(card)
    assert "No licence was given" in card


def test_no_local_path_is_published(run, trained, here):
    assert str(here) in (trained / "recipe.toml").read_text()
    run("publish", trained.resolve(), "--out", here / "published", "--quiet")
    for file in (here / "published").iterdir():
        content = file.read_bytes()
        assert str(here).encode() not in content, file.name
        assert str(Path.home()).encode() + b"/" not in content, file.name
        assert str(Path(mixlab.__file__).parent).encode() not in content, file.name


def test_no_path_of_weights_is_published(run, trained, here):
    settings = (f"distillation.teacher={trained.resolve()}", "speed=off", "steps=1", "batch=8")
    words = [word for setting in settings for word in ("--set", setting)]
    model = ("--model", trained.resolve(), "--data", "folder:pets")
    assert run("train", *model, *words, "--out", "tuned", "--quiet").status == 0
    assert run("publish", "tuned", "--out", "published", "--quiet").status == 0
    for file in Path("published").iterdir():
        assert str(here).encode() not in file.read_bytes(), file.name
    assert "# run, trained on folder:pets" in Path("published/README.md").read_text()


def test_data_gives_the_path_of_moved_images(run, trained, pets):
    pets.rename("elsewhere")
    assert run("publish", trained, "--out", "published", "--quiet").status == 2
    assert run("publish", trained, "--data", "folder:elsewhere", "--out", "published", "--quiet").status == 0
    card = Path("published/README.md").read_text()
    assert "images that the run was not trained on, 8 images" in card
    results = json.loads(Path("published/results.json").read_text())
    assert (results["data"]["images"], results["data"]["left_out"]) == (8, 32)


def test_a_dry_run_shows_files_and_card_and_writes_nothing(run, trained, here, no_network):
    before = sorted(here.rglob("*"))
    ended = run("publish", trained, "me/mine", "--dry-run", "--quiet")
    assert ended.status == 0
    assert all(re.search(rf"[\d,]+ bytes  {re.escape(file)}$", ended.out, re.MULTILINE) for file in FILES)
    assert 'Predictor("hub:me/mine")' in ended.out
    assert sorted(here.rglob("*")) == before


def test_the_uploaded_card_works_with_the_name_of_the_repository(run, trained, writable_hub):
    ended = run("publish", trained, "me/mine", "--out", "published", "--quiet")
    assert (ended.status, ended.out) == (0, f"{writable_hub.address}/me/mine\n")
    assert sorted(writable_hub.files) == FILES == names(Path("published"))
    assert output_of_the_card(writable_hub.files["README.md"].decode()) in ("cat", "dog")


def test_private_creates_a_private_repository(run, trained, writable_hub):
    assert run("publish", trained, "me/mine", "--private", "--quiet").status == 0
    assert writable_hub.private == {"me/mine"}


def test_a_refused_upload_keeps_the_folder(run, trained, writable_hub):
    writable_hub.refuse["/api/repos/create"] = (403, "no")
    ended = run("publish", trained, "me/mine", "--out", "published", "--quiet")
    assert ended.status == 2
    assert "This login has no write access to me/mine" in ended.err.splitlines()[-1]
    assert names(Path("published")) == FILES


def test_a_missing_login_is_reported_before_the_evaluation(run, trained, here, monkeypatch, no_network):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(here / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    before = sorted(here.rglob("*"))
    ended = run("publish", trained, "me/mine")
    assert (ended.status, ended.out) == (2, "")
    assert "run `hf auth login`" in ended.err
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine",), '"mine" is not a valid name on the hub'),
        (("--private",), "--private needs a repository on the hub"),
        (("--out", "pets"), "--out pets already exists, and existing files are never overwritten"),
    ],
)
def test_invalid_arguments_are_refused(run, trained, arguments, message):
    ended = run("publish", trained, *arguments)
    assert ended.status == 2
    assert message in ended.err


def test_a_folder_without_a_run_is_refused(run, here):
    (here / "empty").mkdir()
    assert "is empty" in run("publish", "empty").err
    assert list((here / "empty").iterdir()) == []
