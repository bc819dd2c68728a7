"""Tuning on the training images: folds, scores, the selection, and what the report and results.json say."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixlab.comparison import tuning as tuning_module
from mixlab.comparison.candidates import PlannedCandidate, make_candidate
from mixlab.comparison.trainings import Trained
from mixlab.comparison.tuning import FOLDS, Trial, Tuning, tune
from mixlab.comparison.tuning_page import settings_table, tuning_sections
from mixlab.data.dataset import Dataset
from mixlab.data.folds import training_folds
from mixlab.data.sources import open_dataset
from mixlab.report.page import Page, Summary
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.recipes.search_space import Settings, sample_settings
from mixlab.training.training import Training

MODELS = ("convmixer_nano", "mixer_nano")
SECONDS_PER_STEP = {"convmixer_nano": 0.2, "mixer_nano": 0.1}

Tune = Callable[..., tuple[Tuning, ...]]


@pytest.fixture
def dataset(pets: Path) -> Dataset:
    return open_dataset(f"folder:{pets}").merge_validation()


@pytest.fixture
def run_tuning(dataset: Dataset, started: list[Training]) -> Tune:
    def run(trials: int = 2, log: Callable[[str], None] = [].append) -> tuple[Tuning, ...]:
        return tune(planned(dataset), trials, dataset, quiet=True, log=log)

    return run


def planned(dataset: Dataset) -> list[PlannedCandidate]:
    candidates = [make_candidate(name, dataset, image_size=8, epochs=1, config={}) for name in MODELS]
    return [
        PlannedCandidate(one, Plan("cpu", ComputeMode(), micro_batch=one.job.batch), SECONDS_PER_STEP[one.name])
        for one in candidates
    ]


def make_tuning(dataset: Dataset, scores: Sequence[tuple[float, float]]) -> Tuning:
    settings = sample_settings(len(scores))
    trials = tuple(Trial(point, *score) for point, score in zip(settings, scores, strict=True))
    return Tuning(planned(dataset)[1], trials)


def test_every_model_has_the_same_trials_and_the_fastest_model_is_first(run_tuning, started):
    tunings = run_tuning(trials=2)
    assert [tuning.name for tuning in tunings] == list(MODELS)
    expected = sample_settings(2)
    assert [[trial.settings for trial in tuning.trials] for tuning in tunings] == [expected, expected]
    assert [training.job.recipe.model for training in started] == ["mixer_nano"] * 6 + ["convmixer_nano"] * 6


def test_each_trial_is_trained_without_each_fold(run_tuning, started, dataset):
    run_tuning(trials=2)
    folds = training_folds(dataset, FOLDS)
    names = np.array(folds.images.split.names)
    left_out = [training.job.recipe.subset.left_out_fold for training in started]
    assert left_out == list(range(FOLDS)) * 4
    for training, fold in zip(started, left_out, strict=True):
        trained_on = training.job.dataset.splits["train"].names
        assert sorted(trained_on) == sorted(names[folds.fold_of != fold])
        assert Run(training.folder).recipe["subset"] == {"folds": FOLDS, "left_out_fold": fold, "seed": 0}


def test_the_process_of_a_training_resolves_its_recipe_to_the_same_folder(run_tuning, started, dataset):
    run_tuning(trials=2)
    for training in started:
        job = resolve(training.job.recipe, open_dataset(dataset.name), training.job.device)
        assert job.folder(training.plan) == training.folder


def test_the_images_of_the_left_out_fold_are_evaluated_and_never_those_of_test(run_tuning, dataset, monkeypatch):
    evaluated = []
    evaluate_training = tuning_module.evaluate_training

    def recorded(run: Run, part: Dataset, device: object) -> Trained:
        evaluated.append((Run(run.path).recipe["subset"]["left_out_fold"], part.splits["test"].names))
        return evaluate_training(run, part, device)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(tuning_module, "evaluate_training", recorded)
    run_tuning(trials=2)
    folds = training_folds(dataset, FOLDS)
    names = np.array(folds.images.split.names)
    assert len(evaluated) == 12
    for fold, images in evaluated:
        assert images == names[folds.fold_of == fold].tolist()
        assert not set(images) & set(dataset.splits["test"].names)


def test_the_score_counts_every_training_image_once(run_tuning, dataset):
    images = len(dataset.splits["train"])
    for tuning in run_tuning(trials=2):
        for trial in tuning.trials:
            assert (trial.top1 * images / 100) == pytest.approx(round(trial.top1 * images / 100))
            assert 0 < trial.cross_entropy < 5


def test_finished_trials_are_not_trained_again(run_tuning, started):
    first = run_tuning(trials=2)
    assert len(started) == 12
    again = run_tuning(trials=3)
    assert len(started) == 18
    assert [tuning.trials[:2] for tuning in again] == [tuning.trials for tuning in first]


def test_the_number_of_trainings_is_logged(run_tuning):
    messages: list[str] = []
    run_tuning(trials=2, log=messages.append)
    assert re.fullmatch(
        r"Tuning: 2 trials of each model with 3 folds, 12 trainings, about \d+ s without those that are finished "
        r"already\.",
        messages[0],
    )


def test_the_most_accurate_trial_is_the_best_and_the_cross_entropy_decides_ties(dataset):
    assert make_tuning(dataset, [(90.0, 0.1), (95.0, 0.4), (95.0, 0.3)]).best.cross_entropy == 0.3


def test_the_tuned_model_has_the_settings_of_the_best_trial_and_all_training_images(dataset):
    tuning = make_tuning(dataset, [(90.0, 0.1), (95.0, 0.4)])
    job = tuning.tuned.candidate.job
    best = sample_settings(2)[1]
    assert job.recipe.optimizer.learning_rate == best.learning_rate
    assert job.recipe.optimizer.weight_decay == best.weight_decay
    assert job.architecture.config["stochastic_depth"] == best.stochastic_depth
    assert job.recipe.subset is None
    assert len(job.dataset.splits["train"]) == len(dataset.splits["train"])
    assert tuning.tuned.plan == tuning.candidate.plan


def test_results_have_all_trials_and_the_expected_best(dataset):
    entry = make_tuning(dataset, [(90.0, 0.1), (95.0, 0.4)]).to_dict()
    assert [trial["top1"] for trial in entry["trials"]] == [90.0, 95.0]
    assert set(entry["trials"][0]["settings"]) == set(Settings.__dataclass_fields__)
    assert entry["best"] == 1
    assert entry["expected_best"] == [92.5, 95.0]


def test_the_report_has_the_settings_the_curve_and_the_recipe(dataset):
    tuning = make_tuning(dataset, [(90.0, 0.1), (95.0, 0.4), (70.0, 0.9)])
    page = Page("Tuned", Summary("A summary.", ""), tuning_sections([tuning]), "")
    html = page.html()
    assert "The best is optimistic, because it was selected; the test images were not used." in html
    assert "Expected best accuracy by number of trials" in html
    assert f"learning_rate = {tuning.best.settings.learning_rate}" in html
    (row,) = settings_table([tuning]).rows
    assert (row["top1"], row["median"], row["worst"]) == (95.0, 90.0, 70.0)


def test_the_settings_of_models_of_sounds_are_tuned_on_sounds(dataset):
    tuning = make_tuning(replace(dataset, noun="sound"), [(90.0, 0.1), (95.0, 0.4)])
    note, _ = settings_table([tuning]).notes
    assert "on the training sounds" in note and "the test sounds were not used" in note


def test_without_tuning_the_report_has_no_section_about_it():
    assert tuning_sections([]) == []
