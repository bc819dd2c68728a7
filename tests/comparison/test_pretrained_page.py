"""The report, the tables and results.json of a comparison of published weights, with synthetic predictions."""

import json
import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest
import tomli_w

from mixlab.comparison import pretrained_page as module
from mixlab.comparison.cross_validation import CrossValidation
from mixlab.comparison.pretrained_comparison import WARNING, PretrainedComparison, PretrainedResult
from mixlab.comparison.pretrained_page import pretrained_page
from mixlab.comparison.pretrained_tables import choice_table, heads_table, pairs_table, pretrained_tables
from mixlab.comparison.ranking import rank
from mixlab.comparison.recommendation import images_needed
from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import make_folds
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.probes.features import Backbone
from mixlab.evaluation.probes.ridge import FittedHead, LinearHead
from mixlab.evaluation.unseen_images import UnseenImages
from mixlab.report.html_text import html_text
from mixlab.report.table import print_table
from mixlab.speed.plan import ComputeMode
from mixlab.stats.intervals import median_interval, proportion_interval
from mixlab.stats.paired import cluster_values, crossed_interval
from mixlab.stats.sample_size import Needed
from mixlab.weights.adapt import Weights

CLEAR = {"mixer_b16.x": 90.0, "davit_tiny.x": 97.0}
CLOSE = {"mixer_b16.x": 95.0, "davit_tiny.x": 95.5, "timm:resnet50.x": 80.0}
IMAGES = 400

ENVIRONMENT = {
    "device": "a test processor, 2 cores",
    "threads": 1,
    "memory_bytes": 8 * 2**30,
    "system": "Linux",
    "versions": {"mixlab": "0.1.0", "torch": "2.15.0"},
    "commit": None,
}


def text_of(html: str) -> str:
    """The visible text, in one line with plain spaces."""
    body = re.sub(r"<wbr>", "", html.partition("<body>")[2])
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("\N{NO-BREAK SPACE}", " ").split())


