"""`mixlab runs`: the trainings that are here."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.output import logger, show
from mixlab.errors import UserError
from mixlab.report.table import Format


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Folders that hold runs, else the store; two or more runs to compare."),
    ] = None,
    average: Annotated[
        bool, typer.Option("--average", help="Average the weights of the runs given into a new one, in --out.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The folder for what --average makes.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json have every figure in full.")] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> int:
    """List the trainings below a folder, compare those given, or average their weights."""
    from mixlab.runs.run_list import DamagedRun, list_runs, runs_full_table, runs_table
    from mixlab.runs.side_by_side import compare_runs
    from mixlab.runs.store import store_folder

    given = folders or []
    if average != (out is not None):
        raise UserError("--average and --out belong together: `mixlab runs --average A B --out DIR`.")
    if average and out is not None:
        _average(given, out, quiet=quiet)
        return 0
    human_readable = format in ("table", "markdown")
    if len(given) > 1 and all((folder / "status.json").exists() for folder in given):
        comparison = compare_runs(given)
        tables = comparison.tables() if human_readable else [comparison.full_table()]
        found = []
    else:
        store = store_folder()
        found = list_runs(given or ([store] if store.is_dir() else []))
        where = ", ".join(map(str, given or [store]))
        tables = [runs_table(found, where) if human_readable else runs_full_table(found)]
    show(tables, format)
    return 1 if any(isinstance(one, DamagedRun) for one in found) else 0


def _average(given: list[Path], out: Path, *, quiet: bool) -> None:
    from mixlab.runs.folder import open_run
    from mixlab.runs.history import read_history
    from mixlab.training.soup import average

    run = average([open_run(path) for path in given], out, quiet=quiet)
    log = logger(quiet=quiet)
    if evaluated := read_history(run.journal).validation:
        log(f"The mean has {evaluated['top1']:.1f} % of {evaluated['images']:,} validation images right.")
        single = [one["top1"] for path in given if (one := read_history(path / "journal.jsonl").validation)]
        if evaluated["top1"] < max(single):
            log(
                f"The best of the runs had {max(single):.1f} %: where the trainings did not begin from the same "
                "weights, as fine-tunings of one model do, a mean is seldom good."
            )
    print(run.path)
