"""`mixlab runs`: list, compare and average runs."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.output import logger, show
from mixlab.errors import UserError
from mixlab.report.table import Format


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]...",
            help="Folders with runs, or two or more runs to compare. Default: $MIXLAB_RUNS or runs/.",
        ),
    ] = None,
    average: Annotated[
        bool, typer.Option("--average", help="Average the weights of the given runs into a new run in --out.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the run that --average writes.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json have all columns, unrounded.")] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> int:
    """List the runs in folders, compare runs, or average their weights."""
    from mixlab.runs.run_list import DamagedRun, list_runs, runs_full_table, runs_table
    from mixlab.runs.side_by_side import compare_runs
    from mixlab.runs.store import store_folder

    given = folders or []
    if average != (out is not None):
        raise UserError("--average and --out must be given together: `mixlab runs --average A B --out DIR`.")
    if average and out is not None:
        _average(given, out, quiet=quiet)
        return 0
    human_readable = format not in ("csv", "json")
    if len(given) > 1 and all((folder / "status.json").exists() for folder in given):
        comparison = compare_runs(given)
        tables = comparison.tables() if human_readable else [comparison.full_table()]
        listed = []
    else:
        store = store_folder()
        listed = list_runs(given or ([store] if store.is_dir() else []))
        searched = ", ".join(map(str, given or [store]))
        tables = [runs_table(listed, searched) if human_readable else runs_full_table(listed)]
    show(tables, format)
    return 1 if any(isinstance(run, DamagedRun) for run in listed) else 0


def _average(given: list[Path], out: Path, *, quiet: bool) -> None:
    from mixlab.runs.folder import open_run
    from mixlab.runs.history import read_history
    from mixlab.tasks.tasks import noun_of
    from mixlab.training.soup import average

    run = average([open_run(path) for path in given], out, quiet=quiet)
    log = logger(quiet=quiet)
    if evaluated := read_history(run.journal).validation:
        samples = f"{evaluated['images']:,} {noun_of(run.recipe)}s"
        log(f"Validation accuracy of the average: {evaluated['top1']:.1f} % of {samples}.")
        single = [best["top1"] for path in given if (best := read_history(path / "journal.jsonl").validation)]
        if evaluated["top1"] < max(single):
            log(
                f"The best of the runs has {max(single):.1f} %. An average is rarely good if the trainings did not "
                "start from the same weights, as in fine-tuning of one model."
            )
    print(run.path)
