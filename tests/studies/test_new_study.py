"""A study of forty lines: its claims and page, and runs that are repeated, resumed and evaluated from their folders."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mixlab import Predictor
from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.evaluation.model_evaluation import evaluate_model
from mixlab.files import write_json
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed.plan import Plan
from mixlab.studies.arms import plan_arms, run_study
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.result import study_page
from mixlab.training import step
from mixlab.training.job import Job, resolve
from mixlab.training.launch import launch
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from studies import permutation_study
from studies.permutation_study import Settings

CPU = torch.device("cpu")
ARMS = ["token MLPs", "token MLPs, permuted", "attention", "attention, permuted"]


def silent(sentence: str) -> None:
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Class folders without splits: thirty images of 8x8 pixels, light above and dark below or vice versa."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("shaded")
    for label, ramp in (("falling", np.linspace(190, 60, 8)), ("rising", np.linspace(60, 190, 8))):
        (folder / label).mkdir()
        for number in range(30):
            pixels = ramp[:, None, None] + random.integers(-50, 50, size=(8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number:02d}.png")
    return open_dataset(f"folder:{folder}")


@pytest.fixture(scope="module")
def result(laboratory, dataset: Dataset) -> ArmsResult:
    return run_study(permutation_study, dataset, Settings(), quiet=True, log=silent)


@pytest.fixture(scope="module")
def runs(result: ArmsResult, laboratory) -> dict[str, list[Run]]:
    """The runs of each arm by name, one for each seed."""
    found = [Run(training.folder) for training in laboratory.started[:8]]
    return {name: found[2 * place : 2 * place + 2] for place, name in enumerate(ARMS)}


@pytest.fixture(params=ARMS)
def run(request: pytest.FixtureRequest, runs: dict[str, list[Run]], tmp_path: Path) -> Run:
    """The second run of an arm, in a copy of its folder."""
    return Run(shutil.copytree(runs[request.param][1].path, tmp_path / "copy"))


def job_of(run: Run) -> Job:
    """The job of a run, from its folder and the data only."""
    recipe = parse_training_recipe(run.recipe, str(run.path))
    return resolve(recipe, open_dataset(recipe.data, quiet=True), CPU)


def trained_again(run: Run, folder: Path) -> Run:
    return train(job_of(run), Plan.from_dict(run.plan), folder, quiet=True)


def identical(one: Run, other: Run) -> bool:
    first, second = load_file(one.weights), load_file(other.weights)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def interrupt(after: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> None:
    """Send SIGTERM in step `after` of `work`."""
    accumulate_gradients, steps = step.accumulate_gradients, []

    def signalled(*arguments: Any, **settings: Any) -> Any:
        steps.append(1)
        if len(steps) == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return accumulate_gradients(*arguments, **settings)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=r"^Stopped by SIGTERM"):
        patch.setattr(step, "accumulate_gradients", signalled)
        work()


def test_the_study_has_at_most_forty_lines():
    source = Path(permutation_study.__file__).read_text(encoding="utf-8")
    assert source.count("\n") <= 40


def test_the_study_is_the_example_of_the_guide():
    guide = (Path(__file__).parents[2] / "docs" / "adding_a_study.md").read_text(encoding="utf-8")
    assert f"```python\n{Path(permutation_study.__file__).read_text(encoding='utf-8')}```" in guide


def test_the_study_has_arms_claims_and_a_page(result, dataset):
    assert [arm.name for arm in result.arms] == ARMS
    assert {len(arm.scores) for arm in result.arms} == {2}
    html = study_page(result).html()
    assert "Do permuted patches cost anything?" in html
    assert f"mixlab study permutation-study: {dataset.name}, 2 seeds" in html
    for arm in ARMS:
        assert arm in html
    findings = result.findings()
    assert [finding.claim.contrast for finding in findings] == [(ARMS[1], ARMS[0]), (ARMS[3], ARMS[2])]
    assert all(finding.verdict in html for finding in findings)
    assert result.to_dict()["settings"] == {"seeds": 2, "learning_rate": 0.01}


def test_an_additional_seed_trains_only_additional_models(result, laboratory, dataset):
    before, lines = len(laboratory.started), list[str]()
    other = run_study(permutation_study, dataset, Settings(seeds=3), quiet=True, log=lines.append)
    assert f"[3/12] {ARMS[1]}, seed 0: found in the store" in lines
    assert [training.job.recipe.seed for training in laboratory.started[before:]] == [2] * 4
    assert [arm.scores[:2] for arm in other.arms] == [arm.scores for arm in result.arms]


def test_all_runs_have_the_same_plan_and_the_runs_of_an_arm_differ_only_in_the_seed(runs):
    everything = [run for of_arm in runs.values() for run in of_arm]
    assert all(run.plan == everything[0].plan for run in everything)
    assert len({run.path for run in everything}) == 8
    for first, second in runs.values():
        assert (first.recipe["seed"], second.recipe["seed"]) == (0, 1)
        assert first.recipe | {"seed": 1} == second.recipe
    transforms = {name: of_arm[0].recipe.get("transform") for name, of_arm in runs.items()}
    permuted = {"name": "permute_patches", "seed": 0, "patch_size": 4}
    assert transforms == dict(zip(ARMS, [None, permuted] * 2, strict=True))


def test_the_folder_of_a_run_is_enough_to_reproduce_its_weights(run, runs, tmp_path):
    again = trained_again(run, tmp_path / "again")
    assert identical(run, again)
    assert again.recipe == run.recipe
    assert job_of(run).folder(Plan.from_dict(run.plan)) in {one.path for of_arm in runs.values() for one in of_arm}


def test_an_interrupted_run_is_resumed_with_identical_weights(run, tmp_path, monkeypatch):
    stopped = Run(tmp_path / "stopped")
    interrupt(10, monkeypatch, lambda: trained_again(run, stopped.path))
    assert stopped.state == "stopped"
    recipe = parse_training_recipe(stopped.recipe, str(stopped.path))
    data = open_dataset(recipe.data, quiet=True)
    interrupt(5, monkeypatch, lambda: launch(recipe, data, CPU, stopped.path, log=silent, quiet=True))
    finished = launch(recipe, data, CPU, stopped.path, log=silent, quiet=True)
    assert [line["step"] for line in read_history(finished.journal).resumed] == [10, 15]
    assert identical(run, finished)


def test_the_evaluation_of_a_run_has_the_score_of_the_study(run, request, result, dataset):
    evaluation = evaluate_model(str(run.path), None, quiet=True)
    arm = result[request.node.callspec.params["run"]]
    assert evaluation.evaluation.top1.value == pytest.approx(arm.scores[1])
    assert evaluation.names == dataset.splits["test"].names


def test_a_predictor_can_load_a_run_of_the_study(run, dataset):
    predictor, test = Predictor(run.path), dataset.splits["test"]
    assert predictor.classes == ("falling", "rising")
    evaluation = evaluate_model(str(run.path), None, quiet=True).evaluation
    for place in range(len(test)):
        answer = predictor(test.image(place))
        assert max(answer.probabilities) == pytest.approx(evaluation.confidences[place], abs=1e-6)
        assert answer.label == dataset.classes[evaluation.predictions[place]]


def test_the_permutation_is_applied_in_prediction(runs, tmp_path, dataset):
    image = dataset.splits["test"].image(0)
    permuted = Run(shutil.copytree(runs["token MLPs, permuted"][1].path, tmp_path / "copy"))
    with_it = Predictor(permuted.path)(image).probabilities
    stored = permuted.config
    assert stored["preprocess"].pop("transform") == {"name": "permute_patches", "seed": 0, "patch_size": 4}
    write_json(permuted.path / "config.json", stored)
    permuted.set_state("done")
    assert Predictor(permuted.path)(image).probabilities != pytest.approx(with_it, abs=1e-4)


@pytest.mark.long
def test_separate_processes_give_the_same_scores(result, laboratory, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path))
    monkeypatch.setattr("mixlab.training.runner._start", laboratory.start)
    in_processes = run_study(permutation_study, dataset, Settings(), quiet=True, log=silent)
    assert len(list(tmp_path.glob("*/model.safetensors"))) == 8
    assert [(arm.name, arm.scores) for arm in in_processes.arms] == [(arm.name, arm.scores) for arm in result.arms]


WAYS = {
    "as it is": {},
    "exact": {"image_size": 16, "initialization": {"resize": "exact"}},
    "resampled": {"image_size": 16, "initialization": {"resize": "resampled"}},
    "with a new head": {"initialization": {"head": "zero"}},
}


@pytest.fixture(params=WAYS)
def tuned(request: pytest.FixtureRequest, runs: dict[str, list[Run]], dataset: Dataset) -> Run:
    """A run that a study has fine-tuned from the first run of the study."""
    before = runs["token MLPs"][0]
    changes = WAYS[request.param]
    start = {"weights": str(before.path)} | changes.get("initialization", {})
    recipe = parse_training_recipe(before.recipe | {"seed": 5} | changes | {"initialization": start}, "tuning")
    return plan_arms({"tuned": [recipe]}, dataset, silent).train(log=silent, quiet=True).runs["tuned"][0]


def test_the_folder_of_a_fine_tuned_run_is_enough_to_reproduce_its_weights(tuned, tmp_path):
    assert len(tuned.recipe["initialization"]["sha256"]) == 64
    again = trained_again(tuned, tmp_path / "again")
    assert identical(tuned, again)
    assert again.recipe == tuned.recipe
    assert job_of(tuned).folder(Plan.from_dict(tuned.plan)) == tuned.path


def test_a_fine_tuned_run_can_not_be_repeated_with_other_initial_weights(tuned, runs, tmp_path):
    other = str(runs["token MLPs"][1].path)
    recipe = tuned.recipe | {"initialization": tuned.recipe["initialization"] | {"weights": other}}
    with pytest.raises(
        UserError, match=r"holds other weights than the recipe expects: their SHA-256 starts with \w{12}"
    ):
        resolve(parse_training_recipe(recipe, "tuning"), open_dataset(recipe["data"]), CPU)
    recipe["initialization"].pop("sha256")
    assert resolve(parse_training_recipe(recipe, "tuning"), open_dataset(recipe["data"]), CPU).weights is not None


def test_another_digest_in_the_recipe_is_an_error(tuned):
    recipe = tuned.recipe | {"initialization": tuned.recipe["initialization"] | {"sha256": "0" * 64}}
    with pytest.raises(UserError, match=r"initialization\.sha256 starts with 000000000000"):
        resolve(parse_training_recipe(recipe, "tuning"), open_dataset(recipe["data"]), CPU)
