"""What `mixlab train` refuses: invalid recipes, data, folders to resume, and environments.

Each error ends with status 2 and one sentence, and no file is changed.
"""

import json
import re
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mixlab.runs.folder import FORMAT, Run
from mixlab.training.distributed import init_distributed
from mixlab.training.planning import autotune

Train = Callable[..., str]


@pytest.fixture
def train_refused(refused, train, pets) -> Train:
    """Trains on pets/ with additional arguments, which must be refused; returns the error message."""

    def train_refused(*words: str | Path) -> str:
        return refused(*train, "--quiet", "--data", f"folder:{pets}", *words)

    return train_refused


def in_order(sentence: str, *pieces: str) -> bool:
    return re.search(".*".join(map(re.escape, pieces)), sentence) is not None


RECIPES = {
    "optimizer.wheight_decay=1": ['"optimizer.wheight_decay" is unknown', '"weight_decay"?'],
    "steps=0": ["steps=0", "greater than or equal to 1"],
    "seed=-1": ["seed=-1", "greater than or equal to 0"],
    "accumulate=0": ["accumulate=0", "greater than or equal to 1"],
    "workers=-1": ["workers=-1", "greater than or equal to 0"],
    "checkpoints.keep=0": ["checkpoints.keep=0", "greater than or equal to 1"],
    "validation=never": ["validation='never'", "'held_out' or 'merged'"],
    "trackers=mlflow": ["trackers='mlflow'", "must be"],
    "precision=fp16": ['precision="fp16" needs a GPU', '"bf16", "fp32" or "auto"'],
    "image_size=0": ["image_size=0 is out of range", "at least 1"],
    "preprocessing.crop_fraction=2": ["preprocessing.crop_fraction=2", "less than or equal to 1"],
    "preprocessing.mean=[0.5]": ["preprocessing.mean=[0.5]", "a list of another length"],
    "preprocessing.std=[0, 1, 1]": ["preprocessing.std=0", "greater than 0"],
    "preprocessing.value_range=[4095, 0]": ["value_range=(4095.0, 0.0) is invalid", "black < white"],
    "config.depth=0": ["depth=0 is out of range", "at least 1"],
    "config.depth=deep": ["depth='deep' is not valid", "a valid integer"],
    "config.patch_size=3": ["image_size=8 is not a multiple of patch_size=3", "nearest sizes are 6 and 9"],
    "config.classes=5": ["config.classes=5 does not fit", "has 2 classes", "remove it"],
    "optimizer.learning_rate=-1": ["optimizer.learning_rate=-1", "greater than 0"],
    "optimizer.learning_rate=nan": ["optimizer.learning_rate=nan", "a finite number"],
    "optimizer.name=adam": ["optimizer.name='adam'", "'adamw', 'sgd' or 'muon'"],
    "optimizer.momentum=0.5": ["optimizer.momentum=0.5 has no effect", '"sgd" or "muon"', "remove it"],
    "schedule.warmup=1.5": ["schedule.warmup=1.5", "less than 1"],
    "schedule={ warmup = 0.1, warmup_steps = 2 }": ["both warmup and warmup_steps", "remove one"],
    "schedule={ warmup_steps = 10 }": ["warmup_steps=10 is out of range", "must be less than steps=3"],
    "schedule={ warmup_epochs = 2 }": [
        "warm-up of 8 steps is not shorter than the training of 3 steps",
        "train longer",
    ],
    "schedule={ cooldown_epochs = 2 }": ["cooldown_epochs=2 has no effect", "set schedule.final_factor"],
    "schedule.knots=[[0, 0], [1, 1]]": ["schedule.knots", "has no effect", 'schedule.name="piecewise"'],
    "schedule={ name = 'piecewise', knots = [[0, 0], [0.5, 1]] }": [
        "is not a schedule",
        "increase from 0 to 1",
        "[[0, 0]",
    ],
    "augmentation.randaugment=2": ["randaugment=2 is ambiguous", "randaugment_tf", "different scales"],
    "augmentation={ randaugment_tf = { layers = 2, magnitude = 10 }, randaugment_timm = { magnitude = 9 } }": [
        "both randaugment_tf and randaugment_timm",
        "only one of",
    ],
    "augmentation={ random_resized_crop = {}, inception_crop = {} }": ["both random_resized_crop and", "only one of"],
    "augmentation={ mixup = { alpha = 0.2 }, mixup_or_cutmix = { mixup = 0.8, cutmix = 1.0 } }": [
        "both mixup and mixup_or_cutmix",
        "only one of",
    ],
    "augmentation.pad_crop=8": ["pad_crop=8", "(8, 8) pixels", "at most 7"],
    "augmentation.random_erasing.probability=1.5": ["random_erasing.probability=1.5", "between 0 and 1"],
    "loss.class_weights=[1, 2, 3]": ["3 weights for 2 classes", "cat, dog", '"balanced"'],
    "loss.class_weights=[1, 0]": ["loss.class_weights=[1, 0]", "'balanced' or greater than 0"],
    "loss.head_bias=1": ["loss.head_bias=1.0 has no effect", 'loss.name="sigmoid"'],
    "ema.decay=1": ["ema.decay=1", "less than 1"],
    "distillation.teacher=mixer_b16.goog_in2k": ['"mixer_b16.goog_in2k"', "--pretrained", '"mixer_b16.goog_in21k"?'],
    "distillation={ teacher = 'run', weight = 0 }": ["distillation.weight=0", "has no effect", "remove [distillation]"],
}


