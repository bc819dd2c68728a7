"""`mixlab benchmark`: how fast models are on this machine, beside peers."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import Device, TrustCode
from mixlab.cli.output import logger, output_folder, show
from mixlab.errors import UserError
from mixlab.report.table import Format


def benchmark(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Sizes, published names, timm:NAME, runs or files. Only speed is measured, with random weights.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Measure training steps instead of forward passes.")] = False,
    against: Annotated[
        str | None,
        typer.Option(
            help="Peers, separated by commas: timm, eager, compiled, openvino, onnxruntime. Default: all of them "
            "that are installed."
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Images per call; several sizes are separated by commas.")] = "8",
    rounds: Annotated[int, typer.Option(help="Timed calls of each peer.")] = 20,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")] = None,
    device: Device = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Measure the speed of models on this machine, beside timm, stock PyTorch and other runtimes."""
    from datetime import date

    from mixlab.benchmark.benchmark import Settings
    from mixlab.benchmark.benchmark import benchmark as measure
    from mixlab.benchmark.models import find_architecture
    from mixlab.benchmark.page import benchmark_page
    from mixlab.benchmark.peers import parse_against
    from mixlab.benchmark.tables import model_table, ratios_table
    from mixlab.files import atomic_folder, write_json, write_text
    from mixlab.measure.machine import describe, pick_device

    if not models:
        raise UserError("mixlab benchmark needs at least one MODEL, such as mixer_b16.")
    peers = parse_against(against, train=train)
    task = "training" if train else "inference"
    settings = [Settings(peers, task, size, rounds) for size in _batch_sizes(batch)]
    architectures = [find_architecture(model) for model in models]
    picked = pick_device(device)
    folder = output_folder(out, "benchmark", "-".join(models))
    log = logger(quiet=quiet)
    results = [measure(each, setting, picked, log) for each in architectures for setting in settings]
    environment = describe(picked)
    record = {
        "kind": "benchmark",
        "date": date.today().isoformat(),
        "machine": environment,
        "results": [result.to_dict() for result in results],
    }
    with atomic_folder(folder) as temporary:
        write_json(temporary / "results.json", record)
        write_text(temporary / "report.html", benchmark_page(results, environment).html())
    if format == "json":
        print(json.dumps(record["results"], indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show([*map(model_table, results), ratios_table(results)], format)
    log(f"Report: {folder / 'report.html'}")


def _batch_sizes(text: str) -> list[int]:
    sizes = [part.strip() for part in text.split(",")]
    if not all(size.isdecimal() for size in sizes):
        raise UserError(f"--batch {text} is not a number of images: give one, such as 8, or several, such as 1,8,64.")
    return [int(size) for size in sizes]
