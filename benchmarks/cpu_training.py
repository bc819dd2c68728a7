"""Speed of training steps on a CPU with one change, compared with stock PyTorch in the same precision.

    python benchmarks/cpu_training.py --change unfused_attention --model davit_tiny --batch 4
    python benchmarks/cpu_training.py --change fused_convmixer --model convmixer_256_8 --batch 128 --out mine.json

A change is one or several rewrites of mixlab.speed.training_rewrites, separated by commas: fused_convmixer,
native_depthwise, split_depthwise, untransposed_mixer, native_gelu, unfused_attention.

Each step is forward, cross-entropy and backward on random images, with and without the change in turn. Freed memory is
retained, as in a training. The errors of both gradients are measured as well, relative to the gradients of stock
PyTorch in fp32.
"""

import argparse
import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column, Table, print_table
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.stats.estimate import Estimate
from mixlab.zoo.architecture import architecture

CPU = torch.device("cpu")
Step = Callable[[], list[Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps on a CPU with and without one change.")
    parser.add_argument("--change", required=True, metavar="REWRITE,...")
    parser.add_argument("--model", default="convmixer_256_8", metavar="NAME")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    retain_freed_memory()
    results = measure(arguments)
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    described = architecture(arguments.model)
    model = described.build().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.randn(arguments.batch, 3, *height_and_width(described.image_size))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(described.classes, (arguments.batch,))
    rewrites = TrainingRewrites(tuple(arguments.change.split(",")))
    changed = rewrites.apply(copy.deepcopy(model), arguments.batch)
    steps = {
        "stock": make_step(model, images, labels, arguments.precision, TrainingRewrites()),
        "changed": make_step(changed, images, labels, arguments.precision, rewrites),
    }
    exact = torch.cat([each.flatten() for each in make_step(model, images, labels, "fp32", TrainingRewrites())()])
    errors = {
        name: float((torch.cat([each.flatten() for each in step()]) - exact).norm() / exact.norm())
        for name, step in steps.items()
    }
    seconds = interleaved(steps, rounds=arguments.rounds, sample_seconds=0.0)
    results = {
        "date": date.today().isoformat(),
        "machine": machine.describe(CPU),
        "change": arguments.change,
        "model": arguments.model,
        "batch": arguments.batch,
        "precision": arguments.precision,
        "seconds": seconds,
        "gradient_errors": errors,
        "speed": asdict(speed_ratio(seconds["changed"], of=seconds["stock"])),
    }
    return results | {"claims": claims(results)}


def claims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    change = results["change"].replace(",", " and ")
    what = f"{results['model']}, training step, batch {results['batch']}, {results['precision']}, channels last"
    return [{"claim": f"{what}: speed with {change} / stock modules", "value": results["speed"]}]


def make_step(model: nn.Module, images: Tensor, labels: Tensor, precision: str, rewrites: TrainingRewrites) -> Step:
    """A step that returns the gradients of all parameters."""

    def step() -> list[Tensor]:
        model.zero_grad()
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
            rewrites.forward_context(),
        ):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    return step


def table(results: dict[str, Any]) -> Table:
    columns = [
        Column("model", "model"),
        Column("batch", "batch"),
        Column("speed", "speed ratio, changed / stock", digits=2, uncertainty="interval"),
        Column("changed", "gradient error, changed", digits=5),
        Column("stock", "gradient error, stock", digits=5),
    ]
    row = {"model": results["model"], "batch": results["batch"], "speed": Estimate(**results["speed"])}
    row |= results["gradient_errors"]
    notes = [f"{results['precision']}, channels last; {results['machine']['device']}."]
    return Table(f"Training steps: {results['change']}", columns, [row], notes=notes)


if __name__ == "__main__":
    main()
