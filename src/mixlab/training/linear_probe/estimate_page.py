"""The forecast of a head in words: for the terminal, and as a page."""

from collections.abc import Callable
from pathlib import Path

import tomli_w

from mixlab.errors import UserError
from mixlab.files import write_text
from mixlab.measure.machine import device_name
from mixlab.report.numbers import duration, number, short
from mixlab.report.page import Answer, Code, KeyFigure, Page, Section
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.stats.estimate import Estimate
from mixlab.training.linear_probe.estimate import PARTS, HeadForecast
from mixlab.training.planning.estimate_page import images_a_class


def print_head_forecast(forecast: HeadForecast) -> None:
    """To standard output."""
    print(_recipe(forecast))
    for table in (_head(forecast), images_a_class(forecast.job.dataset)):
        print_table(table)
        print()


def page_keeper(file: Path) -> Callable[[HeadForecast], None]:
    """What keeps a forecast as a page in `file`. Raises UserError where that is none."""
    if file.suffix.lower() != ".html":
        raise UserError(
            f"--figure {file}: a head in closed form has no learning rate to draw. End it in .html for a page of the "
            "whole forecast."
        )
    return lambda forecast: write_text(file, head_page(forecast).html())


def head_page(forecast: HeadForecast) -> Page:
    recipe = forecast.job.recipe
    return Page(
        title=f"A head for {recipe.model} on {recipe.data}",
        kicker="mixlab train --dry-run: nothing was written but this page",
        answer=Answer(
            f"Its features would take about {duration(forecast.seconds)} on {device_name(forecast.job.device)}.",
            "That is an estimate, from a short trial on real images; the head itself comes on top.",
            [
                KeyFigure("Images to see", Estimate.exact(sum(forecast.unseen.values()), ""), 0),
                KeyFigure("Parameters", Estimate.exact(forecast.parameters / 1e6, "M")),
            ],
        ),
        sections=[
            Section("What would run", [_head(forecast)]),
            Section("On what", [images_a_class(forecast.job.dataset)]),
            Section("The recipe, complete", [Code(_recipe(forecast))]),
        ],
    )


def _recipe(forecast: HeadForecast) -> str:
    """TOML in which nothing is left to a default."""
    return tomli_w.dumps(forecast.job.recipe.to_dict())


def _head(forecast: HeadForecast) -> Table:
    job, recipe = forecast.job, forecast.job.recipe
    rows, columns = job.backbone.preprocess.image_size
    read, show = (1000 * seconds for seconds in forecast.image_seconds)
    facts = {
        "Backbone": f"{recipe.model}, {number(forecast.parameters, 0)} parameters with the head",
        "Image": f"{rows} x {columns} pixels, {short(forecast.macs)} multiply-accumulates to judge it",
        "Device": device_name(job.device),
        "At once": f"{recipe.batch:,} images go through the backbone",
        "Features": "; ".join(_features(forecast, part) for part in PARTS),
        "Kept in": str(job.backbone.cache(job.device)),
        "An image": f"{read:.1f} ms to read and {show:.1f} ms to see in the trial",
        "Time": f"about {duration(forecast.seconds)} for the features, estimated; the head comes on top",
        "Head": f"ridge regression, {len(job.dataset.classes):,} classes; validation chooses one of the ridges "
        + ", ".join(f"{ridge:g}" for ridge in recipe.head.ridges),
    }
    named: list[dict[str, Cell]] = [{"what": what, "is": value} for what, value in facts.items()]
    return Table("The head", [Column("what", "what"), Column("is", "is")], named)


def _features(forecast: HeadForecast, part: str) -> str:
    images, new = len(forecast.job.dataset.parts[part]), forecast.unseen[part]
    known = f", of which {images - new:,} are there already" if new < images else ""
    return f"of {images:,} {part} images{known}"
