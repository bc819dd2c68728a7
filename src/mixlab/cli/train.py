"""`mixlab train`: one model on one set of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.output import sayer
from mixlab.errors import UserError


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe that comes with mixlab, or a TOML file; else the usual one.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="digits, cifar10 or folder:PATH.")] = None,
    model: Annotated[str | None, typer.Option(help="A name that `mixlab models` lists, or timm:NAME.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="key=value of the recipe, such as epochs=20.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; else one in the store.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a model and keep it, with all that is needed to judge, use and repeat it, in a run's folder."""
    from mixlab.data.sources import open_dataset
    from mixlab.measure.machine import device_name, pick_device
    from mixlab.runs.folder import refuse_foreign_folder
    from mixlab.runs.journal import read_journal
    from mixlab.training import loop
    from mixlab.training.prepare import decide_plan, resolve
    from mixlab.training.recipe import read_recipe, recipe_from, with_settings
    from mixlab.training.usual import usual_recipe

    if recipe is not None:
        name, fields = recipe, read_recipe(recipe)
    elif model is not None and data is not None:
        name, fields = usual_recipe(model, data)
    else:
        raise UserError("mixlab train needs a RECIPE, or both --model and --data: `mixlab models` lists the models.")
    given = {"data": data, "model": model, "seed": seed}
    fields |= {key: value for key, value in given.items() if value is not None}
    checked = recipe_from(with_settings(fields, set or []), name)
    say = sayer(quiet=quiet)
    if out is not None:
        refuse_foreign_folder(out)
    dataset = open_dataset(checked.data, quiet=quiet)
    for note in dataset.notes:
        say(note)
    device = pick_device()
    job = resolve(checked, dataset, device)
    say(f"Device: {device_name(device)}. The plan, by a short trial:")
    plan, seconds = decide_plan(job, say)
    say(f"  {plan.mode}, {1000 * seconds:.0f} ms a step of {job.batch} pictures")
    run = loop.train(job, plan, out or job.folder(plan), quiet=quiet)
    (end,) = read_journal(run.journal, "end")
    for picture, reason in end["unreadable"].items():
        say(f"{picture} was left out: {reason}.")
    judged = [epoch["validation"] for epoch in read_journal(run.journal, "epoch")]
    if judged[-1] is not None:
        best = max(judged, key=lambda validation: validation["top1"])
        say(f"The weights that were kept had {best['top1']:.1f} % of {best['pictures']} validation pictures right.")
    print(run.path)
