"""How often the recommendation of `mixlab compare` is wrong, in simulations with known accuracies.

    python benchmarks/recommendation.py --out benchmarks/results/mine.json

An image is correct if  ability + seed + difficulty + interaction + noise
> 0.  All terms except ability are normally distributed: the difficulty of an image is the same for every model, the
interaction belongs to an image and a model, the noise to a single training. The true accuracies are therefore known.

The second part fits ridge heads on synthetic features and measures how often the intervals of a cross-validation
contain the accuracy of heads that are fitted on other training images (`--part folds`).
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mixlab.comparison.cross_validation import cross_validate, variance_factor
from mixlab.data.folds import Round
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import RIDGES
from mixlab.files import write_json
from mixlab.report.table import Column, Table, print_table
from mixlab.stats.best import behind_the_best
from mixlab.stats.paired import crossed_bootstrap, crossed_interval
from mixlab.stats.stability import may_be_best, unstable

DIFFICULTY, INTERACTION, NOISE = 1.5, 0.7, 1.0  # standard deviations
FAILED = 80.0  # per cent
MARGIN = 1.0  # percentage points


@dataclass(frozen=True)
class World:
    """Models with known accuracies. The last one is the fastest, so that it is recommended if its bound allows it.

    accuracies  in per cent, of trainings that do not fail
    spreads     standard deviations over seeds, in percentage points
    failures    the share of the trainings of the last model that fail, with an accuracy of `FAILED` per cent
    """

    name: str
    accuracies: tuple[float, ...]
    spreads: tuple[float, ...]
    seeds: tuple[int, ...] = (3, 5, 8, 10)
    failures: float = 0.0

    @property
    def behind(self) -> NDArray[np.float64]:
        """(model,) How far each model truly is behind the best, in percentage points."""
        *others, last = self.accuracies
        true = np.array([*others, (1 - self.failures) * last + self.failures * FAILED])
        return true.max() - true


WORLDS = (
    World("equal", (98.0,) * 5, (0.3,) * 5),
    World("one is 2 points worse", (98.0,) * 4 + (96.0,), (0.3,) * 5),
    World("four are 1.2 points worse", (98.2,) + (97.0,) * 4, (0.3,) * 5),
    World("one is unstable, 11 points worse", (98.0,) * 4 + (87.0,), (0.3,) * 4 + (7.0,)),
    World("one is unstable, 3 points worse", (98.0,) * 4 + (95.0,), (0.3,) * 4 + (3.0,)),
    World("one fails in 1 of 5 trainings", (98.0,) * 5, (0.3,) * 5, failures=0.2),
    World("two models, 1.02 points apart", (98.0, 96.98), (0.3, 0.3), (2, 3, 5)),
    World("the worse one varies 10 times as much", (98.0, 96.98), (0.1, 1.0), (2, 3, 5, 10)),
)
IMAGES = (510, 10_000)


def simulate(world: World, seeds: int, images: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """For each model (seed, image): whether each image is correct."""
    scale = math.hypot(DIFFICULTY, INTERACTION, NOISE)
    difficulty = DIFFICULTY * rng.standard_normal(images, dtype=np.float32)
    correct = []
    for index, (accuracy, spread) in enumerate(zip(world.accuracies, world.spreads, strict=True), start=1):
        point = float(ndtri(accuracy / 100))
        points_per_unit = 100 * math.exp(-(point**2) / 2) / math.sqrt(2 * math.pi) / scale
        seed_scale = spread / points_per_unit
        ability = point * math.hypot(scale, seed_scale)
        seed = rng.normal(0, seed_scale, (seeds, 1)).astype(np.float32)
        if index == len(world.accuracies):
            seed[rng.random(seeds) < world.failures] = scale * (ndtri(FAILED / 100) - point)
        interaction = INTERACTION * rng.standard_normal(images, dtype=np.float32)
        noise = NOISE * rng.standard_normal((seeds, images), dtype=np.float32)
        correct.append(ability + seed + difficulty + interaction + noise > 0)
    return correct


def simulate_recommendations(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        _rates(world, seeds, images, arguments.simulations, arguments.resamples)
        for world in WORLDS
        for seeds, images in product(world.seeds, IMAGES)
    ]


def _rates(world: World, seeds: int, images: int, simulations: int, resamples: int) -> dict[str, Any]:
    """Percentages of the simulations."""
    outcomes = [
        _outcome(simulate(world, seeds, images, np.random.default_rng([index, seeds, images])), world.behind, resamples)
        for index in range(simulations)
    ]
    rates = {key: 100 * float(np.mean([outcome[key] for outcome in outcomes])) for key in outcomes[0]}
    cell = {"world": world.name, "seeds": seeds, "images": images, **rates}
    print(cell, flush=True)
    return cell


def _outcome(correct: list[NDArray[np.bool_]], behind: NDArray[np.float64], resamples: int) -> dict[str, bool]:
    """What happens in one simulation; `behind` is how far each model truly is behind the best.

    covered         every bound is at least the true distance
    decided         a model is recommended
    wrong           the recommended model is truly more than the margin behind the best
    observed_wrong  the best observed of the stable models is
    unstable_last   the last model is unstable
    unstable_other  another one is
    """
    accuracies = np.stack([each.mean(axis=1) for each in correct])
    is_unstable = unstable(100 * accuracies, MARGIN)
    possible_best = may_be_best(accuracies, is_unstable)
    bounds = np.array(behind_the_best(correct, may_be_best=possible_best, resamples=resamples))
    within = np.flatnonzero((bounds <= MARGIN) & ~is_unstable)
    observed = np.argmax(np.where(is_unstable, -np.inf, accuracies.mean(axis=1)))
    return {
        "covered": bool((bounds >= behind - 1e-9).all()),
        "decided": within.size > 0,
        "wrong": within.size > 0 and bool(behind[within[-1]] > MARGIN),
        "observed_wrong": bool(behind[observed] > MARGIN),
        "unstable_last": bool(is_unstable[-1]),
        "unstable_other": bool(is_unstable[:-1].any()),
    }


@dataclass(frozen=True)
class FoldsWorld:
    """Features of two models, of which the second has more noise, for `classes` Gaussian classes."""

    images: int
    folds: int
    classes: int
    channels: int
    separation: float


FOLDS_WORLDS = (
    FoldsWorld(150, 5, 2, 32, 1.2),
    FoldsWorld(200, 5, 4, 64, 1.6),
    FoldsWorld(500, 5, 10, 64, 2.5),
    FoldsWorld(1000, 5, 4, 64, 1.6),
    FoldsWorld(2000, 5, 10, 64, 2.5),
    FoldsWorld(150, 10, 2, 32, 1.2),
    FoldsWorld(200, 2, 4, 64, 1.6),
)


def simulate_folds(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    return [_coverage(world, arguments.simulations, arguments.resamples) for world in FOLDS_WORLDS]


def _coverage(world: FoldsWorld, simulations: int, resamples: int) -> dict[str, Any]:
    """Percentages of 95 % intervals that contain the accuracy of a head of a round, averaged over all simulations."""
    large = _features(world, 20_000, np.random.default_rng(10**6))
    accuracies, answers = [], []
    for index in range(simulations):
        rng = np.random.default_rng(index)
        models = _features(world, world.images, rng)
        rounds = list(_rounds(models[0].labels, world, rng))
        fits = [cross_validate(model, rounds, world.classes, RIDGES) for model in models]
        accuracies.append([fit.heads[0].head.top1(test) for fit, test in zip(fits, large, strict=True)])
        answers.append([fit.correct[None] for fit in fits])
    truth = np.mean(accuracies, axis=0)
    cell = {**asdict(world), "top1": float(truth[0]), "difference": float(truth[0] - truth[1])}
    for name, factor in (("plain", 1.0), ("corrected", variance_factor(world.folds))):
        one = [crossed_interval(a, image_variance_factor=factor) for a, _ in answers]
        pairs = [crossed_bootstrap(a, b, image_variance_factor=factor, resamples=resamples) for a, b in answers]
        cell[f"accuracy_{name}"] = 100 * float(np.mean([_contains(each, truth[0]) for each in one]))
        cell[f"difference_{name}"] = 100 * float(np.mean([_contains(each, truth[0] - truth[1]) for each in pairs]))
        bounds = [behind_the_best(pair, image_variance_factor=factor, resamples=resamples) for pair in answers]
        covered = [np.all(np.array(each) >= truth.max() - truth - 1e-9) for each in bounds]
        cell[f"bound_{name}"] = 100 * float(np.mean(covered))
    print(cell, flush=True)
    return cell


def _contains(interval: Any, value: float) -> bool:
    return interval.low <= value <= interval.high


def _features(world: FoldsWorld, images: int, rng: np.random.Generator) -> list[Features]:
    mixing = np.random.default_rng(99)
    labels = np.arange(images) % world.classes
    latent = world.separation * np.eye(world.classes)[labels] + rng.normal(0, 1, (images, world.classes))
    return [
        Features(
            (
                latent @ mixing.normal(0, 0.5, (world.classes, world.channels))
                + rng.normal(0, noise, (images, world.channels))
            ).astype(np.float32),
            labels,
            {},
        )
        for noise in (1.0, 1.15)
    ]


def _rounds(labels: NDArray[np.int64], world: FoldsWorld, rng: np.random.Generator) -> Iterator[Round]:
    """Stratified folds; a tenth of the images outside a fold is the validation set."""
    fold_of = np.empty(len(labels), dtype=np.int64)
    for label in range(world.classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold_of[members] = (np.arange(len(members)) + label) % world.folds
    for fold in range(world.folds):
        outside = rng.permutation(np.flatnonzero(fold_of != fold))
        held_out = len(outside) // 10
        yield Round(outside[held_out:], outside[:held_out], np.flatnonzero(fold_of == fold))


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate comparisons with known accuracies.")
    parser.add_argument("--part", choices=["recommendations", "folds"], default="recommendations")
    parser.add_argument("--simulations", type=int, default=1_000, help="for each cell")
    parser.add_argument("--resamples", type=int, default=199, help="of each bootstrap; mixlab compare uses 10,000")
    parser.add_argument("--out", type=Path, help="write all rates to this JSON file")
    arguments = parser.parse_args()
    cells = {"recommendations": simulate_recommendations, "folds": simulate_folds}[arguments.part](arguments)
    results = {
        "date": date.today().isoformat(),
        "simulations": arguments.simulations,
        "resamples": arguments.resamples,
        "margin": MARGIN,
        "cells": cells,
    }
    if arguments.out:
        write_json(arguments.out, results)
    columns = [Column(key, key.replace("_", " "), digits=1) for key in cells[0]]
    print_table(Table("Percentages of the simulations", columns, cells))


if __name__ == "__main__":
    main()
