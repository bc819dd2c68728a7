"""The price of activation checkpointing: the time and the peak memory of a training step with it and without.

    python benchmarks/activation_checkpointing.py --model mixer_s16 --batch 32 --out mine.json

Both kinds of steps (forward, cross-entropy, backward; bf16, channels last, with all rewrites that mixlab has for the
model, random images) take turns in one process. The peak memory is that of a process that runs only one kind.
"""

import argparse
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.memory import peak_bytes
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column, Table, print_table
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.kernels.library import kernels
from mixlab.speed.training_rewrites import cpu_rewrites
from mixlab.stats.estimate import Estimate
from mixlab.training.activation_checkpointing import checkpointed
from mixlab.zoo.architecture import architecture

CPU = torch.device("cpu")
KINDS = ("plain", "checkpointed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training steps with activation checkpointing.")
    parser.add_argument("--model", default="mixer_s16", metavar="NAME")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    results = measure(arguments.model, arguments.batch, arguments.rounds)
    if arguments.out:
        write_json(arguments.out, results)
    print_table(table(results))


def measure(model: str, batch: int, rounds: int) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = {kind: pool.apply(peak_of_a_step, (model, batch, kind)) for kind in KINDS}
    retain_freed_memory()
    steps = {kind: make_step(model, batch, kind) for kind in KINDS}
    seconds = interleaved(steps, rounds=rounds, sample_seconds=0.0)
    results = {
        "date": date.today().isoformat(),
        "machine": machine.describe(CPU),
        "model": model,
        "batch": batch,
        "seconds": seconds,
        "peak_bytes": peaks,
        "speed": asdict(speed_ratio(seconds["checkpointed"], of=seconds["plain"])),
    }
    return results | {"claims": claims(results)}


def claims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    what = f"{results['model']}, training step, batch {results['batch']}, bf16, channels last"
    plain, checkpointed = (results["peak_bytes"][kind] for kind in KINDS)
    memory = f"without activation checkpointing ({plain / 1e6:,.0f} MB) / with it ({checkpointed / 1e6:,.0f} MB)"
    return [
        {"claim": f"{what}: speed with activation checkpointing / without", "value": results["speed"]},
        {"claim": f"{what}: peak memory of the process {memory}", "value": plain / checkpointed},
    ]


def peak_of_a_step(model: str, batch: int, kind: str) -> int:
    make_step(model, batch, kind)()
    return peak_bytes(CPU)


def make_step(model: str, batch: int, kind: str) -> Callable[[], None]:
    torch.manual_seed(0)
    described = architecture(model)
    image_shape = (3, *height_and_width(described.image_size))
    with torch.device("meta"):
        rewrites = cpu_rewrites(described.build(), image_shape, "bf16", kernels().build)
    network = described.build().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network = rewrites.apply(network, batch)
    if kind == "checkpointed":
        checkpointed(network, rewrites)
    images = torch.randn(batch, *image_shape)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(described.classes, (batch,))

    def step() -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), rewrites.forward_context():
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()

    return step


def table(results: dict[str, Any]) -> Table:
    columns = [
        Column("model", "model"),
        Column("batch", "batch"),
        Column("speed", "speed ratio, checkpointed / plain", digits=2, uncertainty="interval"),
        Column("plain", "peak memory, plain (MiB)"),
        Column("checkpointed", "peak memory, checkpointed (MiB)"),
    ]
    row = {"model": results["model"], "batch": results["batch"], "speed": Estimate(**results["speed"])}
    row |= {kind: results["peak_bytes"][kind] // 2**20 for kind in KINDS}
    notes = [f"bf16, channels last; {results['machine']['device']}. Memory includes the libraries of the process."]
    return Table("Activation checkpointing", columns, [row], notes=notes)


if __name__ == "__main__":
    main()
