"""`mixlab benchmark`: how fast models are on this machine, beside peers."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import Device, TrustCode
from mixlab.cli.output import logger, output_folder, require_empty_folder, show
from mixlab.errors import UserError
from mixlab.report.table import Format


def benchmark(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Sizes, published names, timm:NAME, runs, files, exported models. Only speed is measured, with random "
            "weights. An exported model is measured beside another MODEL that it was exported from.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Measure training steps instead of forward passes.")] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Measure the models of the papers' tables; continues what is in --out.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            help="Peers, separated by commas: timm, eager, compiled, openvino, onnxruntime. Default: all of them "
            "that are installed."
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Images per call; several sizes are separated by commas. Default: 8.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Timed calls of each peer. Default: 20.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html, results.json and figures.")] = None,
    device: Device = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Measure the speed of models on this machine, beside timm, stock PyTorch and other runtimes."""
    if paper:
        if models or train or against or batch is not None or rounds is not None:
            raise UserError(
                "--paper measures fixed models in fixed batches, without peers: leave out MODEL, --train, --against, "
                "--batch and --rounds."
            )
        _benchmark_papers(format, out or Path("runs") / "benchmark-paper", device, quiet=quiet)
        return
    if not models:
        raise UserError("mixlab benchmark needs at least one MODEL, such as mixer_b16, or --paper.")
    from datetime import date

    from mixlab.benchmark.benchmark import Settings, benchmark_exported
    from mixlab.benchmark.benchmark import benchmark as measure
    from mixlab.benchmark.exported import exported_form, split_exported
    from mixlab.benchmark.models import find_architecture
    from mixlab.benchmark.page import benchmark_page
    from mixlab.benchmark.peers import parse_against
    from mixlab.benchmark.tables import flat_table, model_table, ratio_tables
    from mixlab.benchmark.training_plan import require_trainable
    from mixlab.files import atomic_folder
    from mixlab.measure.machine import describe, pick_device
    from mixlab.report.result_folder import write_result_files

    task = "training" if train else "inference"
    peers = parse_against(against, task)
    batches = _batch_sizes("8" if batch is None else batch)
    settings = [Settings(peers, task, size, 20 if rounds is None else rounds) for size in batches]
    others, exported = split_exported(list(dict.fromkeys(models)), task)
    if against and not others:
        raise UserError(
            f"--against {against} needs another MODEL: give the run that {exported[0]} was exported from, too."
        )
    architectures = [find_architecture(model) for model in others]
    if train:
        for each in architectures:
            require_trainable(each)
    forms = [(setting, exported_form(model, setting.batch)) for model in exported for setting in settings]
    alone = [(setting, form) for setting, form in forms if not any(form.is_of(each) for each in architectures)]
    picked = pick_device("cpu" if device is None and not others else device)
    if alone and device is not None and picked.type != "cpu":
        raise UserError(f"{alone[0][1].source} is an exported model, which runs on the CPU: leave out --device.")
    folder = output_folder(out, "benchmark", "-".join(models))
    log = logger(quiet=quiet)
    results = [
        measure(each, setting, picked, log, [form for of, form in forms if of is setting and form.is_of(each)])
        for each in architectures
        for setting in settings
    ]
    results += [benchmark_exported(form, setting, log) for setting, form in alone]
    environment = describe(picked)
    record = {
        "kind": "benchmark",
        "date": date.today().isoformat(),
        "machine": environment,
        "results": [result.to_dict() for result in results],
    }
    with atomic_folder(folder) as temporary:
        write_result_files(temporary, benchmark_page(results, environment), record)
    if format == "json":
        print(json.dumps(record["results"], indent=2, ensure_ascii=False, allow_nan=False))
    else:
        tables = [flat_table(results)] if format == "csv" else map(model_table, results)
        show([*tables, *ratio_tables(results)], format)
    log(f"Report: {folder / 'report.html'}")


def _benchmark_papers(format: Format, out: Path, device: str | None, *, quiet: bool) -> None:
    """Measure the models of the papers' tables. Each result is a file in `out`, so that a second call goes on."""
    from mixlab.benchmark.paper_benchmark import combine
    from mixlab.benchmark.paper_page import paper_page, paper_record, paper_tables
    from mixlab.benchmark.paper_speeds import estimated_seconds, measure_models, measured_once, model_key, not_measured
    from mixlab.measure.machine import describe, pick_device
    from mixlab.report.numbers import duration
    from mixlab.report.result_folder import write_result_files
    from mixlab.report.text import pluralize
    from mixlab.zoo.paper import paper_rows

    is_resumed = (out / "models").is_dir()
    if not is_resumed:
        require_empty_folder(out)
    log, picked, rows = logger(quiet=quiet), pick_device(device), paper_rows()
    models = measured_once(rows)
    remaining = not_measured(models, out / "models")
    if remaining:
        log(
            f"{pluralize(len(remaining), 'model')} will be measured, for about "
            f"{duration(estimated_seconds(remaining, picked))}. If this is interrupted, the same command goes on."
        )
    speeds = {model_key(counted): speed for counted, speed in measure_models(models, out / "models", picked, log)}
    result = combine(rows, speeds, describe(picked))
    page = paper_page(result)
    record = paper_record(result, page)
    write_result_files(out, page, record)
    if format == "json":
        print(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(paper_tables(result), format)
    log(f"Report: {out / 'report.html'}")


def _batch_sizes(text: str) -> list[int]:
    sizes = [part.strip() for part in text.split(",")]
    if not all(size.isdecimal() for size in sizes):
        raise UserError(f"--batch {text} is not a number of images: give one, such as 8, or several, such as 1,8,64.")
    return list(dict.fromkeys(map(int, sizes)))
