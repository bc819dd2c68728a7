"""`--task segmentation` from training to predicted masks, and what such a model can't do."""

import json
import re
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.cli.main import main
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.weights.load import load
from shape_masks import write_plain

TRAIN = (
    *"train --task segmentation --data masks:shapes --model convmixer_nano --image-size 24x32 --batch 4".split(),  # noqa: SIM905
    *"--quiet --set speed=off --set config.channels=16 --set config.depth=2".split(),  # noqa: SIM905
)
FIRST = [*TRAIN, "--epochs", "3", "--set", "decoder.width=8"]


def legend_names(page: str, label: str) -> list[str]:
    return re.findall(r"</svg>(.*?)</li>", page.split(f'aria-label="{label}">')[1].split("</ul>")[0])


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images `shapes` and their training `run`."""
    folder = tmp_path_factory.mktemp("trained")
    write_plain(folder / "shapes", images=16)
    with chdir(folder), pytest.raises(SystemExit) as stopped:
        main([*FIRST, "--out", "run"])
    assert stopped.value.code == 0
    return folder


@pytest.fixture
def trained(here: Path, trained_once: Path) -> Path:
    shutil.copytree(trained_once, here, dirs_exist_ok=True)
    return Path("run")


def test_a_run_has_its_decoder_and_the_weights_with_the_best_miou(run, trained):
    history, config = read_history(Run(trained).journal), Run(trained).config
    assert history.validation is not None
    assert list(history.validation) == ["mIoU", "pixel accuracy", "images"]
    assert set(history.epochs[0]["train"]) == {"loss", "pixel accuracy"}
    assert (config["task"], config["family"], config["classes"]) == ("segmentation", "segmenter", ["ground", "square"])
    assert config["preprocess"]["resize"] == "stretch"
    assert Run(trained).recipe["decoder"] == {"name": "fpn", "width": 8}
    assert "Validation mIoU" in (trained / "report.html").read_text()
    inspected = run("inspect", trained)
    assert inspected.status == 0
    assert "segmenter" in inspected.out
    assert any(name.startswith("head.lateral.") for name in load(trained).state_dict())


def test_a_training_that_is_resumed_within_an_epoch_has_the_same_weights(run, trained):
    settings = ("--set", "checkpoints.every_steps=2", "--set", "checkpoints.keep=99")
    assert run(*FIRST, *settings, "--out", "stopped").status == 0
    stopped = Path("stopped")
    for file in (stopped / "checkpoints").glob("step-*.safetensors"):
        if int(file.stem.removeprefix("step-")) > 2:
            file.unlink()
    (stopped / "checkpoints" / "best.safetensors").unlink()
    (stopped / "model.safetensors").unlink()
    Run(stopped).set_state("stopped")
    assert run("train", "--resume", stopped, "--quiet").status == 0
    assert (stopped / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_a_dry_run_writes_an_estimate(run, trained):
    ended = run(*FIRST, "--dry-run", "--figure", "estimate.html")
    assert ended.status == 0, ended.err
    assert "convmixer_nano" in Path("estimate.html").read_text()


def test_evaluation_has_intervals_for_the_whole_and_each_class(run, trained):
    ended = run("evaluate", trained, "--format", "json", "--out", "evaluated", "--quiet")
    results = json.loads(ended.out)
    stored = json.loads(Path("evaluated/results.json").read_text())
    assert [figure["title"] for figure in stored.pop("figures")] == ["From the worst to the best image"]
    assert results == stored
    for key in ("miou", "pixel_accuracy"):
        assert 0 <= results[key]["value"] <= 100
    assert results["boundary_f1"] is None  # ignored pixels are between the classes
    assert [each["name"] for each in results["classes"]] == ["ground", "square"]
    page = Path("evaluated/report.html").read_text()
    assert "From the worst to the best image" in page
    assert "data:image/png" in page
    assert legend_names(page, "Colours of the classes") == ["ground", "square"]
    assert legend_names(page, "Colours of the errors") == ["correct pixels", "wrong pixels", "ignored pixels"]


def test_windows_of_the_size_of_the_model_cover_a_larger_image(run, trained):
    results = json.loads(run("evaluate", trained, "--windows", "0.5", "--format", "json", "--quiet").out)
    assert results["method"] == "Images were processed in windows of 24 x 32 pixels, which overlap by at least 50%."
    assert run("evaluate", trained, "--windows", "1").status == 2


def test_predicted_masks_have_the_size_of_their_images_and_come_with_overlays_and_shares(run, trained, here):
    image = Image.open(here / "shapes" / "images" / "00.png").resize((50, 31))
    Path("new").mkdir()
    image.save("new/a.png")
    image.save("new/b.jpg")
    Path("new/broken.png").write_text("no image")
    ended = run("predict", trained, "new", "--out", "predicted", "--quiet")
    assert ended.status == 1
    assert "broken.png" in ended.err
    for name in ("a", "b"):
        with Image.open(f"predicted/masks/{name}.png") as mask, Image.open(f"predicted/overlays/{name}.png") as overlay:
            assert (mask.mode, mask.size, overlay.mode, overlay.size) == ("P", (50, 31), "RGB", (50, 31))
            assert set(np.unique(np.array(mask))) <= {0, 1}
    assert Path("predicted/shares.csv").read_text().splitlines()[0] == "image,ground,square"
    Path("predicted/images").mkdir()
    for name in ("a", "b"):
        image.save(f"predicted/images/{name}.png")
    assert Path("predicted/classes.txt").read_text() == "ground\nsquare\n"


def test_predicted_masks_come_with_a_page_that_says_which_colour_is_which_class(run, trained):
    assert run("predict", trained, "shapes/images", "--out", "predicted", "--quiet").status == 0
    page = Path("predicted/report.html").read_text()
    assert legend_names(page, "Colours of the classes") == ["ground", "square"]
    assert page.count("with its classes in colours") == 12
    assert "The first 12 of 16 images." in page
    with Image.open("predicted/masks/00.png") as mask:
        palette = mask.getpalette()
    assert palette is not None
    assert 'fill="#{:02x}{:02x}{:02x}"'.format(*palette[3:6]) in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "run", "shapes/images"), "A segmentation predicts masks, which are files"),
        (("predict", "run", "shapes/images", "--top", "2", "--out", "x"), "--top has no effect with a segmentation"),
        (("evaluate", "run", "--tta", "flip"), "--tta has no effect with a segmentation"),
        (("explain", "run", "shapes/images/00.png"), "is a segmentation model, which can't be explained"),
        (("export", "run", "page", "--to", "web"), "is a segmentation model, which can't be exported"),
        (("export", "run", "model.onnx"), "is a segmentation model, which can't be exported"),
        (("compare", "--data", "masks:shapes"), 'data "masks:shapes" is unknown'),
        (("train", "--task", "segmentation", "--data", "folder:shapes"), "has one class per image, but the task needs"),
        ((*FIRST, "--set", "augmentation.mixup.alpha=0.2"), "a mask has one class per pixel"),
        (
            (*FIRST, "--set", "augmentation.randaugment_tf={layers=1, magnitude=5}"),
            "it does not move the pixels of masks",
        ),
        ((*FIRST, "--set", "preprocessing.resize=shorter_side"), "every pixel of an image needs an answer"),
        ((*FIRST, "--set", "decoder.name=linear"), "decoder.width=8 has no effect without"),
        (("train", "--data", "digits", "--model", "mixer_nano", "--set", "decoder.width=8"), "[decoder] and task="),
    ],
)
def test_what_is_not_possible_ends_in_a_sentence(run, trained, arguments, message):
    ended = run(*arguments)
    assert ended.status == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1 or "Traceback" not in ended.err


def test_another_training_starts_from_the_network_below_the_decoder(run, trained):
    settings = ("--set", "initialization.weights=run", "--set", "decoder.width=4", "--out", "second", "--epochs", "1")
    ended = run(*TRAIN, *settings, "--lr", "1e-9")
    assert ended.status == 0, ended.err
    first, second = load("run").state_dict(), load("second").state_dict()
    names = [name for name in first if name.startswith("backbone.") and "running" not in name and "num_" not in name]
    assert names
    for name in names:
        np.testing.assert_allclose(first[name].numpy(), second[name].numpy(), atol=1e-5)


def test_masks_of_equal_names_are_all_written(run, trained):
    for name in ("a/x.png", "b/x.png", "c/x-2.png"):
        Path(name).parent.mkdir()
        shutil.copy(next(Path("shapes").rglob("*.png")), name)
    assert run("predict", trained, "a/x.png", "b/x.png", "c/x-2.png", "--out", "predicted", "--quiet").status == 0
    assert len(list(Path("predicted/masks").iterdir())) == 3


def test_nothing_is_written_if_no_image_can_be_read(run, trained):
    Path("bad.png").write_bytes(b"\x89PNG")
    ended = run("predict", trained, "bad.png", "--out", "predicted", "--quiet")
    assert ended.status == 2 and "bad.png" in ended.err
    assert not Path("predicted").exists()


def test_weights_that_are_not_finite_predict_no_mask(run, trained):
    content = bytearray((trained / "model.safetensors").read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")
    content[first:] = b"\xff" * (len(content) - first)  # NaN
    (trained / "model.safetensors").write_bytes(content)
    ended = run("predict", trained, "shapes", "--out", "predicted", "--quiet")
    assert (ended.status, ended.out) == (2, "")
    assert "are NaN or infinite, so nothing can be predicted" in ended.err
    assert not Path("predicted").exists()


def test_verify_shows_the_means_over_places(run, trained):
    ended = run("inspect", trained, "--verify", "--format", "markdown")
    assert ended.status == 0, ended.err
    assert "largest logits of the reference image" in ended.out