@pytest.mark.parametrize("setting", RECIPES)
def test_an_invalid_setting(train_refused, setting):
    assert in_order(train_refused("--set", setting), *RECIPES[setting])


def test_muon_for_a_model_without_matrices(train_refused):
    settings = ("config={}", "image_size=32", "optimizer.name=muon")
    words = (word for setting in settings for word in ("--set", setting))
    sentence = train_refused("--model", "convmixer_nano", *words)
    assert in_order(sentence, 'optimizer.name="muon"', "has only convolutions", 'set optimizer.name="adamw"')


class TestRecipeFiles:
    WHOLE = 'model = "mixer_nano"\nsteps = 3\n[optimizer]\nlearning_rate = 0.1\nweight_decay = 0.0\n'

    @pytest.mark.parametrize(
        ("content", "pieces"),
        [
            (b"model = mixer_nano\n", ["mine.toml is not valid TOML", "line 1", "Correct this line"]),
            (b"\xff\xfe", ["mine.toml is not valid TOML", "Correct this line"]),
            (b"", ["mine.toml", '"model" is missing', "add it"]),
            (WHOLE.replace("learning_rate = 0.1\n", "").encode(), ['"optimizer.learning_rate" is missing', "add it"]),
            (WHOLE.replace("steps = 3\n", "").encode(), ["exactly one of epochs and steps", "give one"]),
            (f"epochs = 2\n{WHOLE}".encode(), ["exactly one of epochs and steps", "give one"]),
            (f"{WHOLE}[linear_probe]\n".encode(), ["mine.toml", "is unknown"]),
        ],
        ids=["bare word", "no text", "empty", "no rate", "no length", "two lengths", "a head that steps"],
    )
    def test_an_invalid_file(self, refused, pets, content, pieces):
        Path("mine.toml").write_bytes(content)
        assert in_order(refused("train", "mine.toml", "--data", f"folder:{pets}"), *pieces)

    def test_a_folder_instead_of_a_file(self, refused, pets):
        assert in_order(refused("train", "pets"), 'no recipe "pets"', "neither a file nor a name", "`mixlab recipes`")

    def test_a_recipe_without_data(self, refused, here):
        assert in_order(refused("train", "mixer_b16_jft"), "mixer_b16_jft does not set data", "--data")


