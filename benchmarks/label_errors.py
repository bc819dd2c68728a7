"""How many flipped labels `mixlab data labels` finds, and how far its estimate is from the true share.

    python benchmarks/label_errors.py --data cifar10 --out benchmarks/results/mine.json

A small ConvMixer is trained on 20,000 training images of CIFAR-10 with their own labels. Then labels of the 10,000 test
images, which it has not seen, are flipped, and the command's method runs on features of the ConvMixer. Three kinds of
errors:

none             no label is flipped, so every suspected label counts as a false alarm
uniform          each flipped label becomes any of the other nine classes with equal probability
class-dependent  each flipped label becomes a similar class (`SIMILAR`)

With 5 % errors, 500 labels are flipped: any 500 if uniform, 50 of each class if class-dependent. CIFAR-10 has wrong
labels of its own, which count as correct here: 0.54 % of the test labels (Northcutt, Athalye and Mueller 2021).

A finished training in --run is used again.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlab.comparison.confident_learning import confident_joint, prune_by_class, prune_by_noise_rate
from mixlab.comparison.label_errors import FOLDS, LabelErrors, find_label_errors
from mixlab.data.dataset import Dataset, Split
from mixlab.data.sources import open_dataset
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.runs.folder import Run
from mixlab.training.launch import launch
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe

TRAINED_PER_CLASS = 2_000
SIMILAR = {
    "airplane": "bird",
    "automobile": "truck",
    "bird": "airplane",
    "cat": "dog",
    "deer": "horse",
    "dog": "cat",
    "frog": "cat",
    "horse": "deer",
    "ship": "airplane",
    "truck": "automobile",
}

Labels = NDArray[np.int64]
Flip = Callable[[Labels, tuple[str, ...], float, np.random.Generator], Labels]


def flip_none(labels: Labels, classes: tuple[str, ...], share: float, rng: np.random.Generator) -> Labels:
    return labels.copy()


def flip_uniform(labels: Labels, classes: tuple[str, ...], share: float, rng: np.random.Generator) -> Labels:
    flipped = labels.copy()
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    flipped[chosen] = (labels[chosen] + rng.integers(1, len(classes), len(chosen))) % len(classes)
    return flipped


def flip_similar(labels: Labels, classes: tuple[str, ...], share: float, rng: np.random.Generator) -> Labels:
    flipped = labels.copy()
    for label, name in enumerate(classes):
        images = np.flatnonzero(labels == label)
        chosen = rng.choice(images, round(share * len(images)), replace=False)
        flipped[chosen] = classes.index(SIMILAR[name])
    return flipped


ERRORS: dict[str, Flip] = {"none": flip_none, "uniform": flip_uniform, "class-dependent": flip_similar}


def main() -> None:
    parser = argparse.ArgumentParser(description="Flip labels of CIFAR-10 and measure how many of them are found.")
    parser.add_argument("--data", default="cifar10", help="cifar10 or cifar10:PATH")
    parser.add_argument("--run", type=Path, default=Path("runs/label-errors-features"), help="folder of the training")
    parser.add_argument("--epochs", type=int, default=12, help="of the training")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are flipped")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write all measurements to this JSON file")
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data)
    run = train_features(dataset, arguments.run, arguments.epochs)
    cells = [
        measure(dataset, run, name, flip, arguments.share, seed)
        for name, flip in ERRORS.items()
        for seed in range(1 if name == "none" else arguments.seeds)
    ]
    results = {
        "date": date.today().isoformat(),
        **machine.describe(),
        "share": arguments.share,
        "epochs": arguments.epochs,
        "trained_images": TRAINED_PER_CLASS * len(dataset.classes),
        "folds": FOLDS,
        "transition": SIMILAR,
        "cells": cells,
    }
    if arguments.out:
        write_json(arguments.out, results)
    print_table(summary(cells))


def train_features(dataset: Dataset, folder: Path, epochs: int) -> Run:
    name = "cifar10_convmixer_nano"
    fields = read_recipe(name) | {
        "data": dataset.name,
        "epochs": epochs,
        "subset": {"per_class": TRAINED_PER_CLASS},
        "augmentation": {"flip": True, "pad_crop": 4},
    }
    return launch(parse_training_recipe(fields, name), dataset, machine.pick_device(), folder, log=print, quiet=False)


def measure(dataset: Dataset, run: Run, errors: str, flip: Flip, share: float, seed: int) -> dict[str, Any]:
    """Shares in per cent. The methods that rank images select as many as the estimated number of errors.

    counted_share  images that are counted off the diagonal of the confident joint, without scaling
    """
    images = dataset.splits["test"]
    labels = flip(images.labels, dataset.classes, share, np.random.default_rng(seed))
    flipped = Dataset("flipped", dataset.classes, {"train": Split(images.names, labels, images.images)})
    found = find_label_errors(flipped, str(run.path), FOLDS, quiet=True, log=print)
    true = dict(zip(images.names, images.labels.tolist(), strict=True))
    original = np.array([true[name] for name in found.predictions.images.names])
    is_wrong = found.labels != original
    count = round(found.wrong_share.value / 100 * len(is_wrong))
    probabilities = found.predictions.probabilities
    confident = confident_joint(found.labels, probabilities)
    methods = {
        "noise rate": np.flatnonzero(prune_by_noise_rate(found.labels, probabilities)),
        "class": np.flatnonzero(prune_by_class(found.labels, probabilities)),
        "margin": np.argsort(found.margins, kind="stable")[:count],
        "margin, first 100": np.argsort(found.margins, kind="stable")[:100],
        "margin, first 500": np.argsort(found.margins, kind="stable")[:500],
        "self-confidence": np.argsort(found.label_probabilities, kind="stable")[:count],
        "other class predicted": np.flatnonzero(found.margins < 0),
    }
    cell = {
        "errors": errors,
        "seed": seed,
        "images": len(is_wrong),
        "left_out": found.predictions.left_out,
        "true_share": 100 * float(is_wrong.mean()),
        "estimated_share": asdict(found.wrong_share),
        "estimated_count": count,
        "counted_share": 100 * float(confident.sum() - confident.trace()) / len(is_wrong),
        "agreement": found.agreement.value,
        "agreement_with_original": 100 * float((probabilities.argmax(axis=1) == original).mean()),
        "suggestion_is_original": suggestion_accuracy(found, original, is_wrong),
        "methods": {name: precision_and_recall(selected, is_wrong) for name, selected in methods.items()},
    }
    print(cell, flush=True)
    return cell


def suggestion_accuracy(found: LabelErrors, original: Labels, is_wrong: NDArray[np.bool_]) -> float | None:
    """For how many of the flipped labels that are suspected, in per cent, the suggestion is the original label."""
    suggested = [
        found.dataset.classes[original[each.index]] == each.suggested for each in found.suspects if is_wrong[each.index]
    ]
    return 100 * fmean(suggested) if suggested else None


def precision_and_recall(selected: NDArray[np.int64], is_wrong: NDArray[np.bool_]) -> dict[str, float]:
    """In per cent; no recall if no label is wrong."""
    right = is_wrong[selected]
    values = {"selected": len(selected), "precision": 100 * float(right.mean())}
    return values | ({"recall": 100 * float(right.sum() / is_wrong.sum())} if is_wrong.any() else {})


def summary(cells: list[dict[str, Any]]) -> Table:
    """One row for each kind of errors and each method: mean and standard deviation over seeds."""
    rows: list[dict[str, Cell]] = []
    for errors in ERRORS:
        group = [cell for cell in cells if cell["errors"] == errors]
        for method in group[0]["methods"]:
            values = [cell["methods"][method] for cell in group]
            row: dict[str, Cell] = {"errors": errors, "method": method}
            row |= {
                key: spread([each[key] for each in values])
                for key in ("selected", "precision", "recall")
                if key in values[0]
            }
            row["estimate"] = spread([cell["estimated_share"]["value"] for cell in group])
            row["truth"] = spread([cell["true_share"] for cell in group])
            rows.append(row)
    columns = [Column(key, key) for key in ("errors", "method", "selected", "precision", "recall", "estimate", "truth")]
    return Table("Flipped labels of CIFAR-10, in per cent: mean ± standard deviation over seeds", columns, rows)


def spread(values: list[float]) -> str:
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    main()
