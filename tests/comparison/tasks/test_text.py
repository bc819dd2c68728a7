"""`compare` for texts, from end to end on generated ones, with all trainings in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

from inline import silent
from mixlab.comparison.compare import compare
from mixlab.comparison.compare_page import compare_page
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import tables
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tasks.text import TEXTS, text_baselines
from mixlab.data.dataset import Dataset, Split
from mixlab.data.sources import open_dataset
from mixlab.data.text.sources import TEXT_KINDS
from mixlab.errors import UserError
from mixlab.evaluation.bag_of_words import BagOfWords
from mixlab.report.table import render
from small_texts import write_texts

TEST_TEXTS = 24


@pytest.fixture
def texts(tmp_path: Path) -> Dataset:
    return open_dataset(f"text:{write_texts(tmp_path / 'texts.csv', 120)}", TEXT_KINDS)


def compared(dataset: Dataset, models: tuple[str, ...] = TEXTS.models, **settings: Any) -> Comparison:
    settings = {"seeds": 2, "epochs": 1} | settings
    return compare(models, dataset, ComparisonSettings(**settings), compared=TEXTS, quiet=True, log=silent)


def test_the_default_models_are_compared_on_the_test_texts(texts):
    comparison = compared(texts)
    assert comparison.names == ["variant:text_mixer", "variant:text_transformer"]
    for one in comparison.model_results:
        assert one.scores.shape == (2, TEST_TEXTS) and one.scores.dtype == bool
        assert one.mean_score.value == pytest.approx(100 * one.scores.mean())
    assert comparison.recommendation.baselines["bag of words"].value > 90


@pytest.mark.long
def test_everything_that_is_shown_speaks_of_texts(texts):
    comparison = compared(texts)
    html = compare_page(comparison).html()
    shown = "\n".join(render(table, "table") for table in tables(comparison))
    for content in (html, shown, comparison.conclusion, comparison.detectable):
        assert "images" not in content
    assert "% of the test texts correctly" in comparison.conclusion
    assert "mixlab compare --data" in html and "--task text" in html
    assert "Most confident errors" in html


def test_the_results_have_the_keys_of_images_and_name_the_task(texts):
    results = json.loads(json.dumps(compared(texts).results()))
    assert results["task"] == "text"
    assert {"top1", "mean", "sd", "n"} <= results["models"]["variant:text_mixer"].keys()
    assert list(results["baselines"]) == ["majority class", "bag of words"]


def test_the_bag_of_words_is_fitted_to_training_and_validation_texts(texts, monkeypatch):
    fitted: list[int] = []
    fitted_to = BagOfWords.fitted_to

    def recorded(self: BagOfWords, split: Split) -> BagOfWords:
        fitted.append(len(split))
        return fitted_to(self, split)

    monkeypatch.setattr(BagOfWords, "fitted_to", recorded)
    text_baselines(texts)
    assert fitted == [len(texts.splits["train"]) + len(texts.splits["validation"])]


def test_a_matched_transformer_has_about_the_parameters_of_the_mixer(texts):
    first, other = (one.candidate.parameters for one in compared(texts, seeds=1, match="parameters").model_results)
    assert other == pytest.approx(first, rel=0.1)


def test_models_for_images_are_refused(texts):
    with pytest.raises(UserError, match="mixer_nano reads images, but --task text has texts: give models that read"):
        compared(texts, ("variant:text_mixer", "mixer_nano"))


@pytest.mark.parametrize(("setting", "value"), [("tune", 2), ("image_size", 32)])
def test_settings_for_images_are_refused(texts, setting, value):
    with pytest.raises(UserError, match=r"can't be used with --task text, so remove it\."):
        compared(texts, **{setting: value})
