"""Speed of training steps under mixlab's plan, beside the best stock mode of PyTorch.

    python benchmarks/training.py --out benchmarks/results/DATE-DEVICE-training.json
    python benchmarks/training.py --models convmixer_1024_20 --batch 64 --against eager,compiled --out mine.json

A step is forward pass, cross-entropy, backward pass and AdamW on random images. For each model, mixlab selects its
plan, and each peer its fastest precision and layout; these forms then take turns. "eager" and "compiled" are stock
PyTorch. The default models are those with a goal on this kind of device.

`docs/performance.md` is generated from the result file by benchmarks/performance_page.py.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from mixlab.benchmark.benchmark import Settings, benchmark
from mixlab.benchmark.peers import parse_against
from mixlab.benchmark.tables import model_table
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.report.table import print_table
from mixlab.zoo.architecture import architecture


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the training of a model should reach.

    batch    images of a step
    ratio    the speed relative to the best stock mode
    minimum  the ratio that it has to reach
    peak     the fraction of the speed of the machine's fastest matrix product
    """

    batch: int
    ratio: float | None = None
    minimum: float | None = None
    peak: float | None = None


GOALS: dict[str, dict[str, Goal]] = {
    "cpu": {
        "convmixer_256_8": Goal(batch=128, ratio=2.5, minimum=2.0),
        "convmixer_768_32": Goal(batch=4, ratio=3.0, minimum=2.5),
        "convmixer_1024_20": Goal(batch=8, ratio=3.0, minimum=2.5),
        "mixer_s16": Goal(batch=16, ratio=1.1, minimum=1.0),
        "davit_tiny": Goal(batch=8, ratio=1.1, minimum=1.0),
    },
    "cuda": {
        "convmixer_1024_20": Goal(batch=128, ratio=2.0),
        "davit_tiny": Goal(batch=128, ratio=1.3),
        "mixer_b16": Goal(batch=128, peak=0.6),
    },
}
"""By kind of device, and model."""


def main() -> None:
    device = machine.pick_device()
    goals = GOALS.get(device.type, {})
    parser = argparse.ArgumentParser(description="Time training steps beside stock PyTorch.")
    parser.add_argument("--models", default=",".join(goals), metavar="NAME,...")
    parser.add_argument("--against", metavar="PEER,...", help="default: all that are installed")
    parser.add_argument("--batch", type=int, help="default: that of the model's goal")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    chosen = {model: goals.get(model, Goal(batch=128)) for model in arguments.models.split(",")}
    peers, results = parse_against(arguments.against, "training"), []
    for model, goal in chosen.items():
        batch = arguments.batch or goal.batch
        settings = Settings(peers, "training", batch, arguments.rounds)
        results.append(benchmark(architecture(model), settings, device, print))
        print_table(model_table(results[-1]))
    write_json(arguments.out, content(chosen, [result.to_dict() for result in results], device))


def content(goals: Mapping[str, Goal], results: list[dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """The result file."""
    return {
        "kind": "benchmark",
        "date": date.today().isoformat(),
        "machine": machine.describe(device),
        "results": results,
        "goals": {model: goal.ratio for model, goal in goals.items() if goal.ratio is not None},
        "minimums": {model: goal.minimum for model, goal in goals.items() if goal.minimum is not None},
        "peak_goals": {model: goal.peak for model, goal in goals.items() if goal.peak is not None},
    }


if __name__ == "__main__":
    main()
