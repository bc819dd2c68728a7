"""Speed and memory of the probes, beside bare matrix products and scikit-learn.

    python benchmarks/probes.py --out benchmarks/results/mine.json

Few-shot classification is timed beside the products and the solution of its formula with the matrices in memory, and
nearest neighbours beside scikit-learn's brute force, both with interleaved timing. The features are random. Peak memory
is that of the fit, beyond the features, relative to the Gram matrix in float64.
"""

import argparse
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve
from sklearn.neighbors import KNeighborsClassifier

from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.few_shot import CONSTANT, PENALTY, draw, fit_few_shot
from mixlab.evaluation.probes.knn import KNN, TEMPERATURE
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.report.table import Column, Table, print_table

NEIGHBOURS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the probes beside bare products and scikit-learn.")
    parser.add_argument("--images", type=int, default=50_000, help="training images (default 50,000)")
    parser.add_argument("--channels", type=int, default=768, help="width of the features (default 768)")
    parser.add_argument("--classes", type=int, default=1_000, help="number of classes (default 1,000)")
    parser.add_argument("--queries", type=int, default=1_000, help="images that neighbours classify (default 1,000)")
    parser.add_argument("--rounds", type=int, default=7, help="number of samples (default 7)")
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    shape = (arguments.images, arguments.channels)
    values = rng.standard_normal(shape, dtype=np.float32)
    labels = np.arange(arguments.images) % arguments.classes
    members = draw(labels, arguments.classes, arguments.images // arguments.classes, seed=0)
    queries = rng.standard_normal((arguments.queries, arguments.channels), dtype=np.float32)

    few_shot = interleaved(
        {
            "mixlab": partial(fit_few_shot, values, members),
            "products": bare_products(values, labels, arguments.classes),
            "gram": bare_gram(values, arguments.classes),
        },
        arguments.rounds,
        warmup=1,
    )
    neighbours = interleaved(knn_callables(values, labels, queries, arguments.classes), arguments.rounds, warmup=1)
    ratios = {
        "few-shot: bare products and solution / mixlab": speed_ratio(few_shot["mixlab"], of=few_shot["products"]),
        "few-shot: bare Gram matrix and solution / mixlab": speed_ratio(few_shot["mixlab"], of=few_shot["gram"]),
        "neighbours: scikit-learn, cosine / mixlab": speed_ratio(neighbours["mixlab"], of=neighbours["cosine"]),
        "neighbours: scikit-learn, Euclidean / mixlab": speed_ratio(neighbours["mixlab"], of=neighbours["euclidean"]),
    }
    memory = peak_memory(partial(fit_few_shot, values, members))
    gram_bytes = 8 * arguments.channels**2
    if arguments.out:
        results = {
            "date": date.today().isoformat(),
            "machine": machine.describe(torch.device("cpu")),
            "settings": {key: value for key, value in vars(arguments).items() if key != "out"},
            "few_shot_seconds": few_shot,
            "neighbours_seconds": neighbours,
            "few_shot_peak_bytes": memory,
            "gram_bytes": gram_bytes,
            "features_bytes": values.nbytes,
            "speed_ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
        }
        write_json(arguments.out, results | {"claims": claims(results)})
    rows = [{"ratio": name, "value": ratio} for name, ratio in ratios.items()]
    columns = [Column("ratio", "time ratio"), Column("value", "value", digits=2, uncertainty="interval")]
    note = f"Peak memory of few-shot beyond the features: {memory / gram_bytes:.1f} Gram matrices."
    print_table(Table("Speed ratio: above 1, mixlab is faster", columns, rows, [note]))


def claims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    settings = results["settings"]
    what = f"fp32 features of {settings['images']:,} images, {settings['channels']:,} channels"
    return [
        {"claim": f"{what}, {name.replace(': ', ': seconds of ')}", "value": ratio}
        for name, ratio in results["speed_ratios"].items()
    ]


def bare_products(values: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> Callable[[], object]:
    """The formula with its matrices in memory: normalised features with the constant, and one-hot targets."""
    standard = np.column_stack([(values - values.mean(axis=0)) / values.std(axis=0), np.full(len(values), CONSTANT)])
    standard = standard.astype(np.float32)
    targets = 2 * np.eye(classes, dtype=np.float32)[labels] - 1
    penalty = PENALTY * np.eye(standard.shape[1], dtype=np.float32)
    return lambda: solve(standard.T @ standard + penalty, standard.T @ targets, assume_a="pos")


def bare_gram(values: NDArray[np.float32], classes: int) -> Callable[[], object]:
    """The Gram matrix and the solution alone, without a product for the targets."""
    projected = np.ones((values.shape[1], classes), dtype=np.float32)
    penalty = PENALTY * np.eye(values.shape[1], dtype=np.float32)
    return lambda: solve(values.T @ values + penalty, projected, assume_a="pos")


def knn_callables(
    values: NDArray[np.float32], labels: NDArray[np.int64], queries: NDArray[np.float32], classes: int
) -> dict[str, Callable[[], object]]:
    """The same vote by mixlab and by scikit-learn, whose Euclidean distances of unit vectors have a faster search."""
    names = [str(label) for label in range(classes)]
    fitted = KNN(NEIGHBOURS).fit(Features(values, labels, {}), None, names).classifier
    unit, unit_queries = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (values, queries))
    callables: dict[str, Callable[[], Any]] = {"mixlab": partial(fitted.predict, queries)}
    for metric, similarity in (("cosine", lambda d: 1 - d), ("euclidean", lambda d: 1 - d**2 / 2)):
        weights: Any = lambda distances, similarity=similarity: np.exp(similarity(distances) / TEMPERATURE)  # noqa: E731
        model = KNeighborsClassifier(NEIGHBOURS, metric=metric, algorithm="brute", weights=weights).fit(unit, labels)
        callables[metric] = partial(model.predict, unit_queries)
    answers = [call() for call in callables.values()]
    for other in answers[1:]:
        assert (answers[0] == other).mean() > 0.99, "mixlab and scikit-learn disagree"  # up to ties and rounding
    return callables


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes that numpy allocates at most during a call."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main()
