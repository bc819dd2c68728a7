"""Effect of keeping freed memory on the time and the peak memory of a training step on a CPU.

    python benchmarks/retained_memory.py --model convmixer_256_8 --batch 512 --out benchmarks/results/mine.json

Two processes alternate step by step, so that a slowdown of the machine affects both: one with the default settings of
the C library's allocator, one that keeps freed memory (mixlab.speed.allocator). Each step is forward, cross-entropy and
backward on random images.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
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
from mixlab.report.table import Column, Table, print_table
from mixlab.speed.allocator import retain_freed_memory
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.stats.estimate import Estimate
from mixlab.zoo.architecture import create_model
from mixlab.zoo.sizes import find_size

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps with and without keeping freed memory.")
    parser.add_argument("--model", default="convmixer_256_8", metavar="NAME")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="channels_last")
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    parser.add_argument("--steps-of", choices=["stock", "retained"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps_of:
        take_steps(arguments)
    else:
        results = measure(arguments)
        if arguments.out:
            write_json(arguments.out, results)
        print_table(table(results))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start both processes and time their steps in turn."""
    settings = ["--model", arguments.model, "--batch", str(arguments.batch)]
    settings += ["--precision", arguments.precision, "--layout", arguments.layout]
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, *settings, "--steps-of", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("stock", "retained")
    }
    seconds = interleaved(
        {name: lambda worker=worker: _request(worker, "step") for name, worker in workers.items()},
        rounds=arguments.rounds,
        sample_seconds=0.0,
    )
    peaks = {name: int(_request(worker, "peak")) for name, worker in workers.items()}
    for worker in workers.values():
        worker.communicate()
    results = {
        "date": date.today().isoformat(),
        "machine": machine.describe(CPU),
        "model": arguments.model,
        "batch": arguments.batch,
        "mode": str(ComputeMode(arguments.precision, arguments.layout)),
        "seconds": seconds,
        "peak_bytes": peaks,
        "speed": asdict(speed_ratio(seconds["retained"], of=seconds["stock"])),
    }
    return results | {"claims": claims(results)}


def claims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    what = f"{results['model']}, training step, batch {results['batch']}, {results['mode']}"
    return [{"claim": f"{what}: speed with retained freed memory / default allocator", "value": results["speed"]}]


def take_steps(arguments: argparse.Namespace) -> None:
    """Take one step for each line "step" on standard input. The reply to every line is the peak memory in bytes."""
    if arguments.steps_of == "retained":
        retain_freed_memory()
    torch.manual_seed(0)
    mode, side = ComputeMode(arguments.precision, arguments.layout), find_size(arguments.model).config["image_size"]
    model = prepare_model(create_model(arguments.model, classes=10), CPU, mode)
    images = torch.randn(arguments.batch, 3, side, side).contiguous(memory_format=mode.memory_format)
    labels = torch.randint(10, (arguments.batch,))
    for line in sys.stdin:
        if line == "step\n":
            with mode.autocast(CPU):
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
        print(peak_bytes(CPU), flush=True)


def _request(worker: subprocess.Popen[str], request: str) -> str:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(f"{request}\n")
    worker.stdin.flush()
    return worker.stdout.readline()


def table(results: dict[str, Any]) -> Table:
    columns = [
        Column("model", "model"),
        Column("batch", "batch"),
        Column("speed", "speed ratio, retained / stock", digits=2, uncertainty="interval"),
        Column("stock", "peak, stock", "GB", digits=2),
        Column("retained", "peak, retained", "GB", digits=2),
    ]
    row = {"model": results["model"], "batch": results["batch"], "speed": Estimate(**results["speed"])}
    row |= {name: peak / 1e9 for name, peak in results["peak_bytes"].items()}
    return Table("Keeping freed memory", columns, [row], notes=[f"{results['mode']}; {results['machine']['device']}."])


if __name__ == "__main__":
    main()
