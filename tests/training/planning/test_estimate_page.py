"""A forecast in words: nothing is left out, and estimates say that they are."""

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
from mixlab.training.planning.estimate_page import complete_recipe, figure, figure_writer, page, print_estimate, tables
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
    def test_what_is_printed_is_the_same_training(self, make_job, shades, settings):
        job = make_job(*settings)
        read = resolve(
            parse_training_recipe(tomllib.loads(complete_recipe(estimated(job))), "printed"), shades, job.device
        )
        assert (read.architecture, read.preprocess) == (job.architecture, job.preprocess)
        kept = {"config", "preprocessing"}
        assert read.recipe.model_dump(exclude=kept) == job.recipe.model_dump(exclude=kept)

    def test_one_that_begins_with_weights_is_the_same_training_as_well(self, make_job, shades, tmp_path):
        begun = train(make_job("steps=1", "schedule.final_factor=1"), WHOLE, tmp_path / "run", quiet=True).path
        job = make_job(f"model={begun}", "config={}")
        read = resolve(
            parse_training_recipe(tomllib.loads(complete_recipe(estimated(job))), "printed"), shades, job.device
        )
        assert (read.architecture, read.preprocess, read.recipe.config) == (job.architecture, job.preprocess, {})
        assert metadata(estimated(job))["Initial weights"] == f"those of {begun}"

    def test_every_default_is_there(self, make_job):
        printed = tomllib.loads(complete_recipe(estimated(make_job())))
        assert printed["optimizer"]["betas"] == [0.9, 0.999]
        assert printed["config"]["epsilon"] == 1e-6
        assert printed["preprocessing"]["interpolation"] == "bicubic"

    def test_what_a_recipe_does_not_do_is_named_and_what_it_does_is_not(self, make_job):
        _, unused = complete_recipe(estimated(make_job("ema.decay=0.9"))).split("# Not used:")
        for key in ("optimizer.clip_norm", "augmentation.mixup,", "distillation", "checkpoints.every_steps", "epochs"):
            assert key in unused
        for key in ("ema", "momentum", " steps", "preprocessing"):
            assert key not in unused


class TestImages:
    def counted(self, dataset: Dataset, make_job) -> Table:
        _, images, _ = tables(estimated(make_job(dataset=dataset)))
        return images

    def test_each_class_is_counted_in_each_part(self, make_job, shades):
        counted = self.counted(shades, make_job)
        assert counted.rows == [
            {"class": "dark", "train": 20, "validation": 6, "test": 6},
            {"class": "light", "train": 20, "validation": 6, "test": 6},
            {"class": "all 2", "train": 40, "validation": 12, "test": 12},
        ]

    def test_of_many_classes_the_largest_and_the_smallest_are_shown(self, make_job):
        labels = np.repeat(np.arange(30), np.arange(30) + 2)
        split = Split([str(i) for i in range(len(labels))], labels, [np.zeros((8, 8, 3), np.uint8)] * len(labels))
        counted = self.counted(Dataset("many", tuple(map("class {}".format, range(30))), {"train": split}), make_job)
        assert [row["train"] for row in counted.rows] == [*range(31, 21, -1), *range(11, 1, -1), len(labels)]
        assert counted.notes == ["10 more classes with 12 to 21 training images are not shown."]


