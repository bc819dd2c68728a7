"""The pilot of a study: what its trainings leave out, what it is evaluated on, and the repetitions it finds."""

from typing import Any, Literal

import numpy as np
import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.mask_sources import MASK_KINDS
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.stats.estimate import Estimate
from mixlab.stats.sample_size import repeats_needed
from mixlab.studies import data_scale, position, transfer
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.pilot import FOLDS, on_left_out_images, pilot_arms, repetitions_table
from mixlab.studies.result import Claim, Finding
from shape_masks import write_camvid
from studies.test_position import DIGITS, silent, with_few_images


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return with_few_images("digits")


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset) -> TrainedArms:
    laboratory.datasets["digits"] = dataset
    planned = plan_arms(pilot_arms(position.arms(dataset, DIGITS), dataset), dataset, silent, speed="off")
    return on_left_out_images(planned.train(log=silent, quiet=True))


def finding(expected: Literal["higher", "lower", "equal"], spread: float, *, value: float = 0.0) -> Finding:
    margin = 1.0 if expected == "equal" else 0.0
    claim = Claim(statement="A claim.", contrast=("a", "b"), expected=expected, margin=margin, source="", regime="")
    return Finding(claim, Estimate(value, value, value, 4, "points", spread), p_holm=1.0)


def test_no_training_of_a_pilot_sees_the_images_it_is_evaluated_on(dataset, trained):
    evaluated = set(trained.dataset.splits["test"].names)
    assert evaluated
    for of_arm in trained.trainings.values():
        for training in of_arm:
            assert evaluated.isdisjoint(training.job.dataset.splits["train"].names)


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


REFUSED = "--pilot leaves a fold of the training images out, but trainings of this study already leave out images"


@pytest.mark.parametrize(
    ("study", "settings"),
    [(data_scale, data_scale.Settings(models=("mixer_nano",), batch=8)), (transfer, transfer.Settings())],
)
def test_a_study_of_new_classes_is_refused(study: Any, settings: Any):
    digits = open_dataset("digits", quiet=True)
    with pytest.raises(UserError, match=REFUSED):
        pilot_arms(study.arms(digits, settings), digits)


def test_trainings_that_leave_out_folds_already_are_refused(dataset):
    piloted = pilot_arms(position.arms(dataset, DIGITS), dataset)
    with pytest.raises(UserError, match=REFUSED):
        pilot_arms(piloted, dataset)


def test_masks_are_refused(dataset, tmp_path):
    masks = open_dataset(f"masks:{write_camvid(tmp_path)}", MASK_KINDS, quiet=True)
    with pytest.raises(UserError, match=r"--pilot divides images by their class, but those of .* have masks"):
        pilot_arms({}, masks)
