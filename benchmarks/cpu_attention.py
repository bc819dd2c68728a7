"""Speed of training steps in bf16 on a CPU with unfused attention, compared with PyTorch's fused attention.

    python benchmarks/cpu_attention.py --model davit_tiny --batch 4 --out benchmarks/results/mine.json

Each step is forward, cross-entropy and backward on random images, with the same model and both kinds of attention in
turn. The difference of their gradients is measured as well, relative to those in fp32.
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column, Table, print_table
from mixlab.stats.estimate import Estimate
from mixlab.zoo.architecture import architecture

CPU = torch.device("cpu")
Step = Callable[[], list[Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time bf16 training steps with fused and with unfused attention.")
    parser.add_argument("--model", default="davit_tiny", metavar="NAME")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    results = measure(arguments.model, arguments.batch, arguments.rounds)
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def measure(name: str, batch: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    described = architecture(name)
    model = described.build().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.randn(batch, 3, *height_and_width(described.image_size)).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.randint(described.classes, (batch,))
    steps = {kind: make_step(model, images, labels, kind) for kind in ("fp32", "fused", "unfused")}
    gradients = {kind: torch.cat([each.flatten() for each in step()]) for kind, step in steps.items()}
    exact = gradients.pop("fp32")
    errors = {kind: float((found - exact).norm() / exact.norm()) for kind, found in gradients.items()}
    seconds = interleaved({kind: steps[kind] for kind in ("fused", "unfused")}, rounds=rounds, sample_seconds=0.0)
    return {
        "date": date.today().isoformat(),
        "machine": machine.describe(CPU),
        "model": name,
        "batch": batch,
        "seconds": seconds,
        "gradient_errors": errors,
        "speed": asdict(speed_ratio(seconds["unfused"], of=seconds["fused"])),
    }


def make_step(model: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Step:
    """A function that returns the gradients of all parameters, in fp32 or in bf16 with one kind of attention."""

    def step() -> list[Tensor]:
        model.zero_grad()
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=kind != "fp32"),
            sdpa_kernel(SDPBackend.MATH) if kind == "unfused" else nullcontext(),
        ):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    return step


def table(results: dict[str, Any]) -> Table:
    columns = [
        Column("model", "model"),
        Column("batch", "batch"),
        Column("speed", "speed ratio, unfused / fused", digits=2, uncertainty="interval"),
        Column("fused", "gradient error, fused", digits=4),
        Column("unfused", "gradient error, unfused", digits=4),
    ]
    row = {"model": results["model"], "batch": results["batch"], "speed": Estimate(**results["speed"])}
    row |= results["gradient_errors"]
    return Table("Attention in bf16 on a CPU", columns, [row], notes=[f"{results['machine']['device']}."])


if __name__ == "__main__":
    main()
