"""The study of texts on generated ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.data.text.sources import TEXT_KINDS
from mixlab.errors import UserError
from mixlab.evaluation.bag_of_words import fit_bag_of_words
from mixlab.studies import text
from mixlab.studies.arms import run_study
from mixlab.studies.result import study_page
from mixlab.studies.text import Settings
from mixlab.studies.text_claims import BAG_OF_WORDS, MIXER, claims, short_arm
from mixlab.training.recipes.schema import Recipe
from small_texts import write_texts

TINY = Settings(seeds=2, epochs=1, tokens=12, short=4, channels=8, depth=1)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(f"text:{write_texts(tmp_path / 'texts.csv', 240)}", TEXT_KINDS)


def test_the_stated_cost_is_that_of_the_defaults(dataset: Dataset):
    recipes = [recipe for of_arm in text.arms(dataset, Settings()).values() for recipe in of_arm]
    assert f"{len(recipes)} trainings of 10 epochs" == text.COST
    assert {recipe.epochs for recipe in recipes if isinstance(recipe, Recipe)} == {10}


def test_the_short_mixer_must_be_shorter(dataset: Dataset):
    with pytest.raises(UserError, match="--short 12 is out of range: it must be less than --tokens 12"):
        text.arms(dataset, replace(TINY, short=12))


def test_a_bag_of_words_learns_which_words_occur(dataset: Dataset):
    baseline = fit_bag_of_words(dataset)
    assert baseline.correct(dataset.splits["test"]).mean() > 0.95
    assert baseline.parameters > 0 and baseline.bytes > 0


@pytest.mark.long
def test_the_result_has_claims_costs_and_other_lengths(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    monkeypatch.setattr(text, "_ROUNDS", 2)
    result = run_study(text, dataset, TINY, log=lambda line: None, quiet=True, speed="off")
    assert [arm.name for arm in result.arms] == [MIXER, "Transformer", short_arm(4)]
    assert [finding.claim for finding in result.findings()] == list(claims(4))
    quantities = {one.name: one for one in result.quantities}
    assert len(set(quantities[BAG_OF_WORDS].values)) == 1
    assert all(one.values for one in quantities.values())
    html = study_page(result).html()
    for title in ("Costs", "Accuracy by length of the test texts", "Accuracy if test texts are cut"):
        assert title in html
