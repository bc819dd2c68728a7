"""The study of published accuracies from end to end on few images, and the recipes that it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.studies import reproduction
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.reproduction import DIFFERENCE, Settings
from mixlab.studies.result import study_page
from mixlab.training.job import Job
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.training.recipes.schema import Recipe
from studies.test_permutation import image_folder, silent

RECIPE = """
model = "mixer_nano"
data = "folder:noise"
image_size = 8
epochs = 1
batch = 8

[optimizer]
name = "adamw"
learning_rate = 0.001
weight_decay = 0.0
"""
EXPECTED = """
[expected]
top1 = 92.6
by = "the authors (table 9)"
on = "noise"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("noise")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return open_dataset(image_folder(folder, classes=2, images=20), quiet=True)


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    recipe = folder / "published.toml"
    recipe.write_text(RECIPE + EXPECTED, encoding="utf-8")
    return Settings(str(recipe))


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset, settings: Settings) -> TrainedArms:
    return plan_arms(reproduction.arms(dataset, settings), dataset, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms, settings: Settings) -> ArmsResult:
    return reproduction.conclude(trained, settings)


def test_the_recipe_is_trained_as_it_is_once_for_each_seed(trained, settings, dataset):
    jobs = [training.job for training in trained.trainings[settings.recipe]]
    assert [job.recipe.seed for job in jobs] == [0, 1, 2]
    for job in jobs:
        assert isinstance(job, Job)
        assert (job.recipe.optimizer.learning_rate, job.recipe.epochs, job.recipe.image_size) == (0.001, 1, 8)
        assert (job.recipe.data, job.recipe.validation) == (dataset.name, "merged")


def test_the_claim_is_about_the_difference_from_the_published_accuracy(result, settings):
    arm = replace(result[settings.recipe], scores=(92.0, 92.5, 93.0))
    near = tuple(score - 92.6 for score in arm.scores)
    (quantity,) = result.quantities
    (found,) = replace(result, quantities=(replace(quantity, values=near),)).findings()
    assert found.difference and found.difference.value == pytest.approx(-0.1)
    assert (found.claim.margin, found.claim.source) == (1.0, "the authors (table 9)")


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [((92.5, 92.6, 92.7), "agrees"), ((89.3, 89.4, 89.5), "disagrees"), ((91.0, 92.0, 93.5), "undecided")],
)
def test_verdicts_follow_from_the_margin(scores, verdict, trained, settings, monkeypatch):
    arm = replace(trained.arm(settings.recipe), scores=scores)
    monkeypatch.setattr(TrainedArms, "arm", lambda *given: arm)
    (finding,) = reproduction.conclude(trained, settings).findings()
    assert finding.verdict == verdict


def test_the_page_has_the_published_accuracy_in_the_figure_and_in_a_note(result):
    html = study_page(result).html()
    for text in ("published 92.6", "on noise.", DIFFERENCE, "the source has a training;"):
        assert text in html


def test_the_methods_paragraph_is_that_of_a_single_arm(result):
    assert result.methods.startswith("The model was trained 3 times, for 4 steps on ")
    assert "every arm" not in result.methods


def test_a_recipe_without_a_published_accuracy_is_refused(dataset, tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    with pytest.raises(UserError, match=r"own.toml has no published accuracy: add a section \[expected\] with top1"):
        reproduction.arms(dataset, Settings(str(recipe)))


def test_an_accuracy_on_other_data_is_refused(dataset):
    sentence = "is for cifar10, and its accuracy can't be compared with one on folder: give --data cifar10, or another"
    with pytest.raises(UserError, match=sentence):
        reproduction.arms(dataset, Settings())


def test_an_unknown_recipe_is_refused(dataset):
    with pytest.raises(UserError, match=r'There is no recipe "convmixer_256".* Did you mean'):
        reproduction.arms(dataset, Settings("convmixer_256"))


def test_the_stated_cost_is_that_of_the_defaults():
    recipe = Recipe.model_validate(read_recipe(Settings().recipe))
    assert f"{Settings().seeds} trainings of {recipe.epochs} epochs of ConvMixer-256/8" in reproduction.COST
