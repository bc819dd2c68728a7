"""`mixlab study`: a question about the models, answered by an experiment."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixlab.cli.options import DATA
from mixlab.cli.output import logger, output_folder, show


def study(
    question: Annotated[
        Literal["resolution", "transfer"],
        typer.Argument(
            help="resolution: what another image size costs. transfer: whether knowledge carries over to new classes."
        ),
    ],
    data: Annotated[str, typer.Option(help=f"{DATA}.")],
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each kind; of transfer, splits of the classes.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Before the size or the classes change.")] = 10,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="To train on at most before, equally many of each class.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for report.html and results.json.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Repeat an experiment on your images, with intervals; what was finished is kept and found again."""
    from mixlab.data.sources import open_dataset
    from mixlab.files import atomic_folder, write_json, write_text
    from mixlab.studies.resolution import ResolutionSettings, resolution
    from mixlab.studies.transfer import TransferSettings, transfer

    folder = output_folder(out, f"study-{question}", data)
    dataset, log = open_dataset(data, quiet=quiet), logger(quiet=quiet)
    given = {"seeds": seeds, "epochs": epochs} | ({"images": images} if images is not None else {})
    if question == "resolution":
        found = resolution(dataset, ResolutionSettings(**given), quiet=quiet, log=log)
    else:
        found = transfer(dataset, TransferSettings(**given), quiet=quiet, log=log)
    with atomic_folder(folder) as temporary:
        write_json(temporary / "results.json", found.results())
        write_text(temporary / "report.html", found.page().html())
    show((found.table(), found.differences()), "table")
    print(f"The report: {folder / 'report.html'}")
