"""The estimate as text and as a page: it is complete, and estimated values are labelled as estimates."""

import io
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.report.table import Table, render
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job, resolve
from mixlab.training.loop import train
from mixlab.training.planning.estimate import TrainingEstimate, estimate
from mixlab.training.planning.estimate_page import (
    complete_recipe,
    figure,
    figure_writer,
    page,
    print_estimate,
    samples_per_class,
    tables,
)
from mixlab.training.recipes.parse import parse_training_recipe

WHOLE = Plan("cpu", ComputeMode(), micro_batch=64)


def estimated(job: Job, plan: Plan = WHOLE) -> TrainingEstimate:
    return replace(estimate(job, plan, seconds_per_step=600.0), image_seconds=(0.0, 0.0))


def metadata(found: TrainingEstimate) -> dict[str, str]:
    training, _, _ = tables(found)
    return {str(row["what"]): str(row["is"]) for row in training.rows}


class TestRecipe:
    @pytest.mark.parametrize(
        "settings",
        [
            [],
            ["batch=auto", "augmentation.flip=true", "preprocessing.resize=shorter_side"],
            ["model=convmixer_nano", "config={}"],
            ["model=davit_nano", "config={}", "image_size=[32, 64]"],
            ["model=timm:vit_tiny_patch16_224:depth=1", "config={ patch_size = 4 }"],
            ["schedule.name=piecewise", "schedule.knots=[[0, 0], [0.4, 1], [1, 0]]", "ema.decay=0.9"],
        ],
        ids=" ".join,
    )
    def test_the_printed_recipe_gives_the_same_training(self, make_job, shades, settings):
        job = make_job(*settings)
        parsed = resolve(
            parse_training_recipe(tomllib.loads(complete_recipe(estimated(job))), "printed"), shades, job.device
        )
        assert (parsed.architecture, parsed.preprocess) == (job.architecture, job.preprocess)
        completed = {"config", "preprocessing"}
        assert parsed.recipe.model_dump(exclude=completed) == job.recipe.model_dump(exclude=completed)

    def test_the_printed_recipe_of_a_training_from_pretrained_weights_gives_the_same_training(
        self, make_job, shades, tmp_path
    ):
        pretrained = train(make_job("steps=1", "schedule.final_factor=1"), WHOLE, tmp_path / "run", quiet=True).path
        job = make_job(f"model={pretrained}", "config={}")
        parsed = resolve(
            parse_training_recipe(tomllib.loads(complete_recipe(estimated(job))), "printed"), shades, job.device
        )
        assert (parsed.architecture, parsed.preprocess, parsed.recipe.config) == (job.architecture, job.preprocess, {})
        assert metadata(estimated(job))["Initial weights"] == f"those of {pretrained}"

    def test_the_printed_recipe_has_all_defaults(self, make_job):
        printed = tomllib.loads(complete_recipe(estimated(make_job())))
        assert printed["optimizer"]["betas"] == [0.9, 0.999]
        assert printed["config"]["epsilon"] == 1e-6
        assert printed["preprocessing"]["interpolation"] == "bicubic"

    def test_a_comment_lists_the_keys_without_a_value_and_none_with_one(self, make_job):
        _, unused = complete_recipe(estimated(make_job("ema.decay=0.9"))).split("# Not used:")
        for key in ("optimizer.clip_norm", "augmentation.mixup,", "distillation", "checkpoints.every_steps", "epochs"):
            assert key in unused
        for key in ("ema", "momentum", " steps", "preprocessing"):
            assert key not in unused


class TestImages:
    def counts(self, dataset: Dataset, make_job) -> Table:
        _, images, _ = tables(estimated(make_job(dataset=dataset)))
        return images

    def test_images_are_counted_by_class_and_split(self, make_job, shades):
        counts = self.counts(shades, make_job)
        assert counts.rows == [
            {"class": "dark", "train": 20, "validation": 6, "test": 6},
            {"class": "light", "train": 20, "validation": 6, "test": 6},
            {"class": "all 2", "train": 40, "validation": 12, "test": 12},
        ]

    def test_of_many_classes_those_with_the_most_and_the_fewest_images_are_shown(self, make_job):
        labels = np.repeat(np.arange(30), np.arange(30) + 2)
        split = Split([str(i) for i in range(len(labels))], labels, [np.zeros((8, 8, 3), np.uint8)] * len(labels))
        counts = self.counts(Dataset("many", tuple(map("class {}".format, range(30))), {"train": split}), make_job)
        assert [row["train"] for row in counts.rows] == [*range(31, 21, -1), *range(11, 1, -1), len(labels)]
        assert counts.notes == ["10 more classes with 12 to 21 training images are not shown."]


class TestSounds:
    @pytest.fixture
    def sounds(self, shades) -> Dataset:
        return replace(shades, noun="sound")

    def test_an_estimate_of_sounds_calls_them_sounds(self, make_job, sounds):
        job = make_job("model=convmixer_nano", "config={}", "image_size=32", dataset=sounds)
        found = replace(estimated(job, Plan("cpu", ComputeMode(), 2, processes=2)), image_seconds=(1000.0, 1.0))
        shown = "\n".join(render(table, "table") for table in tables(found))
        assert "image" not in shown.lower()
        facts = metadata(found)
        assert facts["Sound"].startswith("32 x 32 pixels of its spectrogram, ")
        assert facts["Processes"] == "2, each with a copy of the model and 4 sounds of each batch"
        assert facts["Micro-batch"] == "2 sounds; gradients are accumulated over 2 micro-batches"
        assert facts["Batch norm"] == "statistics of 2 sounds (one micro-batch) instead of the whole batch of 8"
        assert "waiting for sounds" in facts["Time"]
        _, counts, memory = tables(found)
        assert counts.title == "Sounds per class"
        assert "sounds" in [row["what"] for row in memory.rows]
        (not_included,) = memory.notes
        assert not_included.endswith("and sounds that stay in the machine's memory.")

    def test_of_many_classes_some_are_not_shown(self, sounds):
        labels = np.repeat(np.arange(30), np.arange(30) + 2)
        split = Split([str(i) for i in range(len(labels))], labels, [np.zeros((8, 8, 3), np.uint8)] * len(labels))
        many = replace(sounds, classes=tuple(map("class {}".format, range(30))), splits={"train": split})
        assert samples_per_class(many).notes == ["10 more classes with 12 to 21 training sounds are not shown."]


