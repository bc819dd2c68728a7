"""Time of the statistics of a paired comparison, over 5 trainings of each model and 10,000 images.

    python benchmarks/paired_statistics.py --out benchmarks/results/mine.json

Goal: less than 2 s for the crossed bootstrap with 10,000 resamples. The alternative is a bootstrap that draws the
indices of images and seeds for every resample, as in numpy code that does not count equal images; it is timed with
fewer resamples and scaled. The functions take turns, so that a slowdown of the machine affects all of them.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.report.table import Column, Table, print_table
from mixlab.stats.equivalence import crossed_equivalence
from mixlab.stats.intervals import median_interval
from mixlab.stats.paired import crossed_bootstrap, crossed_t

RESAMPLES, NAIVE_RESAMPLES = 10_000, 200
GOAL = 2.0  # seconds


def naive_bootstrap(a: NDArray[np.bool_], b: NDArray[np.bool_], resamples: int) -> NDArray[np.float64]:
    """(resample,) Percentile replicates: every resample draws the indices of its images and seeds."""
    rng = np.random.default_rng(0)
    replicates = np.empty(resamples)
    for index in range(resamples):
        images = rng.integers(a.shape[1], size=a.shape[1])
        rows_a, rows_b = rng.integers(len(a), size=len(a)), rng.integers(len(b), size=len(b))
        replicates[index] = a[rows_a][:, images].mean() - b[rows_b][:, images].mean()
    return replicates


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the statistics of a paired comparison.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, help="write all times to this JSON file")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    difficulty = rng.random(arguments.images)
    a, b = (rng.random((arguments.seeds, arguments.images)) < accuracy**difficulty for accuracy in (0.8, 0.78))
    functions: dict[str, tuple[Callable[[], object], float]] = {
        "crossed bootstrap": (lambda: crossed_bootstrap(a, b, resamples=RESAMPLES), 1),
        "equivalence": (lambda: crossed_equivalence(a, b, 1.0, resamples=RESAMPLES), 1),
        "closed form": (lambda: crossed_t(a, b), 1),
        "indices of every resample": (
            lambda: naive_bootstrap(a, b, NAIVE_RESAMPLES),
            RESAMPLES / NAIVE_RESAMPLES,
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(arguments.rounds):
        for name, (function, scale) in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(scale * (time.perf_counter() - start))
    medians = {name: median_interval(seconds, "s") for name, seconds in times.items()}
    if arguments.out:
        results = {
            "date": date.today().isoformat(),
            "machine": machine.describe(),
            "seeds": arguments.seeds,
            "images": arguments.images,
            "resamples": RESAMPLES,
            "seconds": times,
            "medians": {name: asdict(median) for name, median in medians.items()},
        }
        write_json(arguments.out, results)
    rows = [{"function": name, "seconds": median} for name, median in medians.items()]
    columns = [Column("function", "function"), Column("seconds", "time", "s", digits=4, uncertainty="interval")]
    title = f"{RESAMPLES:,} resamples over {arguments.seeds} seeds x {arguments.images:,} images"
    print_table(Table(title, columns, rows, [f"Goal of the crossed bootstrap: below {GOAL} s."]))


if __name__ == "__main__":
    main()
