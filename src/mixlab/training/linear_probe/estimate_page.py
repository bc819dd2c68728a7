"""The forecast of a head in words: for the terminal, and as a page."""

from collections.abc import Callable
from pathlib import Path

import tomli_w

from mixlab.errors import UserError
from mixlab.files import write_text
from mixlab.measure.machine import device_name
from mixlab.report.numbers import duration, number, short
from mixlab.report.page import Code, Metric, Page, Section, Summary
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.stats.estimate import Estimate
from mixlab.training.linear_probe.estimate import SPLITS, LinearProbeEstimate
from mixlab.training.planning.estimate_page import images_per_class


def print_linear_probe_estimate(estimate: LinearProbeEstimate) -> None:
    """To standard output."""
    print(_recipe(estimate))
    for table in (_head(estimate), images_per_class(estimate.job.dataset)):
        print_table(table)
        print()


def page_writer(file: Path) -> Callable[[LinearProbeEstimate], None]:
    """What keeps a forecast as a page in `file`. Raises UserError where that is none."""
    if file.suffix.lower() != ".html":
        raise UserError(
            f"--figure {file}: a head in closed form has no learning rate to draw. End it in .html for a page of the "
            "whole forecast."
        )
    return lambda estimate: write_text(file, linear_probe_page(estimate).html())


def linear_probe_page(estimate: LinearProbeEstimate) -> Page:
    recipe = estimate.job.recipe
    return Page(
        title=f"A head for {recipe.model} on {recipe.data}",
        kicker="mixlab train --dry-run: nothing was written but this page",
        answer=Summary(
            f"Its features would take about {duration(estimate.seconds)} on {device_name(estimate.job.device)}.",
            "That is an estimate, from a short trial on real images; the head itself comes on top.",
            [
                Metric("Images to see", Estimate.exact(sum(estimate.missing_features.values()), ""), 0),
                Metric("Parameters", Estimate.exact(estimate.parameters / 1e6, "M")),
            ],
        ),
        sections=[
            Section("What would run", [_head(estimate)]),
            Section("On what", [images_per_class(estimate.job.dataset)]),
            Section("The recipe, complete", [Code(_recipe(estimate))]),
        ],
    )


def _recipe(estimate: LinearProbeEstimate) -> str:
    """TOML in which nothing is left to a default."""
    return tomli_w.dumps(estimate.job.recipe.to_dict())


def _head(estimate: LinearProbeEstimate) -> Table:
    job, recipe = estimate.job, estimate.job.recipe
    rows, columns = job.backbone.preprocess.image_size
    read, show = (1000 * seconds for seconds in estimate.image_seconds)
    facts = {
        "Backbone": f"{recipe.model}, {number(estimate.parameters, 0)} parameters with the head",
        "Image": f"{rows} x {columns} pixels, {short(estimate.macs)} multiply-accumulates to judge it",
        "Device": device_name(job.device),
        "At once": f"{recipe.batch:,} images go through the backbone",
        "Features": "; ".join(_features(estimate, split) for split in SPLITS),
        "Kept in": str(job.backbone.cache(job.device)),
        "An image": f"{read:.1f} ms to read and {show:.1f} ms to see in the trial",
        "Time": f"about {duration(estimate.seconds)} for the features, estimated; the head comes on top",
        "Head": f"ridge regression, {len(job.dataset.classes):,} classes; validation chooses one of the ridges "
        + ", ".join(f"{ridge:g}" for ridge in recipe.linear_probe.ridges),
    }
    named: list[dict[str, Cell]] = [{"what": what, "is": value} for what, value in facts.items()]
    return Table("The head", [Column("what", "what"), Column("is", "is")], named)


def _features(estimate: LinearProbeEstimate, split: str) -> str:
    images, new = len(estimate.job.dataset.splits[split]), estimate.missing_features[split]
    known = f", of which {images - new:,} are there already" if new < images else ""
    return f"of {images:,} {split} images{known}"
