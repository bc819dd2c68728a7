"""How often the intervals of macro averages and medians contain the true value, in simulations.

    python benchmarks/interval_coverage.py --out benchmarks/results/mine.json

A classifier has a known confusion matrix, so that its true balanced accuracy and macro-F1 are known. Each simulation
draws test images with their predictions and computes the intervals of both metrics. Medians of few values have an
interval of order statistics, which is at least as wide as it has to be.
"""

import argparse
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixlab.evaluation.evaluation import score
from mixlab.evaluation.metrics import balanced_accuracy, macro_f1
from mixlab.files import write_json
from mixlab.report.table import Column, Table, print_table
from mixlab.stats.intervals import median_interval


@dataclass(frozen=True)
class World:
    """Test sets with `images_per_class` images of a class on average.

    accuracy   mean recall of the classes, in per cent; the recalls are spread evenly by up to half of the error rate
    imbalance  images of the most frequent class divided by those of the rarest one; geometric in between
    """

    classes: int
    images_per_class: int
    accuracy: float
    imbalance: float = 1.0

    @property
    def shares(self) -> NDArray[np.float64]:
        """(class,) The share of each class among the images."""
        shares = self.imbalance ** -np.linspace(0, 1, self.classes)
        return shares / shares.sum()

    @property
    def predicted(self) -> NDArray[np.float64]:
        """(class, class) The probability of every prediction for an image of a class."""
        error = (1 - self.accuracy / 100) * np.linspace(0.5, 1.5, self.classes)
        error = np.random.default_rng(0).permutation(error)
        confused = np.random.default_rng(1).dirichlet(np.full(self.classes, 0.5), self.classes)
        np.fill_diagonal(confused, 0)
        matrix = error[:, None] * confused / confused.sum(axis=1, keepdims=True)
        return matrix + np.diag(1 - error)


WORLDS = (
    World(10, 3, 90),
    World(10, 5, 90),
    World(10, 10, 90),
    World(10, 20, 90),
    World(10, 50, 90),
    World(10, 200, 90),
    World(10, 10, 70),
    World(10, 10, 98),
    World(10, 50, 98),
    World(10, 20, 90, imbalance=20),
    World(10, 100, 90, imbalance=20),
    World(100, 5, 80),
    World(100, 20, 80),
)
MEDIAN_SIZES = (6, 7, 10, 20)


def simulate_macro(world: World, simulations: int) -> dict[str, Any]:
    """Percentages of the 95 % intervals that contain the true value, and how many have no bounds."""
    metrics = {"balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}
    names = tuple(map(str, range(world.classes)))
    images = world.classes * world.images_per_class
    joint = world.shares[:, None] * world.predicted
    recall, f1 = np.diag(world.predicted), 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))
    truth = {"balanced_accuracy": 100 * recall.mean(), "macro_f1": 100 * f1.mean()}
    counts = {name: {"covered": 0, "below": 0, "above": 0, "unbounded": 0} for name in metrics}
    for index in range(simulations):
        rng = np.random.default_rng([index, images])
        cells = rng.multinomial(images, joint.ravel())
        labels, predictions = np.divmod(np.repeat(np.arange(cells.size), cells), world.classes)
        logits = torch.nn.functional.one_hot(torch.from_numpy(predictions), world.classes).float()
        evaluation = score(logits, torch.from_numpy(labels), names)
        for name, metric in metrics.items():
            estimate = metric(evaluation)
            counts[name][_outcome(estimate.low, estimate.high, truth[name])] += 1
    cell: dict[str, Any] = asdict(world)
    for name, outcomes in counts.items():
        cell |= {f"{name}_{outcome}": 100 * number / simulations for outcome, number in outcomes.items()}
    print(cell, flush=True)
    return cell


def simulate_median(size: int, simulations: int) -> dict[str, Any]:
    """Log-normal values, as of times, with a median of 1."""
    counts = {"covered": 0, "below": 0, "above": 0, "unbounded": 0}
    rng = np.random.default_rng(size)
    for _ in range(simulations):
        estimate = median_interval(rng.lognormal(0, 0.5, size), "s")
        counts[_outcome(estimate.low, estimate.high, 1.0)] += 1
    return {"values": size, **{outcome: 100 * number / simulations for outcome, number in counts.items()}}


def _outcome(low: float | None, high: float | None, truth: float) -> str:
    """ "below" if the whole interval is below the true value."""
    if low is None or high is None:
        return "unbounded"
    return "below" if high < truth else "above" if low > truth else "covered"


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the coverage of intervals.")
    parser.add_argument("--simulations", type=int, default=1_000, help="for each cell")
    parser.add_argument("--out", type=Path, help="write all rates to this JSON file")
    arguments = parser.parse_args()
    macro = [simulate_macro(world, arguments.simulations) for world in WORLDS]
    medians = [simulate_median(size, arguments.simulations) for size in MEDIAN_SIZES]
    if arguments.out:
        facts = {"date": date.today().isoformat(), "simulations": arguments.simulations}
        write_json(arguments.out, facts | {"macro": macro, "medians": medians})
    for title, cells in (("Macro averages", macro), ("Medians", medians)):
        columns = [Column(key, key.replace("_", " "), digits=1) for key in cells[0]]
        print_table(Table(f"{title}: percentages of the simulations", columns, cells))


if __name__ == "__main__":
    main()
