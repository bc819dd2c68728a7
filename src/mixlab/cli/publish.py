"""`mixlab publish`: a finished run for others."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.output import logger, output_folder
from mixlab.errors import UserError


def publish(
    run: Annotated[Path, typer.Argument(help="A run's folder, which mixlab train has printed.", show_default=False)],
    repository: Annotated[
        str | None, typer.Argument(help="owner/name on the Hugging Face hub; else only a folder is written.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A new folder; else one below runs/.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the run's data lies now, if it was moved.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, in the hub's words, as apache-2.0.")] = None,
    private: Annotated[bool, typer.Option("--private", help="On the hub, for you alone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and the card, no more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make a clean folder of a run, with a card that says how good it is, and push it to the hub where a name is given.

    The run is judged on the images that it held out. The login is that of `hf auth login`.
    """
    from tempfile import TemporaryDirectory

    from mixlab.evaluation.run_evaluation import evaluate_run
    from mixlab.export.model_card import model_card
    from mixlab.export.publication import publication
    from mixlab.export.push import push, require_login, require_repository_name
    from mixlab.files import atomic_folder
    from mixlab.runs.folder import open_run

    if repository is not None:
        require_repository_name(repository)
        if not dry_run:
            require_login()
    elif private:
        raise UserError("--private is about the hub, and no owner/name is given: add it, or leave --private out.")
    folder = output_folder(out, "publish", run.resolve().name)
    source = f"hub:{repository}" if repository is not None else folder.resolve().name
    published = publication(evaluate_run(open_run(run), data, quiet=quiet), source=source, licence=licence)
    card = model_card(published)
    if dry_run:
        with TemporaryDirectory() as temporary:
            published.write(Path(temporary), card)
            files = {file.name: file.stat().st_size for file in sorted(Path(temporary).iterdir())}
        for name, size in files.items():
            print(f"{size:>15,} bytes  {name}")
        print(f"\n{card}", end="")
        return
    with atomic_folder(folder) as temporary:
        published.write(temporary, card)
    log = logger(quiet=quiet)
    if repository is None:
        print(folder)
        return
    log(f"The folder: {folder}")
    print(push(folder, repository, private=private))