class TestPlan:
    def test_alone_a_batch_norm_sees_the_whole_batch(self, make_job):
        said = metadata(estimated(make_job("model=convmixer_nano", "config={}", "image_size=32")))
        assert said["Processes"] == "1, with the whole batch"
        assert said["Batch norm"] == "statistics of the whole batch"

    def test_in_several_processes_it_sees_the_share_of_each(self, make_job):
        job = make_job("model=convmixer_nano", "config={}", "image_size=32")
        said = metadata(estimated(job, replace(WHOLE, processes=2)))
        assert said["Processes"] == "2, each with a copy of the model and 4 images of each batch"
        assert said["Batch norm"] == "statistics of 4 images (the share of one process) instead of the whole batch of 8"

    def test_where_gradients_add_up_it_sees_a_part(self, make_job):
        said = metadata(
            estimated(make_job("model=convmixer_nano", "config={}", "image_size=32"), Plan("cpu", ComputeMode(), 2))
        )
        assert said["Micro-batch"] == "2 images; gradients are accumulated over 4 micro-batches"
        assert said["Batch norm"] == "statistics of 2 images (one micro-batch) instead of the whole batch of 8"

    def test_a_model_without_one_says_nothing_of_it(self, make_job):
        assert "Batch norm" not in metadata(estimated(make_job()))

    def test_uneven_shares_and_shards_are_told(self, make_job):
        said = metadata(estimated(make_job("parallel=fsdp"), replace(WHOLE, processes=3)))
        assert said["Processes"] == "3, each with a shard of every tensor and 2 or 3 images of each batch"

    def test_the_length_and_the_time_are_told(self, make_job):
        said = metadata(estimated(make_job("steps=12")))
        assert said["Length"] == "12 steps of 8 images, 5 per epoch: 2.4 epochs"
        assert said["Time"] == "about 2 h 15 min, estimated: 2 h for steps, 15 min for validation"

    @pytest.mark.parametrize(
        ("splits", "keeps"), [("validation", "those with the best"), ("test", "those of the last")]
    )
    def test_what_is_kept_is_told(self, make_job, shades, splits, keeps):
        dataset = replace(shades, splits={split: shades.splits[split] for split in ("train", splits)})
        assert metadata(estimated(make_job(dataset=dataset)))["Saved weights"].startswith(keeps)


def test_the_memory_adds_up_and_is_called_an_estimate(make_job):
    _, _, memory = tables(estimated(make_job()))
    *rows, whole = [float(str(row["mebibytes"])) for row in memory.rows]
    assert sum(rows) == pytest.approx(whole)
    assert "estimated" in memory.title


class TestPrinted:
    def test_recipe_tables_and_curve_come_one_after_the_other(self, make_job, capsys):
        found = estimated(make_job())
        print_estimate(found)
        printed = capsys.readouterr().out
        pieces = [complete_recipe(found), *(render(table, "table") for table in tables(found)), "Learning rate\n", "█"]
        places = [printed.index(piece) for piece in pieces]
        assert places == sorted(places)

    def test_a_terminal_without_blocks_sees_the_curve_too(self, make_job, monkeypatch):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace", write_through=True)
        monkeypatch.setattr("sys.stdout", stream)
        print_estimate(estimated(make_job()))
        _, curve = stream.buffer.getvalue().decode("ascii").split("Learning rate\n")  # pyright: ignore
        assert "#" in curve
        assert "\\u" not in curve


class TestKept:
    def test_a_page_says_first_how_long_it_takes_and_holds_everything(self, make_job, tmp_path):
        found = estimated(make_job())
        figure_writer(tmp_path / "plan.html")(found)
        html = (tmp_path / "plan.html").read_text(encoding="utf-8")
        assert html == page(found).html()
        assert "The training takes about 1 h 10 min on" in html
        assert html.count("<table>") == 3
        assert "token_hidden = 8" in html

    def test_a_image_is_the_curve_of_rates(self, make_job, tmp_path):
        figure_writer(tmp_path / "rate.PNG")(estimated(make_job()))
        with Image.open(tmp_path / "rate.PNG") as image:
            assert image.format == "PNG"

    def test_its_end_is_the_training_s(self, make_job):
        (panel,) = figure(estimated(make_job("schedule.final_factor=0.5"))).panels
        assert panel.alt == "Learning rate (10⁻³) by epoch: 5.00 at the end."

    @pytest.mark.parametrize(("file", "end"), [("plan.pdf", '".pdf"'), ("plan", '""')])
    def test_another_kind_of_file_is_refused_before_anything_is_estimated(self, file, end):
        with pytest.raises(UserError, match=rf"^--figure {file} has the suffix {end}: use \.html .* or \.png for"):
            figure_writer(Path(file))
