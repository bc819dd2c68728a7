"""Published weights compared on photographs; the weights are random, and their files lie where published ones would."""

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

Compared = Callable[..., PretrainedComparison]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def compared(
    default_weights: list[str], photographs: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> Compared:
    """With invented speeds, the first model's the highest."""

    def speeds(models: dict[str, Any], device: object, batch: int) -> dict[str, Any]:
        return {
            name: (ComputeMode(), median_interval([100.0 / place] * 9, "images/s"))
            for place, name in enumerate(models, 1)
        }

    monkeypatch.setattr(module, "images_per_second", speeds)

    def compared(models: list[str] = OURS, folds: int | None = None) -> PretrainedComparison:
        return compare_pretrained(models, open_dataset(f"folder:{photographs}"), folds, quiet=True, log=said.append)

    return compared


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the images that went through a backbone, call by call."""
    calls: list[list[str]] = []

    class Noted(features.EvalBatches):
        def __init__(self, split: Any, *arguments: Any, **named: Any):
            calls.append(split.names)
            super().__init__(split, *arguments, **named)

    monkeypatch.setattr(features, "EvalBatches", Noted)
    return calls


def test_a_family_s_default_weights_have_the_most_accuracy_for_their_macs():
    assert module.default_weights() == [
        "mixer_b16.miil_in21k_ft_in1k",
        "convmixer_1024_20.authors_in1k",
        "davit_tiny.msft_in1k",
        "timm:resnet50.a1_in1k",
    ]


def test_every_family_and_a_convolutional_network_of_timm_s_judge_every_image_once(compared, default_weights):
    comparison = compared(default_weights)
    assert comparison.names == default_weights == module.default_weights()
    assert comparison.cv_folds.count == 5
    for one in comparison.model_results:
        assert one.top1.n == len(one.answers.labels) == 52
        assert one.answers.correct.mean() > 0.6  # a third is chance; colours pass through random weights
        assert one.correct.shape == (1, 51)  # two are copies
    assert comparison.ranking.recommended is None or comparison.ranking.recommended == comparison.chosen.name


def test_all_are_evaluated_on_the_same_images_in_the_same_folds(compared):
    first, second = (one.answers for one in compared().model_results)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.round_of, second.round_of)


def test_the_same_comparison_gives_the_same_answers_and_no_image_goes_through_a_backbone_again(compared, read):
    first = compared()
    assert [len(names) for names in read] == [52, 52]
    again = compared()
    assert len(read) == 2
    for one, other in zip(first.model_results, again.model_results, strict=True):
        np.testing.assert_array_equal(one.answers.probabilities, other.answers.probabilities)
    assert first.ranking == again.ranking


def test_other_folds_need_no_new_features(compared, read):
    compared()
    assert compared(folds=3).cv_folds.count == 3
    assert len(read) == 2


def test_with_many_images_the_test_part_alone_is_evaluated(compared, monkeypatch):
    monkeypatch.setattr(module, "FEW", 52)
    comparison = compared()
    assert comparison.cv_folds.count == 1
    test = comparison.dataset.splits["test"]
    assert comparison.evaluated.names == test.names
    assert comparison.way == "in one test part"
    assert [len(one.answers.heads) for one in comparison.model_results] == [1, 1]
    assert compared(folds=4).cv_folds.count == 4


def test_weights_that_are_not_here_are_the_loader_s_sentence_and_another_way(compared, tmp_path):
    shutil.rmtree(tmp_path / "cache" / "weights" / "convmixer_nano.test")
    with pytest.raises(
        UserError, match=r"127\.0\.0\.1:9/weights can't be .* by hand, .* without published weights: --"
    ):
        compared()


def test_a_broken_image_shows_before_the_first_feature(compared, photographs, read):
    (photographs / "dog" / "03.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"dog/03\.png"):
        compared()
    assert read == []


def test_one_model_alone_is_refused(compared):
    with pytest.raises(UserError, match=r"--models mixer_nano\.test compares nothing: give two or more"):
        compared(OURS[:1])


def test_a_class_with_too_few_images_for_the_folds_is_refused(compared, photographs):
    with pytest.raises(UserError, match='has 12 different images of "apple", but 13 folds need at least 13'):
        compared(folds=13)
    for number in range(3, 12):
        (photographs / "apple" / f"{number:02d}.png").unlink()
    with pytest.raises(UserError, match=r'few different images of "apple" to fit a head on some, .*: add images'):
        compared(folds=2)


def test_what_goes_on_is_said(compared, said):
    compared()
    assert [sentence.partition(":")[0] for sentence in said[1:3]] == [
        "[1/2] mixer_nano.test",
        "[2/2] convmixer_nano.test",
    ]
    assert said[1].endswith("% of 52 images")


def shrunk(dataset: Dataset) -> Dataset:
    split = dataset.splits["train"]
    small = [np.asarray(Image.fromarray(split.image(index)).resize((64, 64))) for index in range(len(split))]
    return replace(dataset, splits={**dataset.splits, "train": replace(split, images=small)})


def test_photographs_and_names_with_weights_take_published_ones(default_weights, photographs):
    large = open_dataset(f"folder:{photographs}")
    assert compares_pretrained(None, large)
    assert not compares_pretrained(None, shrunk(large))
    assert compares_pretrained(OURS, shrunk(large))
    assert not compares_pretrained(["mixer_nano", "timm:test_vit"], large)


def test_weights_beside_a_model_that_would_be_trained_are_refused(default_weights, photographs):
    with pytest.raises(UserError, match=r"has mixer_nano\.test, which comes with weights, beside davit_nano, which"):
        compares_pretrained(["davit_nano", "mixer_nano.test"], open_dataset(f"folder:{photographs}"))


def test_what_is_known_of_the_weights_is_told(compared, photographs, tmp_path):
    mixer, other = compared(["mixer_nano.test", str(tmp_path / "cache" / "weights" / "davit_nano.test")]).model_results
    assert mixer.provenance == "Random weights of a mixer. 50 % on ImageNet-1k validation (nobody)."
    assert other.provenance == "Nothing is known here of how they were trained."
