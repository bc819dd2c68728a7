"""The study of resolution from end to end on twenty images, and its tables from invented answers."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.report.table import render
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.studies import resolution as study
from mixlab.studies.resolution import Resolution, ResolutionSettings, moved_on_grey, resolution
from mixlab.training.job import Job
from mixlab.training.planning import autotune
from mixlab.weights.adapt import Weights, resize_input
from mixlab.weights.load import build_with_weights

TERMS = ResolutionSettings(seeds=2, images=20, epochs=2)
NAMES = [
    "as it was, 16 px",
    "trained on, 16 px",
    "exact, 32 px, at once",
    "exact, 32 px, tuned",
    "resampled, 32 px, at once",
    "resampled, 32 px, tuned",
    "resampled, 24 px, at once",
    "resampled, 24 px, tuned",
    "from scratch, 32 px, 1 epoch",
    "from scratch, 32 px, 3 epochs",
    "from scratch, 24 px, 1 epoch",
    "from scratch, 24 px, 3 epochs",
]
TRAININGS = 9  # a seed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Job]]:
    """What is trained, as it happens, in a store of its own; plans are invented."""
    jobs: list[Job] = []
    train = study.train

    def noted(job: Job, plan: Plan, folder: Path, *, quiet: bool) -> Run:
        jobs.append(job)
        return train(job, plan, folder, quiet=quiet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "train", noted)
        patch.setenv("MIXLAB_RUNS", str(tmp_path_factory.mktemp("store")))
        patch.setattr(autotune, "select_plan", lambda job, log, processes: (Plan("cpu", ComputeMode(), 20), 0.1))
        yield jobs


@pytest.fixture(scope="module")
def found(trained: list[Job], shades: Dataset) -> Resolution:
    return studied(shades)


def studied(dataset: Dataset) -> Resolution:
    return resolution(dataset, TERMS, quiet=True, log=lambda sentence: None)


@pytest.fixture(scope="module")
def jobs(found: Resolution, trained: list[Job]) -> list[Job]:
    return list(trained)


def test_every_way_is_trained_and_evaluated_with_every_seed_on_all_test_images(found, jobs):
    assert len(jobs) == TRAININGS * 2
    assert [arm.name for arm in found.arms] == NAMES
    assert {arm.correct.shape for arm in found.arms} == {(2, 12)}


def test_what_was_finished_is_found_again_and_so_are_the_plans(found, jobs, trained, shades, monkeypatch):
    trained.clear()
    monkeypatch.delattr(autotune, "select_plan")
    again = studied(shades)
    assert trained == []
    assert again.plans == found.plans
    for before, after in zip(found.arms, again.arms, strict=True):
        np.testing.assert_array_equal(after.correct, before.correct)


def test_the_exact_way_costs_more_and_moves_no_constant_image(found):
    exact, resampled = (found[f"{way}, 32 px, at once"] for way in ("exact", "resampled"))
    assert exact.macs > 1.5 * resampled.macs
    assert max(exact.moved) < 1e-3 < min(resampled.moved)


def test_fine_tuning_starts_from_the_resized_weights_and_nothing_else_from_any(jobs):
    start = [(job.weights.config["image_size"], job.weights.config["token_hidden"]) for job in jobs if job.weights]
    assert start == [(16, 64), (32, 256), (32, 64), (24, 64)] * 2
    assert all(job.recipe.image_size == job.weights.config["image_size"] for job in jobs if job.weights)
    assert len({job.weights.digest for job in jobs if job.weights}) == len(start)


def test_the_subset_has_equally_many_of_each_class_and_the_test_part_is_whole(shades):
    splits = study._subset(shades, 21).splits
    assert np.bincount(splits["train"].labels).tolist() == [10, 10]
    assert splits["test"] is shades.splits["test"]


def test_more_images_than_there_are_is_all_of_them(shades):
    assert len(study._subset(shades, 10_000).splits["train"]) == 40


@pytest.fixture
def invented(found: Resolution) -> Callable[..., Resolution]:
    """The same arms with these accuracies in per cent, one a seed, of a hundred test images; 50 and 52 for others."""

    def invent(**accuracies: tuple[int, int]) -> Resolution:
        def answers(name: str) -> np.ndarray:
            return np.stack([np.arange(100) < share for share in accuracies.get(name, (50, 52))])

        return replace(found, arms=tuple(replace(arm, correct=answers(arm.name)) for arm in found.arms))

    return invent


def test_differences_are_paired_by_seed(invented):
    result = invented(**{"exact, 32 px, tuned": (60, 63)})
    difference = result["exact, 32 px, tuned"].against(result["resampled, 32 px, tuned"])
    assert difference.value == pytest.approx(10.5)
    assert difference.spread == pytest.approx(np.std([10, 11], ddof=1))
    assert difference.n == 2


def test_a_way_is_ahead_only_where_the_whole_interval_is(invented):
    clear = invented(**{"exact, 32 px, tuned": (60, 63), "resampled, 24 px, tuned": (50, 60)})
    assert "exact to 32 px is ahead of the model that stayed at 16 px" in clear.page().answer.sentence
    assert "no way is certainly ahead" in invented().page().answer.sentence


def test_every_tuned_way_stands_beside_staying_and_beside_starting_anew(found):
    names = {(a.name, b.name) for a, b in found.pairs}
    assert ("exact, 32 px, tuned", "resampled, 32 px, tuned") in names
    for way in ("exact, 32 px", "resampled, 32 px", "resampled, 24 px"):
        size = way.split(", ")[1]
        others = ("trained on, 16 px", f"from scratch, {size}, 1 epoch", f"from scratch, {size}, 3 epochs")
        assert {(f"{way}, tuned", other) for other in others} <= names


def test_the_table_the_page_and_results_say_the_same(invented):
    result = invented(**{"exact, 32 px, at once": (30, 31)})
    (row,) = (arm for arm in result.results()["arms"] if arm["name"] == "exact, 32 px, at once")
    assert row["by_seed"] == pytest.approx([30, 31])
    assert "30.5" in render(result.table(), "markdown")
    html = result.page().html()
    assert "30.5" in html
    assert "fp32, contiguous" in html


@pytest.mark.parametrize("depth", [1, 4])
def test_a_constant_image_s_logits_move_when_resampled_and_not_when_enlarged_exactly(depth):
    config = MixerConfig(
        image_size=8, classes=5, patch_size=4, channels=6, token_hidden=4, channel_hidden=8, depth=depth
    )
    model = Mixer(config)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)
    weights = Weights("mixer", asdict(config), model.state_dict())
    resampled, exact = (
        build_with_weights(resize_input(weights, 16, way, window=None)) for way in ("resampled", "exact")
    )
    assert 1e-3 < moved_on_grey(build_with_weights(weights), resampled) < float("inf")
    assert moved_on_grey(build_with_weights(weights), exact) < 1e-3
