"""The study of transfer from end to end on a handful of images, and its tables from invented accuracies."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.evaluation.probes import features
from mixlab.report.table import render
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.studies import transfer as study
from mixlab.studies.transfer import AS_LONG, HEAD, LONGER, TUNED, Transfer, TransferSettings, transfer
from mixlab.training.job import Job

TERMS = TransferSettings(seeds=2, images=16, epochs=1, shots=4, tuning_epochs=1)
NAMES = [HEAD, TUNED, AS_LONG, LONGER]
TRAININGS = 4  # a split, and the head


@pytest.fixture(scope="module")
def colours() -> Dataset:
    """In memory: noisy images of 8x8 pixels in four colours; ten of each to train on and three for the test."""
    random = np.random.default_rng(0)
    means = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [130, 130, 130]])

    def split(name: str, n_images: int) -> Split:
        labels = np.arange(n_images) % 4
        images = means[labels][:, None, None] + random.integers(-50, 50, size=(n_images, 8, 8, 3))
        return Split([f"{name}/{number}" for number in range(n_images)], labels, list(images.astype(np.uint8)))

    return Dataset(
        "colours", ("red", "green", "blue", "grey"), {"train": split("train", 40), "test": split("test", 12)}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Job]]:
    """What is trained, as it happens, in a store and a cache of its own; plans are invented."""
    jobs: list[Job] = []
    train = study.train

    def noted(job: Job, plan: Plan, folder: Path, *, quiet: bool) -> Run:
        jobs.append(job)
        return train(job, plan, folder, quiet=quiet)

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "train", noted)
        patch.setenv("MIXLAB_RUNS", str(folder))
        patch.setattr(features, "cache_folder", lambda: folder / "cache")
        patch.setattr(study, "cached_plan", lambda job, log: (Plan("cpu", ComputeMode(), 20), 0.1))
        yield jobs


@pytest.fixture(scope="module")
def found(trained: list[Job], colours: Dataset) -> Transfer:
    return transfer(colours, TERMS, quiet=True, log=lambda sentence: None)


@pytest.fixture(scope="module")
def jobs(found: Transfer, trained: list[Job]) -> list[Job]:
    return list(trained)


def test_every_way_is_evaluated_in_every_split(found, jobs):
    assert [arm.name for arm in found.arms] == NAMES
    assert {len(arm.accuracies) for arm in found.arms} == {2}
    assert len(jobs) == TRAININGS * 2
    assert found.images == 16


def test_the_new_classes_are_no_known_ones_and_all_ways_learn_from_the_same_few(found, jobs):
    for assignment, (before, *after) in zip(found.splits, (jobs[:4], jobs[4:]), strict=True):
        assert before.dataset.classes == assignment.known
        assert not set(assignment.known) & set(assignment.new)
        few = {tuple(job.dataset.splits["train"].names) for job in after}
        assert len(few) == 1 and len(few.pop()) == 8
        assert {job.dataset.classes for job in after} == {assignment.new}


def test_fine_tuning_begins_with_the_body_before_and_a_head_of_zeros_at_a_quarter_of_the_rate(jobs):
    _, tuned, scratch, longer = jobs[:4]
    assert [job.weights is not None for job in jobs[:4]] == [False, True, False, False]
    assert not tuned.weights.tensors["head.weight"].any()
    assert tuned.recipe.optimizer.learning_rate == scratch.recipe.optimizer.learning_rate / 4
    assert longer.recipe.epochs == 5 * scratch.recipe.epochs


def test_the_head_is_chosen_on_a_quarter_of_the_few(found, jobs):
    head = found.recipes[HEAD]
    (run,) = (path for path in Path(head.model).parent.glob("*-head-*") if Run(path).recipe == head.to_dict())
    assignment = Run(run).split_assignment or {}
    assert {split: len(names) for split, names in assignment.items()} == {"train": 6, "validation": 2, "test": 6}
    assert set(assignment["train"] + assignment["validation"]) == set(jobs[1].dataset.splits["train"].names)


def test_what_was_finished_is_found_again(found, jobs, trained, colours):
    trained.clear()
    again = transfer(colours, TERMS, quiet=True, log=lambda sentence: None)
    assert trained == []
    assert again.arms == found.arms


@pytest.fixture
def invented(found: Transfer) -> Callable[..., Transfer]:
    """The same arms with these accuracies, head, tuned, as long, longer; one a split."""

    def invent(*accuracies: tuple[float, float]) -> Transfer:
        pairs = zip(found.arms, accuracies, strict=True)
        return replace(found, arms=tuple(replace(arm, accuracies=given) for arm, given in pairs))

    return invent


def test_differences_are_paired_by_split(invented):
    result = invented((60, 71), (65, 75), (50, 60), (50, 60))
    difference = result[HEAD].against(result[AS_LONG])
    assert difference.value == pytest.approx(10.5)
    assert difference.spread == pytest.approx(np.std([10, 11], ddof=1))
    assert len(result.pairs) == 5


@pytest.mark.parametrize(
    ("head", "tuned", "sentence"),
    [
        ((60.0, 60.1), (61.0, 61.1), "fine-tuning and the closed-form head are both ahead of starting from scratch"),
        ((60.0, 60.1), (50.0, 70.0), "only the closed-form head is ahead"),
        ((40.0, 60.0), (61.0, 61.1), "only the fine-tuned model is ahead"),
        ((40.0, 60.0), (50.0, 70.0), "neither fine-tuning nor the closed-form head is certainly ahead"),
    ],
)
def test_the_page_says_which_way_is_ahead_of_both_from_scratch(invented, head, tuned, sentence):
    page = invented(head, tuned, (30.0, 30.2), (50.0, 50.2)).page()
    assert f"With 4 images of each new class {sentence}" in page.answer.sentence


def test_the_table_the_page_and_results_say_the_same(invented):
    result = invented((61.0, 62.0), (65.0, 66.0), (50.0, 51.0), (50.0, 51.0))
    assert result.results()["arms"][0]["by_split"] == [61.0, 62.0]
    assert "61.5" in render(result.table(), "markdown")
    assert "61.5" in result.page().html()
