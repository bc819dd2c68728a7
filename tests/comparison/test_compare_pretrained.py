"""Comparison of published weights on photographs, with random weights in the cache of published ones."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixlab.comparison import compare_pretrained as module
from mixlab.comparison.compare_pretrained import compare_pretrained, compares_pretrained
from mixlab.comparison.pretrained_comparison import PretrainedComparison
from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.probes import features
from mixlab.speed.plan import ComputeMode
from mixlab.stats.intervals import median_interval

OURS = ["mixer_nano.test", "convmixer_nano.test"]

Compare = Callable[..., PretrainedComparison]


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def compared(
    default_weights: list[str], photographs: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> Compare:
    """`compare_pretrained` with fixed speeds; the first model is the fastest."""

    def speeds(models: dict[str, Any], device: object, batch: int) -> dict[str, Any]:
        return {
            name: (ComputeMode(), median_interval([100.0 / number] * 9, "images/s"))
            for number, name in enumerate(models, 1)
        }

    monkeypatch.setattr(module, "images_per_second", speeds)

    def compared(models: list[str] = OURS, folds: int | None = None) -> PretrainedComparison:
        return compare_pretrained(models, open_dataset(f"folder:{photographs}"), folds, quiet=True, log=messages.append)

    return compared


@pytest.fixture
def computed_images(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the images whose features were computed, for each call."""
    calls: list[list[str]] = []

    class Recording(features.EvalBatches):
        def __init__(self, split: Any, *arguments: Any, **named: Any):
            calls.append(split.names)
            super().__init__(split, *arguments, **named)

    monkeypatch.setattr(features, "EvalBatches", Recording)
    return calls


def test_the_default_weights_have_the_highest_accuracy_per_mac_of_each_family():
    assert module.default_weights() == [
        "mixer_b16.miil_in21k_ft_in1k",
        "convmixer_1024_20.authors_in1k",
        "davit_tiny.msft_in1k",
        "timm:resnet50.a1_in1k",
    ]


def test_all_weights_read_deep_images_with_one_range(compared, photographs, messages):
    for index, path in enumerate(sorted(photographs.rglob("*.png"))):
        ramp = np.linspace(index, 4000, 64, dtype=np.uint16).reshape(8, 8)
        Image.fromarray(ramp).save(path)
    comparison = compared()
    assert [result.backbone.preprocess.value_range for result in comparison.model_results] == [(0, 4095)] * 2
    assert "Value range of grey images with more than 8 bits: 0 is black and 4095 is white." in messages


def test_the_default_weights_are_evaluated_once_on_every_image(compared, default_weights):
    comparison = compared(default_weights)
    assert comparison.names == default_weights == module.default_weights()
    assert comparison.cv_folds.count == 5
    for result in comparison.model_results:
        assert result.mean_score.n == len(result.cross_validation.labels) == 52
        assert (
            result.cross_validation.correct.mean() > 0.6
        )  # chance is a third; random features still encode the colour
        assert result.scores.shape == (1, 51)  # two images are copies
    assert comparison.recommendation.recommended in (None, comparison.chosen.name)


def test_all_weights_have_the_value_range_of_the_training_images(compared, photographs, messages):
    random = np.random.default_rng(0)
    for file in photographs.rglob("*.png"):
        Image.fromarray(random.integers(0, 4096, (8, 8)).astype(np.uint16)).save(file)
    comparison = compared()
    assert {result.backbone.preprocess.value_range for result in comparison.model_results} == {(0, 4095)}
    assert "Value range of grey images with more than 8 bits: 0 is black and 4095 is white." in messages


def test_all_weights_are_evaluated_on_the_same_images_in_the_same_folds(compared):
    first, second = (result.cross_validation for result in compared().model_results)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.round_of, second.round_of)


def test_a_repeated_comparison_gives_the_same_predictions_and_computes_no_features(compared, computed_images):
    first = compared()
    assert [len(names) for names in computed_images] == [52, 52]
    again = compared()
    assert len(computed_images) == 2
    for before, after in zip(first.model_results, again.model_results, strict=True):
        np.testing.assert_array_equal(before.cross_validation.probabilities, after.cross_validation.probabilities)
    assert first.ranking == again.ranking


