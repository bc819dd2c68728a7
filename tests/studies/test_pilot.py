"""The pilot of a study: what its trainings leave out, what it is evaluated on, and the repetitions it finds."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import training_folds
from mixlab.data.mask_sources import MASK_KINDS
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.stats.estimate import Estimate
from mixlab.stats.sample_size import repeats_needed
from mixlab.studies import data_scale, patches, position, transfer
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.left_out import left_out_as_test
from mixlab.studies.pilot import FOLDS, on_left_out_images, pilot_arms, repetitions_table
from mixlab.studies.result import Claim, Finding
from mixlab.training.recipes.schema import Subset
from shape_masks import write_camvid
from studies.test_position import DIGITS, silent

PATCHES = patches.Settings(
    rates=("0.02",), seeds=2, epochs=1, share=50, batch=8, image_size=8, patch_size=4, parameters=80_000, macs=320_000,
    tolerance=5.0, widths=("32",),
)  # fmt: skip
STUDIES = [
    pytest.param(position, DIGITS, id="position"),
    pytest.param(
        data_scale,
        data_scale.Settings(
            models=("mixer_nano", "resnet_nano"), sizes=("small",), regularisation=("off",), shares=("30", "100"),
            seeds=2, epochs=1, images=40, batch=4, image_size=8, shots=3,
        ),
        id="data-scale",
    ),
    pytest.param(
        transfer,
        transfer.Settings(model="mixer_nano", seeds=2, images=16, epochs=1, shots=4, tuning_epochs=1),
        id="transfer",
    ),
    pytest.param(patches, PATCHES, id="patches", marks=pytest.mark.long),
]  # fmt: skip


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """In memory: noisy images of 8x8 pixels in four colours, which are not easy to tell apart."""
    random = np.random.default_rng(0)
    means = np.array([[160, 100, 100], [100, 160, 100], [100, 100, 160], [120, 120, 120]])

    def split(name: str, n_images: int) -> Split:
        labels = np.arange(n_images) % 4
        images = means[labels][:, None, None] + random.integers(-90, 90, size=(n_images, 8, 8, 3))
        return Split([f"{name}/{number}" for number in range(n_images)], labels, list(images.astype(np.uint8)))

    sizes = {"train": 100, "validation": 20, "test": 16}
    return Dataset("colours", ("red", "green", "blue", "grey"), {name: split(name, n) for name, n in sizes.items()})


def piloted(laboratory, study: Any, settings: Any, dataset: Dataset) -> TrainedArms:
    laboratory.datasets[dataset.name] = dataset
    planned = plan_arms(pilot_arms(study.arms(dataset, settings), dataset), dataset, silent, speed="off")
    return on_left_out_images(planned.train(log=silent, quiet=True))


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset) -> TrainedArms:
    return piloted(laboratory, position, DIGITS, dataset)


def finding(expected: Literal["higher", "lower", "equal"], spread: float, *, value: float = 0.0) -> Finding:
    margin = 1.0 if expected == "equal" else 0.0
    claim = Claim(statement="A claim.", contrast=("a", "b"), expected=expected, margin=margin, source="", regime="")
    return Finding(claim, Estimate(value, value, value, 4, "points", spread), p_holm=1.0)


@pytest.mark.parametrize(("study", "settings"), STUDIES)
def test_no_training_of_a_pilot_sees_the_images_it_is_evaluated_on(laboratory, study: Any, settings: Any, dataset):
    trained = piloted(laboratory, study, settings, dataset)
    available = set(dataset.merge_validation().splits["train"].names)
    for name, of_arm in trained.trainings.items():
        for repetition, training in enumerate(of_arm):
            evaluated = set(trained.data(name, repetition).splits["test"].names)
            assert evaluated and evaluated <= available
            seen = [images.names for split, images in training.job.dataset.splits.items() if split != "test"]
            assert all(evaluated.isdisjoint(names) for names in seen)


def test_the_images_to_draw_shots_from_are_others_than_those_it_is_evaluated_on(dataset, trained):
    train, test = (trained.dataset.splits[name].names for name in ("train", "test"))
    assert sorted([*train, *test]) == sorted(dataset.merge_validation().splits["train"].names)


@pytest.mark.parametrize(("study", "settings"), STUDIES)
def test_a_pilot_does_not_depend_on_the_test_images(laboratory, study: Any, settings: Any, dataset):
    random, test = np.random.default_rng(1), dataset.splits["test"]
    noise = list(random.integers(0, 256, size=(len(test), 8, 8, 3)).astype(np.uint8))
    other = replace(test, images=noise, labels=random.permutation(test.labels))
    results = [
        study.conclude(piloted(laboratory, study, settings, one), settings)
        for one in (dataset, replace(dataset, splits={**dataset.splits, "test": other}))
    ]
    first, second = (repetitions_table(result.findings()).rows for result in results)
    assert first == second and any(row["spread"] for row in first)
    first, second = ([arm.scores for arm in result.arms] for result in results)
    assert first == second


def test_a_pilot_is_evaluated_on_a_fifth_of_the_training_images_and_no_test_image(dataset, trained):
    merged = dataset.merge_validation().splits["train"]
    evaluated = trained.dataset.splits["test"].names
    assert set(evaluated) <= set(merged.names)
    assert len(evaluated) == pytest.approx(len(merged) / FOLDS, abs=len(dataset.classes))
    assert set(evaluated).isdisjoint(dataset.splits["test"].names)


def test_the_scores_of_a_pilot_are_those_of_the_left_out_images(trained):
    scores = np.array(trained.arm(next(iter(trained.runs))).scores)
    images = len(trained.dataset.splits["test"])
    assert np.allclose(scores * images / 100, np.round(scores * images / 100))


def test_a_pilot_shares_no_training_with_its_study(dataset, trained):
    planned = plan_arms(position.arms(dataset, DIGITS), dataset, silent, speed="off")
    of_study = {training.folder for of_arm in planned.trainings.values() for training in of_arm}
    of_pilot = {training.folder for of_arm in trained.trainings.values() for training in of_arm}
    assert of_study.isdisjoint(of_pilot)


def test_every_claim_has_its_spread_and_repetitions(trained):
    findings = position.conclude(trained, DIGITS).findings()
    rows = repetitions_table(findings).rows
    assert [row["statement"] for row in rows] == [one.claim.statement for one in findings]
    assert [row["spread"] for row in rows] == [one.difference and one.difference.spread for one in findings]


@pytest.mark.parametrize(("spread", "published"), [(0.6, 7), (1.3, 30)])
def test_a_claim_of_equality_is_planned_for_the_test_and_for_its_interval(spread, published):
    """`published` is of the test alone, at a level of 0.05. The interval within the margin is a level of 0.025."""
    of_difference = spread * 2**0.5
    assert repeats_needed(0.0, of_difference, level=0.05, margin=1.0) == pytest.approx(published, abs=1)
    (row,) = repetitions_table([finding("equal", of_difference)]).rows
    assert row["repetitions"] == str(repeats_needed(0.0, of_difference, level=0.025, margin=1.0))


def test_observed_means_do_not_change_the_repetitions():
    tables = [repetitions_table([finding("higher", 0.8, value=value)]) for value in (0.0, 5.0)]
    assert tables[0].rows == tables[1].rows


def test_a_claim_of_a_direction_is_planned_for_one_point():
    (row,) = repetitions_table([finding("lower", 0.8)]).rows
    assert (row["distance"], row["repetitions"]) == (1.0, str(repeats_needed(1.0, 0.8, level=0.05)))


def test_more_claims_need_more_repetitions():
    one, many = (repetitions_table([finding("higher", 0.8)] * count).rows[0]["repetitions"] for count in (1, 8))
    assert int(str(one)) < int(str(many))


def test_a_claim_without_spread_has_no_number_of_repetitions():
    (row,) = repetitions_table([finding("higher", 0.0)]).rows
    assert row["repetitions"] is None


def test_a_training_that_leaves_a_fold_out_is_evaluated_on_that_fold(dataset):
    of_study = position.arms(dataset, DIGITS)["Mixer, no positions"]
    recipes = [
        recipe.model_copy(update={"subset": Subset(folds=4, left_out_fold=seed, seed=seed)})
        for seed, recipe in enumerate(of_study)
    ]
    assert pilot_arms({"Mixer": recipes}, dataset) == {"Mixer": recipes}
    folds = training_folds(dataset.merge_validation(), 4)
    for seed, recipe in enumerate(recipes):
        evaluated = left_out_as_test(dataset, recipe).splits["test"].names
        assert evaluated == [folds.images.split.names[index] for index in np.flatnonzero(folds.fold_of == seed)]


@pytest.mark.long
def test_the_trainings_of_a_pilot_of_patches_are_those_of_the_study(dataset):
    arms = patches.arms(dataset, PATCHES)
    assert pilot_arms(arms, dataset) == arms


def test_trainings_on_other_data_are_refused(dataset):
    (recipe, *_) = position.arms(dataset, DIGITS)["Mixer, no positions"]
    with pytest.raises(UserError, match=r"evaluates on training images of colours, but .*, such as digits: leave"):
        pilot_arms({"Mixer": [recipe.model_copy(update={"data": "digits"})]}, dataset)


def test_masks_are_refused(dataset, tmp_path):
    masks = open_dataset(f"masks:{write_camvid(tmp_path)}", MASK_KINDS, quiet=True)
    with pytest.raises(UserError, match=r"leaves out images or sounds by their class, but masks:.* has texts, masks"):
        pilot_arms({}, masks)


def test_texts_are_refused(dataset):
    with pytest.raises(UserError, match="leaves out images or sounds by their class, but colours has texts"):
        pilot_arms({}, replace(dataset, noun="text"))
