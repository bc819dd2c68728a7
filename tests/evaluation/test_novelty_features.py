"""The images of a novelty detector: which are chosen, and their features."""

from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset
from mixlab.evaluation import novelty_features
from mixlab.evaluation.novelty_features import (
    NoveltyFeatures,
    NoveltyImages,
    embed_novelty_images,
    select_novelty_images,
)
from mixlab.evaluation.training_images import TrainingImages, digests_of
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.speed.inference import Inference

NOTHING = TrainingImages()
PREPROCESS = Preprocess((8, 8))


def noise(name: str, n_images: int, seed: int) -> Split:
    images = np.random.default_rng(seed).integers(0, 256, (n_images, 9, 9, 3)).astype(np.uint8)
    return Split([f"{name}/{index}" for index in range(n_images)], np.arange(n_images) % 2, list(images))


@pytest.fixture
def dataset() -> Dataset:
    return Dataset("noise", ("a", "b"), {"train": noise("train", 70, 0), "validation": noise("validation", 45, 1)})


@pytest.fixture
def model() -> Mixer:
    config = MixerConfig(image_size=8, classes=2, patch_size=4, channels=8, token_hidden=8, channel_hidden=8, depth=1)
    return Mixer(config).eval()


def embed(model: Mixer, dataset: Dataset, **share: int) -> NoveltyFeatures:
    images = select_novelty_images(dataset, NOTHING, quiet=True)
    assert images is not None
    images = images.share(**share) if share else images
    return embed_novelty_images(model, PREPROCESS, dataset, images, batch=16, speed="off", quiet=True)


def test_all_images_of_a_small_dataset_are_chosen(dataset):
    images = select_novelty_images(dataset, NOTHING, quiet=True)
    assert images is not None
    assert images.train.tolist() == list(range(70)) and images.validation.tolist() == list(range(45))


def test_of_many_images_a_random_sample_is_chosen_which_is_always_the_same(dataset, monkeypatch):
    monkeypatch.setattr(novelty_features, "MAX_STORED", 20)
    monkeypatch.setattr(novelty_features, "MAX_VALIDATION", 40)
    one, other = (select_novelty_images(dataset, NOTHING, quiet=True) for _ in range(2))
    assert one is not None and other is not None
    assert (len(set(one.train)), len(set(one.validation))) == (20, 40)
    assert one.train.max() > 50, "not the first ones"
    assert np.array_equal(one.train, other.train) and np.array_equal(one.validation, other.validation)


def test_validation_images_that_the_weights_were_trained_on_are_left_out(dataset):
    trained = digests_of(dataset.splits["validation"].subset([3, 7]), quiet=True)
    images = select_novelty_images(dataset, TrainingImages(np.sort(trained)), quiet=True)
    assert images is not None
    assert images.validation.tolist() == [index for index in range(45) if index not in (3, 7)]


def test_validation_images_that_a_checkpoint_was_selected_on_are_not_left_out(dataset):
    selected = TrainingImages(selected=np.sort(digests_of(dataset.splits["validation"], quiet=True)))
    images = select_novelty_images(dataset, selected, quiet=True)
    assert images is not None and len(images.validation) == 45


def test_without_39_unseen_validation_images_none_are_chosen(dataset):
    validation = dataset.splits["validation"]
    trained = TrainingImages(np.sort(digests_of(validation.subset(range(7)), quiet=True)))
    assert select_novelty_images(dataset, trained, quiet=True) is None
    few = replace(dataset, splits={**dataset.splits, "validation": validation.subset(range(38))})
    assert select_novelty_images(few, NOTHING, quiet=True) is None
    none = replace(dataset, splits={"train": dataset.splits["train"]})
    assert select_novelty_images(none, NOTHING, quiet=True) is None


def test_the_features_are_the_embeddings_of_the_preprocessed_images(dataset, model):
    features = embed(model, dataset)
    for name, vectors in (("train", features.train), ("validation", features.validation)):
        split = dataset.splits[name]
        images = torch.stack([PREPROCESS(split.image(index)) for index in range(len(split))])
        with torch.inference_mode():
            expected = model.embed(images).numpy()
        assert np.stack([vectors[index] for index in range(len(split))]) == pytest.approx(expected, abs=1e-6)


def test_the_shares_of_several_processes_make_the_same_detector(dataset, model):
    whole = embed(model, dataset).detector()
    shared = reduce(NoveltyFeatures.__or__, [embed(model, dataset, rank=rank, processes=3) for rank in (2, 0, 1)])
    detector = shared.detector()
    assert whole is not None and detector is not None
    assert detector.features.astype(float) == pytest.approx(whole.features.astype(float), abs=1e-3)
    assert detector.threshold == pytest.approx(whole.threshold, abs=1e-3)


def test_a_process_without_images_has_no_features(dataset, model):
    features = embed(model, dataset, rank=70, processes=71)
    assert (features.train, features.validation) == ({}, {})
    assert features.detector() is None


def test_images_that_cannot_be_read_are_skipped(pets: Path, model):
    dataset = open_dataset(f"folder:{pets}")
    everything = reduce(Split.concat, dataset.splits.values())
    two = replace(dataset, splits={"train": everything, "validation": everything})
    (pets / "cat" / "00.png").write_bytes(b"")
    (missing,) = [index for index, name in enumerate(everything.names) if name.endswith("cat/00.png")]
    features = embed(model, two)
    readable = [index for index in range(len(everything)) if index != missing]
    assert sorted(features.train) == readable
    with torch.inference_mode():
        expected = model.embed(torch.stack([PREPROCESS(everything.image(index)) for index in readable])).numpy()
    assert np.stack([features.train[index] for index in readable]) == pytest.approx(expected, abs=1e-6)


def test_a_process_whose_images_cannot_be_read_has_no_features(pets: Path, model):
    train = open_dataset(f"folder:{pets}").splits["train"]
    for file in pets.rglob("*.png"):
        file.write_bytes(b"")
    images = NoveltyImages(np.array([2, 5]), np.array([], dtype=np.int64))
    dataset = Dataset("pets", ("cat", "dog"), {"train": train, "validation": train})
    features = embed_novelty_images(model, PREPROCESS, dataset, images, batch=16, speed="off", quiet=True)
    assert (features.train, features.validation) == ({}, {})


def test_features_are_computed_under_one_fp32_plan_for_all_images_of_both_splits(dataset, model, monkeypatch):
    jobs = []

    class Recorded(Inference):
        def __init__(self, *arguments: Any, **settings: Any):
            super().__init__(*arguments, **settings)
            jobs.append((settings["speed"], settings["precisions"], settings["number"]))

    monkeypatch.setattr(novelty_features, "Inference", Recorded)
    images = select_novelty_images(dataset, NOTHING, quiet=True)
    assert images is not None
    embed_novelty_images(model, PREPROCESS, dataset, images, batch=16, speed="auto", quiet=True)
    assert jobs == [("auto", ("fp32",), 70 + 45)]