def test_other_folds_need_no_new_features(compared, computed_images):
    compared()
    assert compared(folds=3).cv_folds.count == 3
    assert len(computed_images) == 2


def test_with_many_images_only_the_test_split_is_evaluated(compared, monkeypatch):
    monkeypatch.setattr(module, "MIN_IMAGES_FOR_ONE_SPLIT", 52)
    comparison = compared()
    assert comparison.cv_folds.count == 1
    test = comparison.dataset.splits["test"]
    assert comparison.evaluated_split.names == test.names
    assert comparison.evaluation_scheme == "in one test split"
    assert [len(result.cross_validation.heads) for result in comparison.model_results] == [1, 1]
    assert compared(folds=4).cv_folds.count == 4


def test_missing_weights_are_the_error_of_the_loader_with_an_alternative(compared, tmp_path):
    shutil.rmtree(tmp_path / "cache" / "weights" / "convmixer_nano.test")
    with pytest.raises(
        UserError,
        match=r"127\.0\.0\.1:9/weights can't be .* by hand, .* Or use --from-scratch to compare models without",
    ):
        compared()


def test_an_unreadable_image_is_reported_before_any_feature_is_computed(compared, photographs, computed_images):
    (photographs / "dog" / "03.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"dog/03\.png"):
        compared()
    assert computed_images == []


def test_a_single_model_is_rejected(compared):
    with pytest.raises(UserError, match=r"--models mixer_nano\.test is not a comparison: give two or more"):
        compared(OURS[:1])


def test_a_class_with_too_few_images_for_the_folds_is_rejected(compared, photographs):
    with pytest.raises(UserError, match='has 12 different images of "apple", but 13 folds need at least 13'):
        compared(folds=13)
    for number in range(3, 12):
        (photographs / "apple" / f"{number:02d}.png").unlink()
    with pytest.raises(UserError, match=r'few different images of "apple" for separate training, .*: add images'):
        compared(folds=2)


def test_the_result_of_each_model_is_logged(compared, messages):
    compared()
    results = [message for message in messages if message.startswith("[")]
    assert [message.partition(":")[0] for message in results] == ["[1/2] mixer_nano.test", "[2/2] convmixer_nano.test"]
    assert results[0].endswith("% of 52 images")


def test_published_weights_have_a_note_that_their_training_images_are_unknown(compared, messages):
    note = "The training images of mixer_nano.test and convmixer_nano.test are unknown: if evaluated images are among"
    assert compared().unseen.notes[0].startswith(note)
    assert messages[0].startswith(note)


def with_small_images(dataset: Dataset) -> Dataset:
    split = dataset.splits["train"]
    small = [np.asarray(Image.fromarray(split.image(index)).resize((64, 64))) for index in range(len(split))]
    return replace(dataset, splits={**dataset.splits, "train": replace(split, images=small)})


def test_large_images_or_names_of_weights_select_published_weights(default_weights, photographs):
    large = open_dataset(f"folder:{photographs}")
    assert compares_pretrained(None, large)
    assert not compares_pretrained(None, with_small_images(large))
    assert compares_pretrained(OURS, with_small_images(large))
    assert not compares_pretrained(["mixer_nano", "timm:test_vit"], large)


def test_mixing_weights_with_a_model_to_train_is_rejected(default_weights, photographs):
    with pytest.raises(UserError, match=r"mixes mixer_nano\.test, which is pretrained, with davit_nano, which would"):
        compares_pretrained(["davit_nano", "mixer_nano.test"], open_dataset(f"folder:{photographs}"))


def test_the_provenance_of_the_weights_is_given_if_known(compared, photographs, tmp_path):
    mixer, other = compared(["mixer_nano.test", str(tmp_path / "cache" / "weights" / "davit_nano.test")]).model_results
    assert mixer.provenance == "Random weights of a mixer. 50 % on ImageNet-1k validation (nobody)."
    assert other.provenance == "mixlab has no record of how these weights were trained."
