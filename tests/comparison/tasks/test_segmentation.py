"""`compare` for images with masks, from end to end, and the scores of images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inline import silent
from mixlab.comparison.compare import compare
from mixlab.comparison.compare_page import compare_page
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tasks.segmentation import MASKS, MaskAnswers, mask_baselines, miou
from mixlab.data.dataset import Dataset
from mixlab.data.mask_sources import MASK_KINDS
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.segmentation_evaluation import evaluate_segmentation
from mixlab.tasks.segmentation import miou_of_images
from shape_masks import IGNORED, write_plain


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_plain(tmp_path / "masks", 15)


def opened(folder: Path) -> Dataset:
    return open_dataset(f"masks:{folder}", MASK_KINDS)


def compared(dataset: Dataset, models: tuple[str, ...] = ("mixer_nano", "convmixer_nano"), **given: Any) -> Comparison:
    settings = {"seeds": 2, "epochs": 1, "image_size": (16, 24)} | given
    return compare(models, dataset, ComparisonSettings(**settings), compared=MASKS, quiet=True, log=silent)


def test_the_score_of_an_image_is_its_mean_iou_over_the_classes_it_has():
    truth = np.array([[0, 0, 1, IGNORED], [0, 0, 1, 2]])
    predicted = np.array([[0, 0, 0, 1], [0, 0, 1, 1]])
    assert miou_of_images(predicted[None], truth[None]) == pytest.approx([(4 / 5 + 1 / 3 + 0) / 3])
    assert miou_of_images(np.where(truth == IGNORED, 0, truth)[None], truth[None]) == pytest.approx([1])


def test_the_miou_of_a_resample_counts_the_pixels_of_its_images_together():
    found = MaskAnswers(np.array([[2, 0], [6, 0]]), np.array([[4, 2], [8, 0]]), np.array([[4, 0], [7, 0]]))
    assert miou(found, np.array([[1, 1], [0, 2], [1, 0]])) == pytest.approx([100 * (8 / 12 + 0) / 2, 75.0, 25.0])


@pytest.mark.long
def test_models_are_compared_by_the_mean_over_images_with_the_miou_of_evaluate_beside_it(masks):
    comparison = compared(opened(masks))
    results = comparison.results()
    for one in comparison.model_results:
        assert one.scores.shape == (2, len(comparison.dataset.splits["test"]))
        assert results["models"][one.name]["image_miou"] == [100 * scores.mean() for scores in one.scores]
        evaluated = [evaluate_segmentation(str(run.folder), None, quiet=True) for run in one.trained]
        assert one.set_metric is not None
        assert one.set_metric.value == pytest.approx(np.mean([each.scores.summary["miou"].value for each in evaluated]))
        for each, scores in zip(evaluated, one.scores, strict=True):
            assert 100 * scores == pytest.approx(each.scores.image_mious())
    assert results["task"] == "segmentation"


@pytest.mark.long
def test_the_page_names_the_score_and_lists_the_classes(masks):
    html = compare_page(compared(opened(masks))).html()
    for content in ("Image mIoU by seed", "Image mIoU: the mean IoU", "mIoU of ", "--task segmentation", "square"):
        assert content in html


@pytest.mark.long
def test_without_an_image_size_all_models_have_that_of_the_recipe(masks):
    candidates = compared(opened(masks), seeds=1, image_size=None, match="parameters").model_results
    first, other = (one.candidate for one in candidates)
    assert first.job.architecture.image_size == other.job.architecture.image_size == (96, 128)
    assert other.parameters == pytest.approx(first.parameters, rel=0.1)


def test_the_baseline_by_position_knows_where_a_class_usually_is(tmp_path):
    root = tmp_path / "halves"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(12):
        rows = 20 + number % 3
        Image.fromarray(random.integers(0, 255, (rows, 16, 3), dtype=np.uint8)).save(root / f"images/{number}.png")
        mask = np.zeros((rows, 16), np.uint8)
        mask[rows // 2 + 1 :] = 1
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    (root / "classes.txt").write_text("sky\nroad\n")
    baselines = mask_baselines(opened(root))
    assert baselines["majority class by position"].value > 90
    assert 20 < baselines["majority class"].value < 35


def test_a_test_mask_without_labelled_pixels_is_reported_before_the_first_training(masks):
    dataset = opened(masks)
    name = Path(dataset.splits["test"].names[0]).stem
    Image.fromarray(np.full((24, 32), IGNORED, np.uint8)).save(masks / "masks" / f"{name}.png")
    with pytest.raises(UserError, match=rf"No pixel of the test image .*{name}.* is labelled, so it can't be scored"):
        compared(opened(masks))