class TestPlan:
    def test_batch_norm_in_one_process_uses_the_whole_batch(self, make_job):
        facts = metadata(estimated(make_job("model=convmixer_nano", "config={}", "image_size=32")))
        assert facts["Processes"] == "1, with the whole batch"
        assert facts["Batch norm"] == "statistics of the whole batch"

    def test_batch_norm_in_several_processes_uses_the_share_of_one_process(self, make_job):
        job = make_job("model=convmixer_nano", "config={}", "image_size=32")
        facts = metadata(estimated(job, replace(WHOLE, processes=2)))
        assert facts["Processes"] == "2, each with a copy of the model and 4 images of each batch"
        assert facts["Batch norm"] == (
            "statistics of 4 images (the share of one process) instead of the whole batch of 8"
        )

    def test_batch_norm_with_accumulated_gradients_uses_one_micro_batch(self, make_job):
        facts = metadata(
            estimated(make_job("model=convmixer_nano", "config={}", "image_size=32"), Plan("cpu", ComputeMode(), 2))
        )
        assert facts["Micro-batch"] == "2 images; gradients are accumulated over 4 micro-batches"
        assert facts["Batch norm"] == "statistics of 2 images (one micro-batch) instead of the whole batch of 8"

    def test_a_model_without_batch_norm_has_no_row_for_it(self, make_job):
        assert "Batch norm" not in metadata(estimated(make_job()))

    def test_uneven_shares_and_shards_are_shown(self, make_job):
        facts = metadata(estimated(make_job("parallel=fsdp"), replace(WHOLE, processes=3)))
        assert facts["Processes"] == "3, each with a shard of every tensor and 2 or 3 images of each batch"

    def test_length_and_time_are_shown(self, make_job):
        facts = metadata(estimated(make_job("steps=12")))
        assert facts["Length"] == "12 steps of 8 images, 5 per epoch: 2.4 epochs"
        assert facts["Time"] == "about 2 h 15 min, estimated: 2 h for steps, 15 min for validation"

    @pytest.mark.parametrize(
        ("other_split", "saved"),
        [("validation", "those with the best validation accuracy"), ("test", "those of the last step")],
    )
    def test_the_saved_weights_are_described(self, make_job, shades, other_split, saved):
        dataset = replace(shades, splits={split: shades.splits[split] for split in ("train", other_split)})
        assert metadata(estimated(make_job(dataset=dataset)))["Saved weights"] == saved


def test_the_memory_adds_up_to_its_total_and_is_labelled_as_estimated(make_job):
    _, _, memory = tables(estimated(make_job()))
    *rows, total = [float(str(row["mebibytes"])) for row in memory.rows]
    assert sum(rows) == pytest.approx(total)
    assert "estimated" in memory.title


class TestPrinted:
    def test_the_output_has_recipe_tables_and_curve_in_this_order(self, make_job, capsys):
        found = estimated(make_job())
        print_estimate(found)
        printed = capsys.readouterr().out
        pieces = [complete_recipe(found), *(render(table, "table") for table in tables(found)), "Learning rate\n", "█"]
        places = [printed.index(piece) for piece in pieces]
        assert places == sorted(places)

    def test_the_curve_is_drawn_in_ascii_for_a_terminal_without_unicode(self, make_job, monkeypatch):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace", write_through=True)
        monkeypatch.setattr("sys.stdout", stream)
        print_estimate(estimated(make_job()))
        _, curve = stream.buffer.getvalue().decode("ascii").split("Learning rate\n")  # pyright: ignore
        assert "#" in curve
        assert "\\u" not in curve


class TestFiles:
    def test_the_page_has_the_time_the_tables_and_the_recipe(self, make_job, tmp_path):
        found = estimated(make_job())
        figure_writer(tmp_path / "plan.html")(found)
        html = (tmp_path / "plan.html").read_text(encoding="utf-8")
        assert html == page(found).html()
        assert "The training takes about 1 h 10 min on" in html
        assert html.count("<table>") == 3
        assert "token_hidden = 8" in html

    def test_a_png_file_has_the_learning_rate_curve(self, make_job, tmp_path):
        figure_writer(tmp_path / "rate.PNG")(estimated(make_job()))
        with Image.open(tmp_path / "rate.PNG") as image:
            assert image.format == "PNG"

    def test_the_curve_ends_with_the_final_learning_rate(self, make_job):
        (panel,) = figure(estimated(make_job("schedule.final_factor=0.5"))).panels
        assert panel.alt == "Learning rate (10⁻³) by epoch: 5.00 at the end."

    @pytest.mark.parametrize(("file", "suffix"), [("plan.pdf", '".pdf"'), ("plan", '""')])
    def test_other_suffixes_are_an_error_before_anything_is_estimated(self, file, suffix):
        with pytest.raises(UserError, match=rf"^--figure {file} has the suffix {suffix}: use \.html .*, or \.png for"):
            figure_writer(Path(file))
