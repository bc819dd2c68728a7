"""A run stores which images its weights have learned from, with those of the weights that it started from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.evaluation.training_images import TrainingImages, digests_of, read_training_images
from mixlab.runs.folder import Run, open_run
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import soup
from mixlab.training.loop import train
from mixlab.training.soup import average

PLAN = Plan("cpu", ComputeMode(), 8)


@pytest.fixture
def others(shades: Dataset) -> Dataset:
    """Other images of the same classes."""

    def other(split: Split) -> Split:
        return replace(split, images=[255 - image for image in split.images if isinstance(image, np.ndarray)])

    return replace(shades, name="others", splits={name: other(split) for name, split in shades.splits.items()})


@pytest.fixture
def first(make_job, tmp_path: Path) -> Run:
    """A run on the shades."""
    return train(make_job("epochs=1"), PLAN, tmp_path / "first", quiet=True)


def record(run: Run) -> TrainingImages:
    return read_training_images(open_run(run.path).training_images)


def is_recorded(run: Run, dataset: Dataset, split: str) -> bool:
    """Whether all images of a split are recorded. Raises AssertionError if some are and some are not."""
    recorded = record(run).contains(digests_of(dataset.splits[split], quiet=True))
    assert recorded.all() == recorded.any()
    return bool(recorded.all())


def test_a_run_records_its_training_and_validation_images(first, shades):
    assert [is_recorded(first, shades, split) for split in ("train", "validation", "test")] == [True, True, False]
    assert (len(record(first).trained), len(record(first).selected), record(first).unknown) == (40, 12, ())


def test_only_the_images_of_the_subset_are_recorded(make_job, tmp_path):
    run = train(make_job("epochs=1", "subset.per_class=5"), PLAN, tmp_path / "run", quiet=True)
    assert (len(record(run).trained), len(record(run).selected)) == (10, 12)


def test_a_merged_validation_split_is_training_images(make_job, tmp_path):
    run = train(make_job("epochs=1", "validation=merged"), PLAN, tmp_path / "run", quiet=True)
    assert (len(record(run).trained), len(record(run).selected)) == (52, 0)


def test_the_images_of_the_initial_weights_are_recorded_over_several_trainings(
    first, make_job, shades, others, tmp_path
):
    second = train(make_job(f"model={first.path}", "config={}", dataset=others), PLAN, tmp_path / "second", quiet=True)
    third = train(make_job(f"model={second.path}", "config={}", dataset=others), PLAN, tmp_path / "third", quiet=True)
    for run in (second, third):
        assert all(is_recorded(run, dataset, "train") for dataset in (shades, others))
        assert not any(is_recorded(run, dataset, "test") for dataset in (shades, others))


def test_the_images_of_the_teacher_are_recorded(first, make_job, shades, others, tmp_path):
    job = make_job(f"distillation.teacher={first.path}", dataset=others)
    run = train(job, PLAN, tmp_path / "student", quiet=True)
    assert is_recorded(run, shades, "train") and is_recorded(run, others, "train")


def test_initial_weights_without_a_record_are_unknown(first, make_job, tmp_path):
    (first.path / "training_images.safetensors").unlink()
    first.set_state("done")
    run = train(make_job(f"model={first.path}", "config={}"), PLAN, tmp_path / "second", quiet=True)
    assert record(run).unknown == (str(first.path),)


def test_the_average_of_runs_is_not_evaluated_on_their_training_images(first, make_job, shades, tmp_path, monkeypatch):
    monkeypatch.setattr(soup, "open_dataset", lambda name: shades)
    train(make_job("epochs=1", "validation=merged"), PLAN, tmp_path / "merged", quiet=True)
    tuned = [
        train(make_job(f"model={first.path}", "config={}", f"seed={seed}"), PLAN, tmp_path / f"{seed}", quiet=True)
        for seed in (1, 2)
    ]
    validation = read_history(average(tuned, tmp_path / "mean", quiet=True).journal).validation
    assert validation is not None and validation["images"] == 12
    merged = [
        train(
            make_job(f"model={tmp_path / 'merged'}", "config={}", f"seed={seed}"),
            PLAN,
            tmp_path / f"m{seed}",
            quiet=True,
        )
        for seed in (1, 2)
    ]
    mean = average(merged, tmp_path / "other mean", quiet=True)
    assert read_history(mean.journal).validation is None
    assert len(record(mean).trained) == 52
