"""Speed of training steps on a GPU under mixlab's plan, beside the best stock mode of PyTorch.

    python benchmarks/gpu_training.py --out benchmarks/results/DATE-GPU-training.json
    python benchmarks/gpu_training.py --models convmixer_1024_20 --batch 64 --against eager,compiled --out mine.json

A step is forward pass, cross-entropy, backward pass and AdamW on random images. For each model, mixlab selects its
plan, and each peer its fastest precision and layout; these forms then take turns. "eager" and "compiled" are stock
PyTorch. The goals are ratios to the faster of the two, and for Mixer-B/16 a fraction of the fastest bf16 matrix product
of the machine. Without a GPU, the CPU is measured, which is useful only to try the script.

`docs/performance.md` is generated from the result file by benchmarks/performance_page.py.
"""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import torch

from mixlab.benchmark.benchmark import Settings, benchmark
from mixlab.benchmark.tables import model_table
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.report.table import print_table
from mixlab.zoo.architecture import architecture

GOALS = {"convmixer_1024_20": 2.0, "davit_tiny": 1.3}
"""The speed under the plan relative to the best stock mode. ConvMixer-1024/20 has kernels of 9 x 9."""

PEAK_GOALS = {"mixer_b16": 0.6}
"""The fraction of the speed of the fastest matrix product."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps on a GPU beside stock PyTorch.")
    parser.add_argument("--models", default=",".join([*GOALS, *PEAK_GOALS]), metavar="NAME,...")
    parser.add_argument("--against", default="eager,compiled,timm", metavar="PEER,...")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    device = machine.pick_device()
    settings = Settings(arguments.against.split(","), "training", arguments.batch, arguments.rounds)
    models = arguments.models.split(",")
    results = [benchmark(architecture(model), settings, device, print) for model in models]
    for result in results:
        print_table(model_table(result))
    write_json(arguments.out, content(models, [result.to_dict() for result in results], device))


def content(models: list[str], results: list[dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """The result file."""
    return {
        "kind": "benchmark",
        "date": date.today().isoformat(),
        "machine": machine.describe(device),
        "results": results,
        "goals": {model: goal for model, goal in GOALS.items() if model in models},
        "peak_goals": {model: goal for model, goal in PEAK_GOALS.items() if model in models},
    }


if __name__ == "__main__":
    main()