class TestImages:
    @pytest.mark.parametrize(
        ("data", "pieces"),
        [
            ("", ["small_images_mixer does not set data", "--data folder:PATH"]),
            ("hf:", ["is incomplete", "hf:NAME[:SPLIT]"]),
            ("folder:pets/cat/00.png", ["is a file", "give a folder with a folder of images for each class"]),
            ("csv:none.csv", ["csv:none.csv does not exist", "give the path of a table"]),
            ("csv:pets", ["csv:pets can't be read", "give the path of a table"]),
            ("tar:none.tar", ["none.tar does not exist", "give the path of a tar archive"]),
            ("tar:pets", ["pets is a folder", '"folder:pets"']),
            ("tar:pets/cat/00.png", ["00.png is not a tar archive", "download or pack it again"]),
            ("wds:none-{0..3}.tar", ["none-0.tar, which does not exist", "a pattern"]),
            ("parquet:none*.parquet", ["none*.parquet matches no file", "a pattern"]),
            ("cifar10:none", ["is not in none", "cifar10:PATH", "$MIXLAB_DATA"]),
            ("imagenet:none", ["imagenet:", "none does not exist", "give the folder that contains", "train/ and val/"]),
            ("tfds:nothing_here", ["tfds:nothing_here is neither a dataset", "for the names"]),
        ],
    )
    def test_invalid_data(self, train_refused, data, pieces):
        assert in_order(train_refused("--data", data), *pieces)

    @pytest.mark.parametrize(
        ("table", "pieces"),
        [
            ("", ["pets.csv has no column of the image", "the first row must name it path"]),
            ("path,label\n", ["pets.csv has a header but no rows", "add a row"]),
            ("path,kind\ncat/00.png,cat\n", ["no column of the class", "path, kind", 'Rename "kind" to "label"']),
            ("path,label\ncat/00.png,\n", ['no value in the column "label" in line 2', "add it"]),
            (
                "path,label\ncat/00.png,cat\ncat/00.png,cat\n",
                ["cat/00.png in line 2 and again in line 3", "remove one"],
            ),
            ("path,label\ncat/00.png,cat\ncat/77.png,dog\n", ["2 images, but 1 of them do not exist", "cat/77.png"]),
            ("path,label,split\ncat/00.png,cat,trian\n", ['split "trian" in line 2', "train, val or test"]),
            ("path,label\ncat/00.png,cat\ncat/01.png,cat\n", ["only one class", "two"]),
        ],
        ids=["empty", "no rows", "no label", "a gap", "twice", "not there", "a split", "one class"],
    )
    def test_invalid_tables(self, train_refused, pets, table, pieces):
        (pets / "pets.csv").write_text(table)
        assert in_order(train_refused("--data", "csv:pets/pets.csv"), *pieces)

    def test_an_archive_without_folders(self, train_refused, pets):
        with tarfile.open("pets.tar", "w") as archive:
            archive.add(pets / "cat" / "00.png", "00.png")
        assert in_order(
            train_refused("--data", "tar:pets.tar"), "1 image but no class folders", "pack a folder for each"
        )

    def test_a_class_with_too_few_images_to_split(self, train_refused, pets):
        for image in sorted((pets / "dog").iterdir())[1:]:
            image.unlink()
        assert "dog" in train_refused()


