"""`compare` for several labels per image, from end to end, and the scores of images."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

from inline import silent
from mixlab.comparison.compare import compare
from mixlab.comparison.compare_page import compare_page
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tasks.multilabel import LABELS, LabelAnswers, mean_average_precision
from mixlab.data.dataset import Dataset
from mixlab.data.multilabel_sources import MULTILABEL_KINDS
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.tasks.multilabel import MULTILABEL, f1_of_images

COLOURS = ("red", "green", "blue")


@pytest.fixture
def shapes(tmp_path: Path) -> Dataset:
    """Sixty images of 8x8 pixels with up to three bright channels."""
    random, rows = np.random.default_rng(0), [("path", "labels")]
    for number in range(60):
        present = random.random(3) < 0.5
        pixels = random.integers(0, 40, (8, 8, 3)) + 200 * present
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number:02d}.png")
        rows.append((f"{number:02d}.png", "|".join(np.array(COLOURS)[present])))
    with (tmp_path / "shapes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return open_dataset(f"csv:{tmp_path / 'shapes.csv'}", MULTILABEL_KINDS)


def compared(dataset: Dataset, models: tuple[str, ...] = ("mixer_nano", "vit_nano"), **settings: Any) -> Comparison:
    settings = {"seeds": 2, "epochs": 1, "image_size": 8} | settings
    return compare(models, dataset, ComparisonSettings(**settings), compared=LABELS, quiet=True, log=silent)


def test_the_score_of_an_image_is_the_f1_of_its_labels():
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)
    predicted = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    assert f1_of_images(predicted, truth) == pytest.approx([0.5, 1, 1, 0, 0])
    mean = f1_score(truth, predicted, average="samples", zero_division=1.0)  # pyright: ignore[reportArgumentType]
    assert f1_of_images(predicted, truth).mean() == pytest.approx(mean)


def test_the_map_of_a_resample_is_that_of_its_images():
    random = np.random.default_rng(0)
    found = LabelAnswers(random.random((30, 3)).astype(np.float32), random.random((30, 3)) < 0.4)
    times = np.bincount(random.integers(30, size=30), minlength=30)
    images = np.repeat(np.arange(30), times)
    expected = 100 * float(average_precision_score(found.truth[images], found.probabilities[images], average="macro"))
    assert mean_average_precision(found, times[None]) == pytest.approx([expected])


@pytest.mark.long
def test_models_are_compared_by_the_mean_over_images_with_the_map_beside_it(shapes):
    comparison = compared(shapes)
    results = comparison.results()
    for one in comparison.model_results:
        answers = one.trained[0].evaluation
        assert one.trained[0].scores == pytest.approx(MULTILABEL.sample_score.of(answers.predicted, answers.truth))
        assert results["models"][one.name]["image_f1"] == [100 * scores.mean() for scores in one.scores]
        assert one.set_metric is not None and results["models"][one.name]["mAP"]["value"] == one.set_metric.value
        values = [mean_average_precision(run.evaluation, np.ones((1, 12)))[0] for run in one.trained]
        assert one.set_metric.value == pytest.approx(np.mean(values))
    assert results["task"] == "multilabel"
    assert list(results["baselines"]) == ["most frequent labels", "1-nearest neighbour"]


@pytest.mark.long
def test_the_page_names_the_score_and_lists_the_labels(shapes):
    html = compare_page(compared(shapes)).html()
    for content in ("Image F1 by seed", "Image F1: F1 of the labels", "mAP of ", "--task multilabel", *COLOURS):
        assert content in html
    assert "accuracy" not in html.lower()


@pytest.mark.parametrize("model", ["mixer_b16.gsam_in1k", "timm:resnet50.a1_in1k"])
def test_published_weights_are_refused(shapes, model):
    with pytest.raises(UserError, match=r"is pretrained, but --task multilabel trains all models from scratch"):
        compared(shapes, ("mixer_nano", model))


def test_tuning_is_refused(shapes):
    with pytest.raises(UserError, match=r"--tune 2 .* can't be used with --task multilabel, so remove it\."):
        compared(shapes, tune=2)
