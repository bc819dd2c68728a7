"""User errors: status 2, one sentence with the problem, the place, the rule and a fix, and no files written.

The errors of each part of the package are tested with that part; here the whole command is tested.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from mixlab.data import image_file
from mixlab.runs.folder import FORMAT


def pieces_in_order(sentence: str, *pieces: str) -> bool:
    place = 0
    for piece in pieces:
        place = sentence.find(piece, place) + len(piece)
        if place < len(piece):
            return False
    return True


TRAIN = ("train", "--model", "mixer_nano", "--quiet")
COMPARE = ("compare", "--data", "digits", "--quiet")


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("comapre",), ["`mixlab comapre` is not a valid command", "'comapre'", "Did you mean 'compare'?"]),
        (("convert", "run", "out"), ["Missing option '--to'. Choose from: google, big_vision,", "--help"]),
        (("compare",), ["`mixlab compare`", "Missing option '--data'", "See `mixlab compare --help`."]),
        (("train", "--ouut", "x"), ["`mixlab train --ouut x`", "No such option: --ouut", "--out", "--help"]),
        (("train", "--seed", "x"), ["`mixlab train --seed x`", "'--seed'", "a valid integer", "--help"]),
        (("compare", "--data", "digits", "--epochs", "x"), ["--epochs x`", "'--epochs'", "a valid integer", "--help"]),
        (("models", "--format", "xml"), ["--format xml`", "'xml' is not one of 'table'", "--help"]),
        (("predict", "run"), ["`mixlab predict run`", "Missing argument 'images'", "`mixlab predict --help`"]),
        (("study", "cost", "--largest", "2"), ["'--largest'", "equal to 3", "See `mixlab study cost --help`."]),
        (("convert", "mixer_nano", "out", "--to", "timm", "--classes", "-1"), ["'--classes'", "equal to 0"]),
        (("--colour",), ["`mixlab --colour`", "No such option", "See `mixlab --help`."]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_invalid_commands(refused, words, pieces):
    assert pieces_in_order(refused(*words), *pieces)


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ((*TRAIN, "--data", "digits", "--model", "miyer_nano"), ['"miyer_nano"', "`mixlab models`", '"mixer_nano"?']),
        ((*COMPARE, "--models", "mixer_nano,davit_nan"), ['"davit_nan"', "`mixlab models`", '"davit_nano"?']),
        ((*COMPARE, "--models", "mixer_nano,timm:resnet81"), ['"resnet81"', '"resnet18"?']),
        (
            (*TRAIN, "--data", "digts"),
            ['data "digts"', "digits, cifar10[:PATH], ", "folder:PATH, audio:PATH", '"digits"?'],
        ),
        (("compare", "--data", "photos"), ['data "photos"', "folder:PATH"]),
        ((*TRAIN, "--data", "digits", "--set", "epoch=2"), ["digits_mixer", '"epoch" is unknown', '"epochs"?']),
        ((*TRAIN, "--data", "digits", "--set", "lr=0.1"), ['"lr" is unknown', '"optimizer.learning_rate"?']),
        (
            (*TRAIN, "--data", "digits", "--lr", "0.1", "--set", "optimizer.learning_rate=0.2"),
            ["--lr 0.1 and --set optimizer.learning_rate=0.2 set the same key: remove one"],
        ),
        ((*TRAIN, "--data", "digits", "--set", "seed=1", "--seed", "2"), ["--seed 2 and --set seed=1", "remove one"]),
        ((*TRAIN, "--data", "digits", "--seed", str(2**64)), [f"seed={2**64} is invalid", f"less than {2**63}"]),
        ((*TRAIN, "--data", "digits", "--task", "foo"), ["--task foo", "classification, multilabel, segmentation or"]),
        ((*COMPARE, "--models", "mixer_nano,"), ['"mixer_nano," has an empty name', "single commas"]),
        ((*TRAIN, "--data", "digits", "--epochs", "0"), ["epochs=0 is invalid", "greater than or equal to 1"]),
        ((*TRAIN, "--data", "digits", "--batch", "many"), ["batch='many' is invalid", "a valid integer or 'auto'"]),
        ((*TRAIN, "--data", "digits", "--device", "tpu"), ['device "tpu" is not available', "has cpu", "one of these"]),
        (("train", "digits_mixr"), ['no recipe "digits_mixr"', '"digits_mixer"?']),
        (("train", "--model", "mixer_nano"), ["needs data: give --data", "or a RECIPE that sets data"]),
        ((*TRAIN, "--data", "digits", "--set", "config.depht=2"), ['"depht"', "MixerConfig", '"depth"?']),
        ((*TRAIN, "--data", "digits", "--set", "image_size=30"), ["30", "patch_size=4", "sizes are 28 and 32"]),
        ((*COMPARE, "--image-size", "30"), ["image_size=30", "patch_size=4", "sizes are 28 and 32"]),
        ((*COMPARE, "--image-size", "large"), ["--image-size large", "64x48"]),
        ((*COMPARE, "--image-size", "0"), ["image_size=0", "at least 1"]),
        ((*COMPARE, "--seeds", "0"), ["--seeds 0", "at least 1"]),
        ((*COMPARE, "--epochs", "0"), ["--epochs 0", "at least 1"]),
        ((*COMPARE, "--minutes", "-1"), ["--minutes -1", "positive and finite"]),
        ((*COMPARE, "--minutes", "5", "--epochs", "5"), ["--minutes", "--epochs", "give only one"]),
        ((*COMPARE, "--models", "mixer_nano"), ["--models mixer_nano", "two or more"]),
        ((*COMPARE, "--match", "macs", "--models", "mixer_nano,vit_nano"), ["vit_nano", "fixed size", "put it first"]),
        (("models", "--paper", "davit"), ["`--paper`", '"davit"']),
    ],
    ids=lambda value: " ".join(value[-4:]) if isinstance(value, tuple) else "",
)
def test_invalid_values(refused, words, pieces):
    assert pieces_in_order(refused(*words), *pieces)


class TestFolders:
    def test_a_missing_folder(self, refused):
        sentence = refused(*TRAIN, "--data", "folder:pets")
        assert pieces_in_order(sentence, "folder:pets does not exist", "give a folder")

    def test_an_empty_folder(self, refused, here):
        (here / "pets").mkdir()
        assert pieces_in_order(refused(*TRAIN, "--data", "folder:pets"), "folder:pets has no images", "for each class")

    def test_a_folder_with_one_class(self, refused, pets):
        shutil.rmtree(pets / "dog")
        assert pieces_in_order(refused(*TRAIN, "--data", "folder:pets"), 'only one class, "cat"', "at least two")

    def test_a_test_split_with_a_class_that_train_lacks(self, refused, pets):
        shutil.copytree(pets, "parts/train")
        shutil.copytree(pets / "dog", "parts/test/dgo")
        sentence = refused("compare", "--data", "folder:parts")
        assert pieces_in_order(sentence, 'class "dgo" in test but not in train', "add", 'Did you mean "dog"?')

    def test_evaluation_on_a_class_that_is_not_in_the_run(self, refused, trained, pets):
        shutil.copytree(pets, "others")
        Path("others/dog").rename("others/wolf")
        sentence = refused("evaluate", trained, "--data", "folder:others")
        assert pieces_in_order(sentence, "folder:", "others", "was not trained on: wolf", "Rename or remove")

    def test_a_folder_without_images_to_predict(self, refused, trained, here):
        (here / "photos").mkdir()
        assert pieces_in_order(
            refused("predict", trained, "photos"), "photos contains no images", "give files, or a folder"
        )


class TestRuns:
    @pytest.fixture(params=["evaluate", "predict"])
    def use_run(self, request, refused, pets) -> Callable[[Path], str]:
        """Evaluates a run or predicts with it, which must be refused; returns the error message."""
        images = [] if request.param == "evaluate" else [pets]
        return lambda run: refused(request.param, run, *images)

    def test_a_missing_run(self, use_run):
        assert pieces_in_order(use_run(Path("nowhere")), "nowhere", "give the folder that mixlab train printed")

    def test_an_empty_folder_instead_of_a_run(self, use_run, here):
        (here / "nothing").mkdir()
        assert re.search(
            "nothing (is empty, so it is not a run's folder: give|contains no weights file: give)",
            use_run(Path("nothing")),
        )

    def test_a_folder_that_is_not_a_run(self, use_run, pets):
        sentence = use_run(pets)
        assert re.search("pets (is not a run's folder|contains no weights file)", sentence)
        assert "ive the folder that mixlab train printed" in sentence

    def test_a_run_in_a_newer_format(self, use_run, trained):
        (trained / "status.json").write_text(json.dumps({"format": FORMAT + 1, "state": "done", "new": []}))
        assert pieces_in_order(
            use_run(trained), "run has format 2 of a newer mixlab", "reads formats up to 1", "upgrade mixlab"
        )

    def test_a_stopped_run(self, use_run, trained):
        status = json.loads((trained / "status.json").read_text())
        (trained / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
        assert pieces_in_order(use_run(trained), "run is not finished", "stopped")

    def test_a_run_with_a_missing_or_truncated_file(self, use_run, trained):
        names = sorted(file.name for file in trained.iterdir() if file.is_file())
        assert names == [
            *("config.json", "data.json", "environment.json", "journal.jsonl", "model.safetensors"),
            *("plan.json", "recipe.toml", "report.html", "split.json", "status.json", "training_images.safetensors"),
        ]
        names.remove("training_images.safetensors")  # runs of earlier versions have none
        for file in map(trained.joinpath, names):
            content = file.read_bytes()
            for left in (content[: len(content) // 2], b""):
                file.write_bytes(left)
                assert file.name in use_run(trained)
            file.unlink()
            assert file.name in use_run(trained)
            file.write_bytes(content)


@contextmanager
def computing_fails() -> Iterator[None]:
    """Within the context, no model is executed."""

    def fails(module: nn.Module, given: object) -> None:
        raise AssertionError(f"{type(module).__name__} was executed")

    handle = register_module_forward_pre_hook(fails)
    try:
        yield
    finally:
        handle.remove()


class TestOutputs:
    @pytest.mark.parametrize("verb", ["train", "compare", "evaluate"])
    def test_a_folder_with_other_files(self, refused, pets, trained, verb, train):
        Path("thesis").mkdir()
        Path("thesis/thesis.tex").write_text("mine")
        words = {
            "train": (*train, "--quiet", "--data", f"folder:{pets}"),
            "compare": ("compare", "--data", f"folder:{pets}", "--quiet"),
            "evaluate": ("evaluate", trained, "--quiet"),
        }
        reason = "already exists and is not a run's folder" if verb == "train" else "already exists"
        assert pieces_in_order(refused(*words[verb], "--out", "thesis"), f"thesis {reason}", "ive a")

    def test_a_finished_run(self, refused, trained, train):
        sentence = refused(*train, "--quiet", "--data", "folder:pets", "--out", trained)
        assert pieces_in_order(sentence, "run contains a finished run", "never overwritten", "give another path")

    @pytest.mark.parametrize(
        "words",
        [
            "train --model mixer_nano --data folder:pets --quiet --out file/new",
            "compare --data folder:pets --quiet --out file/new",
            "study cost --out file/new",
            "study permutation --data folder:pets --out file/new",
            "benchmark mixer_nano --out file/new",
            "data preview folder:pets --recipe small_images_mixer --out file/new",
            "evaluate run --quiet --out file/new",
            "evaluate run --quiet --save file/new.correct",
            "predict run pets --quiet --out file/new.csv",
            "explain run pets --quiet --out file/new",
            "export run file/new",
            "convert run file/new --to timm",
            "publish run --out file/new",
            "runs --average run run --quiet --out file/new",
        ],
    )
    def test_a_path_through_a_file_is_refused_before_anything_is_computed(self, refused, pets, trained, words):
        Path("file").write_text("")
        with computing_fails():
            sentence = refused(*words.split())
        assert pieces_in_order(sentence, "file/new", "could not be written", "is a file", "choose another path")


LONG = "x" * 300
"""A name that no file system accepts."""


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the folder private/ can't be accessed."""
    stat = os.stat

    def guarded(file, *arguments, **settings):
        if str(file).startswith("private/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return stat(file, *arguments, **settings)

    monkeypatch.setattr(os, "stat", guarded)


@pytest.mark.parametrize("path", ["private/x", LONG], ids=["no permission", "too long"])
@pytest.mark.parametrize(
    "words",
    [
        *(f"data check {source}:PATH" for source in ("folder", "csv", "tar", "wds", "parquet", "hf", "imagenet")),
        "data preview --data folder:PATH",
        "train PATH",
        "train --resume PATH",
        "train --data digits --model PATH",
        "train --data folder:PATH --model mixer_nano",
        "train --data digits --model mixer_nano --out PATH",
        "train --data digits --model mixer_nano --set initialization.weights=PATH",
        "compare --data folder:PATH",
        "compare --data digits --models mixer_nano --out PATH",
        "predict PATH pets/cat/00.png",
        "evaluate PATH",
        "runs PATH",
        "inspect PATH",
        "convert PATH out --to mixlab",
        "publish PATH",
    ],
)
@pytest.mark.usefixtures("pets", "private")
def test_paths_that_the_operating_system_refuses(refused, words, path):
    assert path in refused(*words.replace("PATH", path).split())


@pytest.mark.parametrize("path", ["private/x", LONG], ids=["no permission", "too long"])
def test_images_to_predict_that_the_operating_system_refuses(refused, trained, private, path):
    assert path in refused("predict", str(trained), path)


class TestImages:
    def test_a_truncated_image_ends_a_training(self, refused, pets, train):
        image = pets / "dog" / "07.png"
        image.write_bytes(image.read_bytes()[:60])
        assert refused(*train, "--quiet", "--data", f"folder:{pets}").startswith(
            f"{pets}/dog/07.png can't be read: it is damaged"
        )

    def test_a_decompression_bomb_ends_a_training(self, refused, pets, monkeypatch, train):
        monkeypatch.setattr(image_file, "MAX_PIXELS", 63)
        sentence = refused(*train, "--quiet", "--data", f"folder:{pets}")
        assert pieces_in_order(sentence, f"{pets}/", ".png can't be read", "more than 63 pixels")

    def test_a_truncated_image_as_the_only_one_to_predict(self, refused, trained, pets):
        image = pets / "dog" / "07.png"
        image.write_bytes(image.read_bytes()[:60])
        assert refused("predict", trained, image).startswith(f"{image} can't be read: it is damaged or truncated")

    def test_more_unreadable_images_than_max_unreadable(self, refused, pets, train):
        for name in ("cat/00.png", "cat/01.png", "dog/02.png"):
            (pets / name).write_bytes(b"no image")
        sentence = refused(*train, "--quiet", "--data", f"folder:{pets}", "--set", "max_unreadable=1")
        assert pieces_in_order(
            sentence, "max_unreadable=1", "the first is", "Repair or remove them, or raise max_unreadable"
        )

    def test_skipped_images_are_printed_and_listed_in_the_journal(self, run, pets, train):
        for image in pets.rglob("*[05].png"):  # a fifth, in every split
            image.write_bytes(b"no image")
        ended = run(*train, "--data", f"folder:{pets}", "--set", "max_unreadable=9", "--out", "run")
        assert ended.status == 0
        assignment = json.loads(Path("run/split.json").read_text())
        broken = [
            name for split in ("train", "validation") for name in assignment[split] if name.endswith(("0.png", "5.png"))
        ]
        assert len(broken) > 2
        for name in broken:
            assert f"{name} was skipped: it is not an image in a supported format.\n" in ended.err
        (end,) = [json.loads(line) for line in Path("run/journal.jsonl").read_text().splitlines() if '"end"' in line]
        assert sorted(end["unreadable"]) == sorted(broken)

    def test_max_unreadable_of_the_training_applies_to_its_evaluation(self, run, pets, train):
        words = (*train, "--data", f"folder:{pets}", "--quiet", "--out", "run")
        assert run(*words, "--set", "max_unreadable=1").status == 0
        held_out = json.loads(Path("run/split.json").read_text())["test"]
        (pets / held_out[3]).write_bytes(b"")
        ended = run("evaluate", "run", "--out", "judged")
        assert ended.status == 0
        assert f"{held_out[3]} was left out: it is empty." in ended.err
        assert "the test split that the run held out, 7 images" in ended.out
        (pets / held_out[4]).write_bytes(b"")
        ended = run("evaluate", "run")
        assert (ended.status, ended.out) == (2, "")
        assert "2 images can't be read, but only max_unreadable=1" in ended.err


class TestTrainings:
    def test_a_diverging_training(self, run, pets, train):
        words = (*train, "--quiet", "--data", f"folder:{pets}", "--set", "steps=40", "--set", "optimizer.name=sgd")
        ended = run(*words, "--set", "optimizer.learning_rate=1e30", "--out", "run")
        assert ended.status == 2
        assert pieces_in_order(ended.err, "The loss is ", " at step ", "diverged", "Lower optimizer.learning_rate")
        assert "run/postmortem.json" in ended.err and Path("run/postmortem.json").exists()