def make_pretrained_comparison(accuracies: dict[str, float], folds: int | None = None) -> PretrainedComparison:
    """Weights with about these accuracies in per cent, each slower than the one before; two images are copies."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 4, 4, 3), dtype=np.uint8)
    images[1] = images[0]
    labels = np.arange(IMAGES) // 2 % 4
    split = Split([f"p{index}" for index in range(IMAGES)], labels, list(images))
    splits = {"train": split.subset(np.arange(300)), "test": split.subset(np.arange(300, IMAGES))}
    dataset = Dataset("folder:/tmp/my pets", ("cat", "dog", "고양이", "<b>"), splits, notes=("A note.",))
    cv_folds = make_folds(dataset, folds or 5)
    difficulty = random.permutation(IMAGES) / IMAGES
    model_results = []
    for number, (name, accuracy) in enumerate(accuracies.items(), 1):
        correct = difficulty + random.normal(0, 0.03, IMAGES) < accuracy / 100
        probabilities = np.full((IMAGES, 4), 0.1)
        probabilities[np.arange(IMAGES), np.where(correct, labels, (labels + 1) % 4)] = 0.7
        heads = tuple(
            FittedHead(LinearHead(np.zeros((4, 8)), np.zeros(4)), 10.0 ** -(fold % 2), 0.5, {})
            for fold in range(cv_folds.count)
        )
        cross_validation = CrossValidation(labels, cv_folds.fold_of, probabilities, heads)
        backbone = Backbone(name, Weights("mixer", {}, {}), Preprocess((224, 192)), "")
        model_results.append(
            PretrainedResult(
                name=name,
                provenance=f"Trained by the authors of {name}.",
                backbone=backbone,
                cross_validation=cross_validation,
                scores=cluster_values(cross_validation.correct[None], cv_folds.images.group_ids),
                parameters=10_000_000 * number,
                macs=4_000_000_000 * number,
                inference_mode=ComputeMode("bf16"),
                images_per_second=median_interval([100 / number] * 9, "images/s"),
            )
        )
    return PretrainedComparison(
        dataset=dataset,
        unseen=UnseenImages(dataset, 3, 0, ("Left out: 3 of 403 images.",)),
        cv_folds=cv_folds,
        requested_folds=folds,
        model_results=tuple(model_results),
        baselines={"majority class": proportion_interval(100, IMAGES)},
        margin=1.0,
        environment=ENVIRONMENT,
    )


def test_the_recommendation_comes_first_and_then_the_warning():
    comparison = make_pretrained_comparison(CLEAR)
    answer, _, rest = text_of(pretrained_page(comparison).html()).partition("Weights, not architectures")
    assert comparison.conclusion in answer and comparison.detectable in answer
    assert re.search(r"Top-1 of davit_tiny\.x 9\d\.\d % 95 %: [\d.]+ to [\d.]+, n = 400", answer)
    assert text_of(f"<body>{html_text(WARNING)}") in rest.partition("Results")[0]


def test_weights_within_the_margin_are_recommended():
    assert make_pretrained_comparison(CLEAR).recommendation.recommended == "davit_tiny.x"
    close = make_pretrained_comparison(CLOSE)
    assert close.recommendation.recommended is None
    assert close.conclusion.startswith("No model is within 1 point of the best with 95 % confidence. Best observed: ")
    assert re.search(r"About [\d,]+ test images instead of 400 would likely decide\.$", close.conclusion)
    fastest = replace(close, margin=5.0)
    assert fastest.conclusion.startswith("Use mixer_b16.x: it is at most ")


def test_far_too_few_images_are_stated():
    needed = Needed(seeds=None, image_factor=None, image_part=3.0)
    assert images_needed(needed, images=60) == "100 times as many test images would probably not decide."


def test_the_intervals_of_folds_are_corrected_for_other_training_images():
    comparison = make_pretrained_comparison(CLEAR)
    result = comparison["mixer_b16.x"]
    plain = crossed_interval(result.scores)
    assert plain.low is not None and result.mean_score.low is not None
    ratio = (result.mean_score.value - result.mean_score.low) / (plain.value - plain.low)
    assert ratio == pytest.approx(2.25**0.5, rel=0.05)
    standard_error = rank({each.name: each.scores for each in comparison.model_results}, margin=1).pairs[0].difference
    assert comparison.ranking.pairs[0].difference.standard_error == pytest.approx(1.5 * standard_error.standard_error)


def test_the_report_states_the_limits_of_the_intervals_and_the_provenance():
    text = text_of(pretrained_page(make_pretrained_comparison(CLOSE)).html())
    assert "their spread is not a standard error" in text
    assert "is therefore multiplied by 2.25 (Nadeau and Bengio, 2003)" in text
    assert "Trained by the authors of timm:resnet50.x." in text
    assert "A note." in text
    assert "고양이" in text


def test_the_page_has_the_command_that_repeats_it():
    (command,) = re.findall(
        r"<code>(mixlab compare [^<]*)</code>", pretrained_page(make_pretrained_comparison(CLEAR, folds=4)).html()
    )
    data = "--data &#x27;folder:/tmp/my pets&#x27;"
    assert command == f"mixlab compare {data} --models mixer_b16.x,davit_tiny.x --folds 4 --margin 1"


def test_the_page_has_the_recipe_and_the_command_for_the_recommended_weights():
    comparison = make_pretrained_comparison(CLEAR)
    html = pretrained_page(comparison).html()
    assert escape(tomli_w.dumps(comparison.head_recipe)) in html
    assert escape("mixlab train --data 'folder:/tmp/my pets' --model davit_tiny.x") in html


@pytest.mark.parametrize("split_by_mixlab", [True, False])
def test_merging_the_splits_for_the_folds_is_noted(split_by_mixlab):
    comparison = make_pretrained_comparison(CLEAR)
    html = pretrained_page(
        replace(comparison, dataset=replace(comparison.dataset, split_by_mixlab=split_by_mixlab))
    ).html()
    assert ("All splits were merged before the images were assigned to folds." in html) == split_by_mixlab


def test_results_have_the_keys_of_every_comparison_and_those_of_the_folds(make_comparison):
    results, trained = make_pretrained_comparison(CLOSE).results(), make_comparison({"a": 90.0, "b": 80.0}).results()
    assert list(results) == [*trained, "warning"]
    model, common = results["models"]["davit_tiny.x"], trained["models"]["a"]
    assert list(model)[: len(common)] == list(common)
    assert list(model)[len(common) :] == [
        *("low", "high", "images", "top1_of_folds", "ridges", "temperatures", "weights", "provenance")
    ]
    assert (model["n"], model["sd"], model["images"]) == (1, None, 400)
    assert model["training_macs"] == 400 * 8_000_000_000
    assert results["budget"]["folds"] == len(model["top1_of_folds"]) == 5
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_the_tables_show_ridges_input_sizes_and_groups():
    comparison = make_pretrained_comparison(CLOSE)
    assert [row["model"] for row in choice_table(comparison).rows][-2:] == ["timm:resnet50.x", "majority class"]
    heads = heads_table(comparison)
    assert {row["ridges"] for row in heads.rows} == {"0.1 to 1"}
    assert {row["pixels"] for row in heads.rows} == {"224x192"}
    assert "their spread is not a standard error" in heads.notes[-1]
    assert "over test images, with copies kept together" in pairs_table(comparison).notes[0]


def test_a_single_test_split_mentions_no_folds():
    comparison = make_pretrained_comparison(CLEAR)
    single = replace(comparison, cv_folds=replace(comparison.cv_folds, fold_of=np.zeros(IMAGES, dtype=np.int64)))
    assert single.results()["budget"]["folds"] is None
    assert "folds" not in [column.key for column in heads_table(single).columns]
    assert not any("fold" in note.lower() for note in heads_table(single).notes)
    html = pretrained_page(single).html()
    assert "single folds" not in html and "Nadeau" not in html
    assert "The intervals do not include the variation due to other training images" in html


def test_the_conclusion_warns_if_a_baseline_is_better():
    assert "--from-scratch" in make_pretrained_comparison({"a.x": 20.0, "b.x": 15.0}).conclusion


@pytest.mark.parametrize("index", range(3))
def test_the_tables_fit_a_terminal_of_a_hundred_columns(index, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich treat the output as a terminal
    monkeypatch.setenv("COLUMNS", "100")
    print_table(pretrained_tables(make_pretrained_comparison(CLOSE))[index])
    assert "timm:resnet50.x" in capsys.readouterr().out  # unbroken


def test_the_selection_rule_is_stated_for_the_default_weights(monkeypatch):
    assert "These are the default weights" not in pretrained_page(make_pretrained_comparison(CLEAR)).html()
    monkeypatch.setattr(module, "default_weights", lambda: list(CLEAR))
    assert "These are the default weights" in pretrained_page(make_pretrained_comparison(CLEAR)).html()


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_fits_the_window_without_browser_errors(opened, width):
    content_width, errors = opened(pretrained_page(make_pretrained_comparison(CLOSE)).html(), width)
    assert content_width <= width
    assert errors == ""
