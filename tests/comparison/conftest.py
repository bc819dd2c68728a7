"""Synthetic comparisons: random predictions in the data structures that `compare` returns."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inline import train_inline
from mixlab.comparison.candidates import Candidate
from mixlab.comparison.comparison import Comparison, ModelResult
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tasks.classification import IMAGES
from mixlab.comparison.trainings import Trained
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.evaluation import score
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.stats.intervals import median_interval, proportion_interval
from mixlab.training import runner
from mixlab.training.job import Job
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.training.training import Training
from mixlab.zoo.architecture import Architecture

ENVIRONMENT = {
    "device": "a test processor, 2 cores",
    "device_type": "cpu",
    "processor": "a test processor",
    "cores": 2,
    "threads": 1,
    "memory_bytes": 8 * 2**30,
    "system": "Linux",
    "versions": {"python": "3.11.7", "mixlab": "0.1.0", "torch": "2.15.0"},
    "commit": "0123456789abcdef",
}
DIGITS = tuple("0123456789")

MakeComparison = Callable[..., Comparison]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Training]:
    """All trainings, in the order of their start. They run in this process."""
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    trainings: list[Training] = []

    def train_here(training: Training, *, waits: bool):
        trainings.append(training)
        return train_inline(training, waits=waits)

    monkeypatch.setattr(runner, "_start", train_here)
    return trainings


@pytest.fixture
def make_comparison() -> MakeComparison:
    return _make_comparison


def _make_comparison(
    accuracies: Mapping[str, float],
    *,
    seeds: int = 3,
    classes: Sequence[str] = DIGITS,
    n_images: int = 200,
    epochs: int = 4,
    data: str = "digits",
    recipes: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    margin: float = 1.0,
) -> Comparison:
    """A comparison of models with about these accuracies (per cent), in the order in which a user names them.

    The same images are difficult for all models. Each model is slower than the one before it.
    """
    random = np.random.default_rng(0)
    dataset = _dataset(data, classes, n_images, notes, random)
    difficulty = random.permutation(n_images) / n_images
    model_results = []
    for index, (name, accuracy) in enumerate(accuracies.items()):
        recipe_name = (recipes or {}).get(name, "digits_mixer")
        job = Job(
            recipe=parse_training_recipe(
                read_recipe(recipe_name) | {"model": name, "data": data, "epochs": epochs}, recipe_name
            ),
            dataset=dataset,
            architecture=_architecture(name, parameters=300_000 + 5_000 * index, macs=20_000_000),
            preprocess=Preprocess((8, 8)),
            device=torch.device("cpu"),
        )
        seconds = 20.0 + 3 * index
        model_results.append(
            ModelResult(
                candidate=Candidate(name, recipe_name, job),
                plan=Plan("cpu", ComputeMode(), micro_batch=job.batch),
                trained=tuple(_training(accuracy, difficulty, dataset, epochs, seconds, random) for _ in range(seeds)),
                inference_mode=ComputeMode("bf16", "channels_last"),
                images_per_second=median_interval(6_000 / (1 + index) * random.normal(1, 0.02, 9), "images/s"),
            )
        )
    return Comparison(
        compared=IMAGES,
        dataset=dataset,
        settings=ComparisonSettings(seeds=seeds, epochs=epochs),
        model_results=tuple(model_results),
        baselines={
            "majority class": proportion_interval(n_images // 10, n_images),
            "1-nearest neighbour": proportion_interval(n_images * 9 // 10, n_images),
        },
        margin=margin,
        environment=ENVIRONMENT,
    )


def _architecture(name: str, *, parameters: int, macs: int) -> Architecture:
    """An architecture with fixed counts instead of those of a model."""
    architecture = Architecture(name, "mixer", {})
    vars(architecture).update(parameters=parameters, macs=macs)
    return architecture


def _dataset(
    name: str, classes: Sequence[str], n_images: int, notes: Sequence[str], random: np.random.Generator
) -> Dataset:
    images = random.integers(0, 256, (n_images, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(n_images) % len(classes)
    split = Split([f"{name}/{index:04d}" for index in range(n_images)], labels, list(images))
    return Dataset(name, tuple(classes), {"train": split, "test": split}, tuple(notes))


def _training(
    accuracy: float,
    difficulty: np.ndarray,
    dataset: Dataset,
    epochs: int,
    seconds: float,
    random: np.random.Generator,
) -> Trained:
    """Errors are on the most difficult images, with some noise; a wrong prediction is one of the next two classes."""
    labels, count = dataset.splits["test"].labels, len(dataset.classes)
    noisy = difficulty + random.normal(0, 0.03, len(labels))
    correct = noisy <= np.quantile(noisy, min(accuracy + random.normal(0, 0.2), 100) / 100)
    predictions = np.where(correct, labels, (labels + random.integers(1, 3, len(labels))) % count)
    confidence = random.uniform(0.6, 1, len(labels))
    logits = np.repeat(np.log((1 - confidence[:, None]) / max(count - 1, 1)), count, axis=1)
    logits[np.arange(len(labels)), predictions] = np.log(confidence)
    losses = 0.5 + 1.8 * np.exp(-np.arange(1, epochs + 1) / epochs * 3) + random.normal(0, 0.02, epochs)
    evaluation = score(torch.from_numpy(logits), torch.from_numpy(labels), dataset.classes)
    return Trained(
        folder=Path("runs/synthetic"),
        evaluation=evaluation,
        scores=evaluation.correct,
        epochs=tuple(
            {"epoch": epoch, "train": {"loss": float(loss), "top1": 50.0}, "seconds": seconds * epoch / epochs}
            for epoch, loss in enumerate(losses, start=1)
        ),
        training_seconds=seconds + random.normal(0, 0.4),
        images=epochs * len(labels),
        peak_bytes=600 * 2**20,
    )