class TestResuming:
    @pytest.fixture
    def interrupted(self, trained) -> Path:
        """A run that was interrupted before its first checkpoint."""
        shutil.rmtree(trained / "checkpoints")
        (trained / "model.safetensors").unlink()
        (trained / "config.json").unlink()
        Run(trained).set_state("stopped")
        return trained

    @pytest.fixture
    def resume_refused(self, refused, interrupted) -> Train:
        return lambda *words: refused("train", "--resume", interrupted, "--quiet", *words)

    @pytest.mark.parametrize(
        ("words", "pieces"),
        [
            (["nowhere"], ["no run at nowhere", "give the folder that mixlab train printed"]),
            (["pets"], ["pets is not a run's folder", "no status.json"]),
            (["pets/cat/00.png"], ["no run at pets/cat/00.png", "give the folder"]),
            (["empty"], ["empty is empty", "not a run's folder"]),
            (["pets", "--out", "new"], ["--out new has no effect with --resume", "continues in pets", "remove it"]),
        ],
        ids=lambda value: " ".join(value) if "/" not in value[0] else "an image",
    )
    def test_a_path_that_is_not_a_run(self, refused, pets, words, pieces):
        Path("empty").mkdir()
        assert in_order(refused("train", "--resume", *words), *pieces)

    @pytest.mark.parametrize(
        ("words", "pieces"),
        [
            (["--set", "optimizer.learning_rate=0.5"], ["another recipe", "optimizer.learning_rate was", "is 0.5"]),
            (["--seed", "1"], ["another recipe", "seed was 0 and is 1", "train in another folder"]),
            (["--set", "ema.decay=0.9"], ["another recipe", "ema was not set and is {'decay': 0.9}"]),
            (["--model", "convmixer_nano", "--set", "config={}"], ["another recipe", "model was 'mixer_nano' and is"]),
        ],
        ids=" ".join,
    )
    def test_another_recipe(self, resume_refused, words, pieces):
        assert in_order(resume_refused(*words), *pieces)

    def test_out_with_the_run_of_another_recipe(self, train_refused, interrupted):
        sentence = train_refused("--out", interrupted, "--set", "batch=4")
        assert in_order(sentence, "run was started with another recipe", "batch was 8 and is 4", "in another folder")

    def test_fewer_images(self, resume_refused, pets):
        (pets / "dog" / "07.png").unlink()
        assert in_order(resume_refused(), "run was started on other images", "train in another folder")

    def test_a_changed_image(self, resume_refused, pets):
        Image.new("RGB", (8, 8)).save(pets / "dog" / "07.png")
        assert in_order(resume_refused(), "run was started on other images", "listing was", "Restore")

    def test_missing_images(self, resume_refused, pets):
        pets.rename("animals")
        assert in_order(resume_refused(), "pets does not exist", "give a folder")

    @pytest.mark.parametrize("name", ["recipe.toml", "plan.json", "status.json", "data.json"])
    def test_a_truncated_file(self, resume_refused, interrupted, name):
        content = (interrupted / name).read_bytes()
        (interrupted / name).write_bytes(content[:10])
        assert in_order(resume_refused(), f"run/{name} is damaged", "Copy the run again, or train again")

    @pytest.mark.parametrize("name", ["recipe.toml", "plan.json", "data.json"])
    def test_a_missing_file(self, resume_refused, interrupted, name):
        (interrupted / name).unlink()
        assert in_order(
            resume_refused(), f"run is incomplete: {name} can't be read", "Copy the whole folder again, or train again"
        )

    def test_a_run_of_a_newer_mixlab(self, resume_refused, interrupted):
        (interrupted / "status.json").write_text(json.dumps({"format": FORMAT + 1, "state": "stopped"}))
        assert in_order(resume_refused(), "run has format 2 of a newer mixlab", "upgrade mixlab")

    def test_a_folder_of_another_program(self, resume_refused, interrupted):
        (interrupted / "status.json").write_text("{}")
        assert in_order(resume_refused(), "status.json was not written by mixlab", "that mixlab train printed")

    def test_an_edited_recipe(self, resume_refused, interrupted):
        recipe = (interrupted / "recipe.toml").read_text()
        (interrupted / "recipe.toml").write_text(recipe.replace("learning_rate = 0.002", "learning_rate = 0.1"))
        assert in_order(resume_refused(), "run/recipe.toml is damaged", "it was truncated or edited")

    @pytest.mark.parametrize("last", ["[optimizer]", "[checkpoints]"])
    def test_a_recipe_truncated_before_a_section(self, resume_refused, interrupted, last):
        """Without [optimizer] keys are missing; without [checkpoints] every missing key has a default."""
        recipe = (interrupted / "recipe.toml").read_text()
        (interrupted / "recipe.toml").write_text(recipe.partition(last)[0])
        assert in_order(resume_refused(), "run/recipe.toml is damaged", " bytes, but the run wrote ", "truncated")

    def test_a_damaged_checkpoint(self, resume_refused, interrupted):
        (interrupted / "checkpoints").mkdir()
        (interrupted / "checkpoints" / "step-000000002.safetensors").write_bytes(b"broken")
        assert in_order(resume_refused(), ".safetensors is damaged", "no older checkpoint", "remove run/checkpoints")


class TestEnvironment:
    def test_another_process_that_cannot_be_reached(self, train_refused, monkeypatch):
        init_distributed(
            torch.device("cpu")
        )  # before WORLD_SIZE is set, else Accelerate would wait for the other process
        monkeypatch.setenv("WORLD_SIZE", "2")
        sentence = train_refused()
        assert in_order(sentence, "WORLD_SIZE=2", "can't reach the others", "torchrun", "unset WORLD_SIZE")

    def test_a_store_that_is_a_file(self, train_refused, monkeypatch):
        monkeypatch.setenv("MIXLAB_RUNS", "pets/cat/00.png")
        assert in_order(train_refused(), "pets/cat/00.png", "is a file")

    def test_a_missing_folder_of_datasets(self, train_refused, monkeypatch):
        monkeypatch.setenv("MIXLAB_DATA", "nowhere")
        assert in_order(train_refused("--data", "cifar10"), "cifar10 is not in nowhere", "$MIXLAB_DATA")

    @pytest.mark.parametrize(
        ("words", "missing", "pieces"),
        [
            (
                ["--set", "trackers=['tensorboard']"],
                "tensorboard",
                ['"tensorboard", which is not installed', "[track]"],
            ),
            (
                ["--data", "hf:owner/name"],
                "datasets",
                ["needs the optional dependency datasets", 'pip install "mixlab[data]"'],
            ),
            (
                ["--model", "timm:resnet18", "--set", "config={}"],
                "timm",
                ["timm, which is not installed", "pip install"],
            ),
        ],
        ids=["tensorboard", "datasets", "timm"],
    )
    def test_a_missing_package(self, train_refused, monkeypatch, words, missing, pieces):
        monkeypatch.setitem(sys.modules, missing, None)
        monkeypatch.setattr(autotune, "select_plan", None)  # the error must come before any timing
        assert in_order(train_refused(*words), *pieces)
