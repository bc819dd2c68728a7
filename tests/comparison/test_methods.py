"""The methods paragraph and the BibTeX entries of a comparison."""

from dataclasses import replace

import pytest

from comparison.test_pretrained_page import make_pretrained_comparison
from mixlab.comparison.compare_page import compare_page
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.methods import of_pretrained, of_trained
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tuning import Trial, Tuning
from mixlab.training.recipes.search_space import sample_settings
from report.test_references import entry_keys


def test_the_methods_of_trained_models_have_n_tests_margin_and_device(make_comparison):
    comparison = make_comparison({"mixer_nano": 92.0, "davit_nano": 98.0, "vit_nano": 91.0}, margin=1.5)
    methods = of_trained(comparison).methods
    assert methods.startswith(
        "3 models were trained from scratch on 200 training images of digits, with 3 seeds each, "
    )
    assert "each, for 4 epochs. The settings of each recipe were tuned with the same number of validation" in methods
    assert "evaluated in fp32 on the 200 test images, without selection. Intervals are 95 % bootstrap" in methods
    assert "intervals over seeds and 200 test images, with 10,000 resamples." in methods
    assert "P-values were adjusted by Holm's method for all 3 pairs; the level is 0.05." in methods
    assert "is at most 1.5 points, a margin that was fixed in advance. The bounds are those of Hsu's" in methods
    assert methods.endswith(f" on {comparison.environment['device']}.")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"minutes": 30.0}, "for 30 minutes for the whole comparison, shared equally."),
        ({"match": "seconds"}, "for as many seconds of training as a."),
        ({"match": "macs", "epochs": 4}, ", with widths scaled to the macs of a, with 3 seeds each, for 4 epochs."),
    ],
)
def test_the_methods_have_the_budget(make_comparison, fields, sentence):
    comparison = replace(make_comparison({"a": 90.0, "b": 80.0}), settings=ComparisonSettings(**fields))
    assert sentence in of_trained(comparison).methods


def test_with_one_seed_and_one_pair_the_intervals_are_over_images_and_nothing_is_adjusted(make_comparison):
    paper = of_trained(make_comparison({"mixer_nano": 90.0, "b": 80.0}, seeds=1))
    assert "with 1 seed each" in paper.methods and "bootstrap intervals over 200 test images, with" in paper.methods
    assert "Holm" not in paper.methods
    assert entry_keys(paper.bibtex) == ["mixlab", "pytorch", "mixer", "digits", "crossedbootstrap", "hsu"]


def test_tuned_settings_are_described_and_cited(make_comparison):
    comparison = make_comparison({"a": 90.0, "b": 80.0, "c": 70.0})
    trials = tuple(Trial(settings, 90.0, 0.3) for settings in sample_settings(4))
    paper = of_trained(replace(comparison, tunings=(Tuning(comparison.model_results[0], trials),)))
    assert "best of 4 random trials on the training images. Each trial was trained 3 times, without" in paper.methods
    assert entry_keys(paper.bibtex)[4:] == ["expectedbest", "crossedbootstrap", "hsu", "holm"]


def test_the_methods_of_published_weights_have_heads_folds_and_their_correction():
    comparison = make_pretrained_comparison({"mixer_b16": 96.0, "davit_tiny": 97.0})
    paper = of_pretrained(comparison)
    assert paper.methods.startswith("2 published weights were compared on 400 test images of ")
    assert "was fitted on the other folds; its ridge and temperature were selected on 10 % of these." in paper.methods
    assert "Nadeau and Bengio" in paper.methods and "over images, with 10,000 resamples." in paper.methods
    assert "generalization" in entry_keys(paper.bibtex)


def test_the_page_has_methods_and_bibtex(make_comparison):
    comparison: Comparison = make_comparison({"mixer_nano": 92.0, "davit_nano": 98.0})
    page = compare_page(comparison).html()
    assert "2 models were trained from scratch" in page and "@article{hsu," in page
