"""The study of permutations from end to end on tiny images, and what it refuses before it trains."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.correctness import read_correctness
from mixlab.studies import answers, permutation
from mixlab.studies.answers import predictions_of
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.permutation import DEFAULT_MODELS, Settings
from mixlab.studies.permutation_claims import BOTH, INPUTS, ORIGINAL, PATCHES, arm_name, claims
from mixlab.studies.result import study_page
from mixlab.training.job import Job
from mixlab.training.training import STARTUP_SECONDS

FIELDS = "image_size=8:patch_size=4:channels=8:token_hidden=8:channel_hidden=16:depth=1"
ATTENTION = f"variant:attention_mixer:{FIELDS}"
VIT = "timm:plain_vit:img_size=8:patch_size=4:embed_dim=8:depth=1:num_heads=2:positions=learned"
SETTINGS = Settings(
    models=("mixer_nano", VIT), seeds=2, equality_seeds=3, epochs=1, images=20, image_size=8, exact_steps=3
)


def silent(sentence: str) -> None:
    pass


def image_folder(folder: Path, classes: int, images: int, side: int = 8) -> str:
    random = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(images):
            pixels = random.integers(0, 256, size=(side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{number}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(image_folder(tmp_path_factory.mktemp("noise"), classes=2, images=20), quiet=True)


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset) -> TrainedArms:
    return plan_arms(permutation.arms(dataset, SETTINGS), dataset, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return permutation.conclude(trained, SETTINGS)


def test_every_model_is_trained_on_every_input_with_equal_steps(trained):
    assert list(trained.runs) == [arm_name(model, kind) for model in SETTINGS.models for kind in INPUTS]
    numbers = {name: len(runs) for name, runs in trained.runs.items()}
    assert [name for name, number in numbers.items() if number == 3] == [
        arm_name("mixer_nano", ORIGINAL),
        arm_name("mixer_nano", BOTH),
    ]
    assert set(numbers.values()) == {2, 3}
    assert len({training.steps for of_arm in trained.trainings.values() for training in of_arm}) == 1


def test_each_seed_draws_its_own_permutation(trained):
    transforms = [run.recipe["transform"] for run in trained.runs[arm_name("mixer_nano", BOTH)]]
    assert transforms == [{"name": "permute_patches_and_pixels", "seed": seed, "patch_size": 4} for seed in range(3)]
    assert "transform" not in trained.runs[arm_name("mixer_nano", ORIGINAL)][0].recipe


def test_the_page_has_figure_drops_and_symmetries(result):
    html = study_page(result).html()
    for text in ("Accuracy by input", "Relative drops", "Symmetries", "exact, in distribution", "2 to 3 seeds"):
        assert text in html
    tables = {table.title: table for table in result.tables()}
    kinds = {row["model"]: [row[kind] for kind in INPUTS[1:]] for row in tables["Symmetries"].rows}
    assert kinds["mixer_nano"] == kinds[VIT] == ["exact, in distribution"] * 3 + ["broken"]
    growth = tables["Differences of logits"]
    assert [float(row["tied"]) >= 1e-9 for row in growth.rows] == [False, False, False, True] * 2
    assert growth.notes[-1].endswith("rounding errors: below 1e-09 at every step of an exact symmetry.")


def test_without_steps_in_float64_there_is_no_table_of_symmetries(trained):
    titles = [table.title for table in permutation.conclude(trained, replace(SETTINGS, exact_steps=0)).tables()]
    assert "Symmetries" not in titles and "Relative drops" in titles


def test_the_model_without_retraining_is_evaluated_with_each_permutation(result):
    (untrained,) = [one for one in result.quantities if one.name == "mixer_nano, original, tested on both permuted"]
    assert len(untrained.values) == 3
    contrasts = [finding.claim.contrast for finding in result.findings()]
    assert (untrained.name, arm_name("mixer_nano", ORIGINAL)) in contrasts


def test_correct_answers_are_written_for_every_training(trained, result, tmp_path):
    trained.write_correctness(tmp_path / "correct")
    assert len(list((tmp_path / "correct").iterdir())) == 22
    read = read_correctness(tmp_path / "correct" / "mixer-nano--original-1.correct")
    assert 100 * read.correct.mean() == pytest.approx(result["mixer_nano, original"].scores[1])


def test_the_costs_count_what_is_not_in_the_store(laboratory, dataset, trained):
    more = replace(SETTINGS, seeds=3)
    started = len(laboratory.started)
    rows = plan_arms(permutation.arms(dataset, more), dataset, silent).costs().rows
    assert [row["missing"] for row in rows] == [0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 8]
    assert rows[-1]["trainings"] == 30
    assert len(laboratory.started) == started


def test_the_time_includes_an_evaluation_of_the_test_images_by_each_training(dataset):
    more = replace(SETTINGS, seeds=4)
    planned = plan_arms(permutation.arms(dataset, more), dataset, silent)
    rows: dict[Any, Mapping[str, Any]] = {row["arm"]: row for row in planned.costs().rows}
    row = rows[name := arm_name("mixer_nano", PATCHES)]
    job = planned.trainings[name][0].job
    assert isinstance(job, Job)
    of_steps = STARTUP_SECONDS + row["steps"] * 0.1  # seconds per step, as the laboratory measures
    of_evaluation = len(dataset.splits["test"]) / job.batch * 0.1 / 3  # a step costs three forward passes
    assert row["hours"] * 3600 == pytest.approx(row["missing"] * (of_steps + of_evaluation))


def test_a_repeated_study_does_not_evaluate_its_trainings_again(trained, result, dataset, monkeypatch):
    monkeypatch.delattr(answers, "evaluate")
    again = plan_arms(permutation.arms(dataset, SETTINGS), dataset, silent).train(log=silent, quiet=True)
    assert [again.arm(name) for name in again.runs] == list(result.arms)


def test_predictions_for_other_test_images_are_not_taken_from_the_store(trained, result, dataset):
    test = dataset.splits["test"]
    half = replace(dataset, splits={**dataset.splits, "test": test.subset(np.arange(len(test) // 2))})
    (run, *_) = trained.runs[arm_name("mixer_nano", ORIGINAL)]
    assert predictions_of("half", run, half).images == len(test) // 2


def test_the_stated_cost_is_that_of_the_defaults(tmp_path):
    dataset = open_dataset(image_folder(tmp_path, classes=2, images=20, side=32), quiet=True)
    arms = permutation.arms(dataset, Settings())
    trainings = sum(map(len, arms.values()))
    assert f"{trainings} trainings of 25 epochs on 10,000 images" == permutation.COST
    assert {recipe.epochs for recipes in arms.values() for recipe in recipes} == {25}  # pyright: ignore[reportAttributeAccessIssue]


def test_claims_are_about_the_first_model_of_each_family():
    assert len(claims(DEFAULT_MODELS)) == 8
    mixers = claims(("mixer_nano", "mixer_s16", "vit_nano"))
    assert [claim.contrast[0] for claim in mixers] == [
        "mixer_nano, both permuted",
        "mixer_nano, original, tested on both permuted",
    ]
    assert claims(("timm:resnet18",))[0].statement.startswith("timm:resnet18 is less accurate")
    (positions,) = claims(("vit_nano_no_positions", "vit_nano_learned", "vit_nano"))
    assert positions.contrast == ("drop of vit_nano, patches permuted", "drop of vit_nano_learned, patches permuted")
    assert claims((ATTENTION,)) == ()


def test_images_with_one_pixel_for_each_patch_are_refused():
    digits = open_dataset("digits", quiet=True)
    with pytest.raises(UserError, match=r"digits has images of 8 pixels: .* Give images of at least 16 pixels"):
        permutation.arms(digits, Settings())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": ("mixer_s16",), "image_size": 32}, "mixer_s16 has patches of 16 pixels, but the permuted patches"),
        ({"image_size": 10}, "--image-size 10 is not a multiple of --patch-size 4: give a multiple, such as 8."),
        (
            {"models": ("mixer_nano", "mixer_nano")},
            "--models mixer_nano,mixer_nano has a value twice: give each value once.",
        ),
        ({"models": ("timm:densenet121",)}, "timm:densenet121 can't process images of 8 pixels"),
        ({"models": ("mixer_nona",)}, 'Did you mean "mixer_nano"'),
    ],
)
def test_models_that_do_not_fit_are_refused_before_any_training(changes, sentence, laboratory, tmp_path):
    dataset = open_dataset(image_folder(tmp_path, classes=2, images=4, side=32), quiet=True)
    started = len(laboratory.started)
    with pytest.raises(UserError) as refusal:
        plan_arms(permutation.arms(dataset, replace(SETTINGS, **changes)), dataset, silent)
    assert sentence in str(refusal.value)
    assert len(laboratory.started) == started
