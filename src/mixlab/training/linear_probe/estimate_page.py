"""The estimate of a linear probe as terminal output and as a report page."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tomli_w

from mixlab.errors import UserError
from mixlab.files import write_text
from mixlab.measure.machine import device_name
from mixlab.report.numbers import duration, number, short
from mixlab.report.page import Code, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.training.linear_probe.estimate import SPLITS, LinearProbeEstimate
from mixlab.training.planning.estimate_page import UNITS, samples_per_class


def print_linear_probe_estimate(estimate: LinearProbeEstimate) -> None:
    """Print the estimate to standard output."""
    print(_recipe(estimate))
    for table in (_summary(estimate), samples_per_class(estimate.job.dataset)):
        print_table(table)
        print()


def page_writer(file: Path) -> Callable[[LinearProbeEstimate], None]:
    """A function that writes an estimate to `file` as a page. Raises UserError if the suffix is not .html."""
    if file.suffix.lower() != ".html":
        raise UserError(
            f"--figure {file}: a linear probe has no learning rate schedule to draw. Use the suffix .html for a page "
            "of the estimate."
        )
    return lambda estimate: write_text(file, linear_probe_page(estimate).html())


def linear_probe_page(estimate: LinearProbeEstimate) -> Page:
    """The report page of an estimate."""
    recipe, noun = estimate.job.recipe, estimate.job.dataset.noun
    return Page(
        title=f"Linear probe of {recipe.model} on {recipe.data}",
        kicker="mixlab train --dry-run: only this page was written",
        summary=Summary(
            f"Computing the features takes about {duration(estimate.seconds)} on {device_name(estimate.job.device)}.",
            f"This is an estimate from a short measurement on a few {noun}s. Fitting the head takes additional time.",
            [
                Metric(
                    f"{noun.capitalize()}s without cached features",
                    Estimate.exact(sum(estimate.missing_features.values()), ""),
                    0,
                ),
                Metric("Parameters", Estimate.exact(estimate.parameters / 1e6, "M")),
            ],
        ),
        sections=[
            Section("Linear probe", [_summary(estimate)]),
            Section("Data", [samples_per_class(estimate.job.dataset)]),
            Section("Complete recipe", [Code(_recipe(estimate))]),
        ],
        footer=written_by(version("mixlab")),
    )


def _recipe(estimate: LinearProbeEstimate) -> str:
    """The resolved recipe as TOML, with all defaults."""
    return tomli_w.dumps(estimate.job.recipe.to_dict())


def _summary(estimate: LinearProbeEstimate) -> Table:
    job, recipe, noun = estimate.job, estimate.job.recipe, estimate.job.dataset.noun
    rows, columns = job.backbone.preprocess.image_size
    read, compute = (1000 * seconds for seconds in estimate.image_seconds)
    facts = {
        "Backbone": f"{recipe.model}, {number(estimate.parameters, 0)} parameters with the head",
        noun.capitalize(): f"{rows} x {columns} {UNITS[noun]}, {short(estimate.macs)} MACs per forward pass",
        "Device": device_name(job.device),
        "Batch": f"{recipe.batch:,} {noun}s per forward pass",
        "Features": "; ".join(_features(estimate, split) for split in SPLITS),
        "Feature cache": str(job.backbone.cache(job.device)),
        f"Time per {noun}": f"{read:.1f} ms to read, {compute:.1f} ms to compute features, measured",
        "Time": f"about {duration(estimate.seconds)} for the features, estimated; without fitting the head",
        "Head": f"ridge regression, {len(job.dataset.classes):,} classes; ridges to select from on validation: "
        + ", ".join(f"{ridge:g}" for ridge in recipe.linear_probe.ridges),
    }
    rows_of_facts: list[dict[str, Cell]] = [{"what": name, "is": value} for name, value in facts.items()]
    return Table("Linear probe", [Column("what", "property"), Column("is", "value")], rows_of_facts)


def _features(estimate: LinearProbeEstimate, split: str) -> str:
    count, missing = len(estimate.job.dataset.splits[split]), estimate.missing_features[split]
    cached = f" ({count - missing:,} in the cache)" if missing < count else ""
    return f"{pluralize(count, f'{split} {estimate.job.dataset.noun}')}{cached}"
