"""The resolution study from end to end on twenty images, and its tables for given scores."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.report.table import render
from mixlab.studies import resolution as study
from mixlab.studies.arms import plan_arms, run_study
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.resolution import Settings, constant_image_difference
from mixlab.studies.result import study_page
from mixlab.training.executor import trained_by
from mixlab.training.job import Job, resolve
from mixlab.training.planning import autotune
from mixlab.training.planning.stored_plans import plans_without_storing
from mixlab.training.runner import LocalProcesses
from mixlab.weights.adapt import Weights, resize_input
from mixlab.weights.load import build_with_weights, load_pretrained

SETTINGS = Settings(seeds=2, images=20, epochs=2)
NAMES = [
    "unchanged, 16 px",
    "trained further, 16 px",
    "exact, 32 px, not fine-tuned",
    "exact, 32 px, fine-tuned",
    "resampled, 32 px, not fine-tuned",
    "resampled, 32 px, fine-tuned",
    "resampled, 24 px, not fine-tuned",
    "resampled, 24 px, fine-tuned",
    "from scratch, 32 px, 1 epoch",
    "from scratch, 32 px, 3 epochs",
    "from scratch, 24 px, 1 epoch",
    "from scratch, 24 px, 3 epochs",
]
TUNED = ["exact, 32 px, fine-tuned", "resampled, 32 px, fine-tuned", "resampled, 24 px, fine-tuned"]
TRAININGS = 9  # per seed


def silent(sentence: str) -> None:
    pass


def studied(dataset: Dataset) -> ArmsResult:
    return run_study(study, dataset, SETTINGS, quiet=True, log=silent)


@pytest.fixture(scope="module")
def result(laboratory, shades: Dataset) -> ArmsResult:
    laboratory.datasets["shades"] = shades
    return studied(shades)


@pytest.fixture(scope="module")
def jobs(result: ArmsResult, laboratory) -> list[Job]:
    return list(laboratory.jobs)


def test_every_arm_is_trained_and_evaluated_with_every_seed_on_all_test_images(result, jobs):
    assert len(jobs) == TRAININGS * 2
    assert sorted(job.recipe.seed for job in jobs) == [0] * TRAININGS + [1] * TRAININGS
    assert [arm.name for arm in result.arms] == NAMES
    assert {(len(arm.scores), arm.top1.n) for arm in result.arms} == {(2, 2)}
    answers = np.array([arm.scores for arm in result.arms]) * 12 / 100
    assert answers == pytest.approx(answers.round(), abs=1e-9)
    for arm in result.arms:
        assert arm.top1.value == pytest.approx(np.mean(arm.scores))


def test_every_seed_draws_its_own_images(jobs):
    assert all(job.recipe.subset.seed == job.recipe.seed for job in jobs)


def test_finished_trainings_and_plans_are_taken_from_the_store(result, jobs, laboratory, shades, monkeypatch):
    laboratory.started.clear()
    monkeypatch.delattr(autotune, "time_job")
    again = studied(shades)
    assert laboratory.started == []
    assert again.plans == result.plans
    assert again.arms == result.arms


def test_all_arms_are_planned_together_before_anything_is_trained(result, laboratory, shades, monkeypatch, tmp_path):
    def costs() -> dict[Any, Mapping[str, Any]]:
        with trained_by(LocalProcesses(plans_without_storing)):
            planned = plan_arms(study.arms(shades, SETTINGS), shades, silent)
        return {row["arm"]: row for row in planned.costs().rows}

    assert {row["missing"] for row in costs().values()} == {0}
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "other"))
    started = len(laboratory.started)
    rows = costs()
    assert {row["missing"] for row in rows.values()} == {2, 2 * TRAININGS}
    exact, scratch = rows["exact, 32 px, fine-tuned"], rows["from scratch, 32 px, 1 epoch"]
    assert exact["steps"] == scratch["steps"] and exact["macs"] > 1.5 * scratch["macs"]
    assert len(laboratory.started) == started and list(tmp_path.iterdir()) == []
    assert list(result.plans) == ["all trainings"]


def test_exact_resizing_has_more_macs_and_preserves_the_logits_of_a_constant_image(result):
    exact, resampled = (result[f"{way}, 32 px, not fine-tuned"] for way in ("exact", "resampled"))
    assert exact.details["macs"] > 1.5 * resampled.details["macs"]
    assert exact.columns["macs"] == exact.details["macs"] / 1e6
    assert len(exact.details["constant_image"]) == 2
    assert max(exact.details["constant_image"]) < 1e-3 < min(resampled.details["constant_image"])


def test_only_fine_tuning_starts_from_weights_and_they_are_resized(jobs):
    weights = [job.weights for job in jobs if job.weights]
    start = [(one.config["image_size"], one.config["token_hidden"]) for one in weights]
    assert start == [size for size in ((16, 64), (32, 256), (32, 64), (24, 64)) for _ in range(2)]
    assert all(job.recipe.image_size == job.weights.config["image_size"] for job in jobs if job.weights)
    assert len({one.digest for one in weights}) == len(start)


def test_the_recipe_of_the_fine_tuning_has_weights_resize_method_and_a_lower_rate(jobs):
    tuned = [job.recipe for job in jobs if job.weights]
    assert [recipe.initialization.resize for recipe in tuned] == [None] * 2 + ["exact"] * 2 + ["resampled"] * 4
    assert {recipe.initialization.head for recipe in tuned} == {"keep"}
    digests = {Path(recipe.initialization.weights or ""): recipe.initialization.sha256 for recipe in tuned}
    assert len(tuned) == 8 and len(digests) == 2
    assert all(load_pretrained(weights).weights.digest == digest for weights, digest in digests.items())
    rates = {job.weights is not None: job.recipe.optimizer.learning_rate for job in jobs}
    assert rates[True] == rates[False] / 4


def test_training_images_are_balanced_and_all_test_images_are_used(jobs, shades):
    for job in jobs:
        assert np.bincount(job.dataset.splits["train"].labels).tolist() == [10, 10]
        assert job.dataset.splits["test"] is shades.splits["test"]
        assert "validation" not in job.dataset.splits


def test_the_number_of_images_is_rounded_to_the_classes_and_limited_to_those_available(shades):
    def images(count: int) -> int:
        recipe = study._recipe(shades, replace(SETTINGS, images=count), image_size=16, epochs=1, seed=0)
        return len(resolve(recipe, shades, torch.device("cpu")).dataset.splits["train"])

    assert (images(21), images(10_000)) == (20, 40 + 12)


def test_every_claim_compares_a_fine_tuned_arm_with_the_unchanged_size(result):
    assert [claim.contrast for claim in result.claims] == [(name, "trained further, 16 px") for name in TUNED]
    assert {claim.expected for claim in result.claims} == {"higher"}
    assert len(result.findings()) == 3


@pytest.fixture
def with_scores(result: ArmsResult) -> Callable[..., ArmsResult]:
    """The result with these scores of the arms in per cent, one per seed; 50 and 52 for other arms."""

    def make(**scores: tuple[float, float]) -> ArmsResult:
        return replace(
            result, arms=tuple(replace(arm, scores=scores.get(arm.name, (50.0, 52.0))) for arm in result.arms)
        )

    return make


def test_differences_are_paired_by_seed(with_scores):
    found = with_scores(**{"exact, 32 px, fine-tuned": (60, 63)})
    difference = found["exact, 32 px, fine-tuned"].difference(found["resampled, 32 px, fine-tuned"])
    assert difference.value == pytest.approx(10.5)
    assert difference.spread == pytest.approx(np.std([10, 11], ddof=1))
    assert difference.n == 2


def test_a_verdict_depends_on_all_seeds(with_scores):
    clear = with_scores(**{"exact, 32 px, fine-tuned": (60, 62.01), "resampled, 24 px, fine-tuned": (50, 60)})
    assert [finding.verdict for finding in clear.findings()] == [
        "agrees",
        "not testable at this scale",
        "undecided",
    ]


def test_every_fine_tuned_arm_is_compared_with_the_unchanged_size_and_with_scratch(result):
    names = set(result.pairs)
    assert ("exact, 32 px, fine-tuned", "resampled, 32 px, fine-tuned") in names
    for way in ("exact, 32 px", "resampled, 32 px", "resampled, 24 px"):
        size = way.split(", ")[1]
        others = ("trained further, 16 px", f"from scratch, {size}, 1 epoch", f"from scratch, {size}, 3 epochs")
        assert {(f"{way}, fine-tuned", other) for other in others} <= names


def test_the_table_the_page_and_the_results_agree(result):
    arms = tuple(
        replace(arm, scores=(30.0, 31.0), top1=replace(arm.top1, value=30.5))
        if arm.name == "exact, 32 px, not fine-tuned"
        else arm
        for arm in result.arms
    )
    changed = replace(result, arms=arms)
    (row,) = (arm for arm in changed.to_dict()["arms"] if arm["name"] == "exact, 32 px, not fine-tuned")
    assert row["scores"] == [30.0, 31.0]
    assert row["top1"]["value"] == 30.5
    assert "30.5" in render(changed.tables()[0], "markdown")
    html = study_page(changed).html()
    assert "30.5" in html
    assert "fp32, contiguous" in html


@pytest.mark.parametrize("depth", [1, 4])
def test_resampling_changes_the_logits_of_a_constant_image_and_exact_resizing_does_not(depth):
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
    assert 1e-3 < constant_image_difference(build_with_weights(weights), resampled) < float("inf")
    assert constant_image_difference(build_with_weights(weights), exact) < 1e-3
