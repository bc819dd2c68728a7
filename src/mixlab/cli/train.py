"""`mixlab train`: one model on one set of pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixlab.cli.output import sayer
from mixlab.errors import UserError

if TYPE_CHECKING:
    from mixlab.runs.folder import Run


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A name that `mixlab recipes` lists, or a TOML file; else the usual one.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="digits, cifar10, folder:PATH, csv:FILE ...")] = None,
    model: Annotated[str | None, typer.Option(help="A size, published weights, a run, a file, or timm:NAME.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="key=value of the recipe, such as epochs=20.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; else one in the store.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="The folder of a run that was interrupted: go on with it.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a model and keep it, with all that is needed to judge, use and repeat it, in a run's folder.

    The same command again, or --resume, goes on with a run that was interrupted.
    """
    from mixlab.data.sources import open_dataset
    from mixlab.measure.machine import device_name, pick_device
    from mixlab.runs.folder import Run, refuse_foreign_folder
    from mixlab.runs.store import finished_run
    from mixlab.speed.plan import Plan
    from mixlab.training import loop
    from mixlab.training.prepare import resolve
    from mixlab.training.processes import join, only_once
    from mixlab.training.recipe import recipe_from, with_settings
    from mixlab.training.trial import decide_plan

    begun = None if resume is None else _begun(resume, out)
    name, fields = _recipe(recipe, model, data, begun)
    given = {"data": data, "model": model, "seed": seed}
    fields |= {key: value for key, value in given.items() if value is not None}
    checked = recipe_from(with_settings(fields, set or []), name)
    if begun is not None and begun.state == "done":
        print(f"The run at {begun.path} is finished already.")
        return
    if out is not None:
        refuse_foreign_folder(out)
    processes = join(pick_device())
    say = sayer(quiet=quiet or not processes.is_main_process)
    with processes.main_process_first():
        dataset = open_dataset(checked.data, quiet=quiet or not processes.is_main_process)
    for note in dataset.notes:
        say(note)
    job = resolve(checked, dataset, processes.device)  # pyright: ignore[reportArgumentType]  known once joined
    folder = resume or out or job.folder()
    if finished_run(folder):
        print(f"The run at {folder} is finished already.")
        return
    if Run(folder).is_unfinished:
        plan = Plan.from_dict(Run(folder).plan)
        say(f"Going on with the run at {folder}, by its plan: {plan.mode}.")
    else:
        say(f"Device: {device_name(job.device)}. The plan, by a short trial:")
        plan, seconds = only_once(lambda: decide_plan(job, say, processes.num_processes))
        say(f"  {plan.mode}, {1000 * seconds:.0f} ms a step of {job.batch} pictures")
    run = loop.train(job, plan, folder, quiet=quiet)
    if processes.is_main_process:
        _tell(run, say)


def _begun(resume: Path, out: Path | None) -> "Run":
    from mixlab.runs.folder import begun_run

    if out is not None:
        raise UserError(f"--resume {resume} goes on in that folder: leave out --out {out}.")
    return begun_run(resume)


def _recipe(recipe: str | None, model: str | None, data: str | None, begun: "Run | None") -> tuple[str, dict[str, Any]]:
    """Where the recipe comes from, and its fields."""
    from mixlab.training.recipe import read_recipe
    from mixlab.training.usual import usual_recipe

    if recipe is not None:
        return recipe, read_recipe(recipe)
    if begun is not None:
        return str(begun.path / "recipe.toml"), begun.recipe
    if model is not None and data is not None:
        return usual_recipe(model, data)
    raise UserError("mixlab train needs a RECIPE, or both --model and --data: `mixlab models` lists the models.")


def _tell(run: "Run", say: Callable[[str], None]) -> None:
    from mixlab.runs.journal import read_journal

    (end,) = read_journal(run.journal, "end")
    for picture, reason in end["unreadable"].items():
        say(f"{picture} was left out: {reason}.")
    judged = [epoch["validation"] for epoch in read_journal(run.journal, "epoch")]
    if judged[-1] is not None:
        best = max(judged, key=lambda validation: validation["top1"])
        say(f"The weights that were kept had {best['top1']:.1f} % of {best['pictures']} validation pictures right.")
    print(run.path)
