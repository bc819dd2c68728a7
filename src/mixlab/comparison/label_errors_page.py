"""The report of suspected label errors: the images first, then how often which classes are confused."""

import shlex
from collections import Counter
from pathlib import Path

from mixlab.comparison.compared import dataset_title
from mixlab.comparison.label_errors import LIMITS, LabelErrors, Suspect
from mixlab.comparison.label_table import TABLE
from mixlab.data.decoding import shown_image
from mixlab.report.image_grid import ConfidentError, ErrorGallery
from mixlab.report.machine import machine_facts
from mixlab.report.page import Block, Code, Columns, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate

_MAX_IMAGES = 120
_MAX_ROWS = 20


def label_errors_page(found: LabelErrors, folder: Path) -> Page:
    """The page, which includes the most suspicious images. `folder`: where labels.csv is written, for the commands."""
    return Page(
        title=f"Which labels of {dataset_title(found.dataset)} are wrong?",
        kicker=f"mixlab data labels: {pluralize(len(found.labels), 'image')}, {found.folds} folds",
        summary=_summary(found),
        sections=[
            Section("Suspected labels", _images(found)),
            Section("Correct the labels", _next_steps(found, folder)),
            Section(
                "Classes", [Columns([class_table(found), pair_table(found)]) if found.suspects else class_table(found)]
            ),
            Section("What this cannot say", [LIMITS]),
            _run_details(found),
        ],
        footer=written_by(found.environment["versions"]["mixlab"]),
    )


def _summary(found: LabelErrors) -> Summary:
    return Summary(
        found.conclusion,
        found.estimate,
        [
            Metric("Suspected labels", Estimate.exact(len(found.suspects), ""), 0),
            Metric("Estimated share of wrong labels", found.wrong_share, 1),
            Metric("Images predicted as labelled", found.agreement, 1),
        ],
    )


def _images(found: LabelErrors) -> list[Block]:
    if not found.suspects:
        return ["None."]
    shown = found.suspects[:_MAX_IMAGES]
    caption = "Given label → suggested label, with the probability of the suggestion."
    if len(shown) < len(found.suspects):
        caption += f" These are the first {len(shown)} of {len(found.suspects):,}; `{TABLE}` lists all."
    return [ErrorGallery("The most suspicious labels first", [_shown(found, each) for each in shown], caption)]


def _shown(found: LabelErrors, suspect: Suspect) -> ConfidentError:
    image = shown_image(found.predictions.images, suspect.index)
    return ConfidentError(image, suspect.name, suspect.label, suspect.suggested, suspect.confidence)


def _next_steps(found: LabelErrors, folder: Path) -> list[Block]:
    table = shlex.quote(f"csv:{folder / TABLE}")
    return [
        f"Open `{TABLE}` in a spreadsheet. Its first rows are the suspected labels. Where the label is wrong, change "
        "the column `label`; delete the row of an image that belongs to no class; keep everything else. The table is a "
        "dataset with the same splits:",
        Code(f"mixlab data check {table}\nmixlab train --data {table}"),
    ]


def suspects_table(found: LabelErrors) -> Table:
    """The most suspicious labels, for the terminal."""
    rows: list[dict[str, Cell]] = [suspect.to_dict() for suspect in found.suspects[:_MAX_ROWS]]
    for row, suspect in zip(rows, found.suspects, strict=False):
        row["confidence"] = 100 * suspect.confidence
    columns = [
        Column("name", "image"),
        Column("split", "split"),
        Column("label", "label"),
        Column("suggested", "suggested"),
        Column("confidence", "confidence", "%", 1),
    ]
    hidden = len(found.suspects) - len(rows)
    notes = [f"{hidden:,} more are in {TABLE} and report.html."] if hidden > 0 else []
    return Table("Suspected labels", columns, rows, notes)


def class_table(found: LabelErrors) -> Table:
    """For each class, the images with this label and how many of them are estimated and suspected to be wrong."""
    suspected = Counter(suspect.label for suspect in found.suspects)
    images, wrong = found.counts.sum(axis=1), found.counts.sum(axis=1) - found.counts.diagonal()
    rows: list[dict[str, Cell]] = [
        {"class": name, "images": int(images[label]), "estimated": int(wrong[label]), "suspected": suspected[name]}
        for label, name in enumerate(found.dataset.classes)
    ]
    columns = [
        Column("class", "label"),
        Column("images", "images"),
        Column("estimated", "wrong, estimated"),
        Column("suspected", "suspected"),
    ]
    return Table("Labels by class", columns, rows)


def pair_table(found: LabelErrors) -> Table:
    """The most frequent combinations of a given and a suggested label."""
    pairs = Counter((suspect.label, suspect.suggested) for suspect in found.suspects).most_common(_MAX_ROWS)
    rows: list[dict[str, Cell]] = [
        {"label": label, "suggested": suggested, "suspected": count} for (label, suggested), count in pairs
    ]
    columns = [Column("label", "label"), Column("suggested", "suggested"), Column("suspected", "suspected")]
    return Table("The most frequent combinations", columns, rows)


def _run_details(found: LabelErrors) -> Section:
    dataset = found.dataset
    facts = {
        "Data": f"{dataset.name}: {len(dataset.classes):,} classes, {len(found.labels):,} images",
        "Fingerprint": dataset.fingerprint,
        "Model": found.model,
    } | machine_facts(found.environment)
    repeat = f"mixlab data labels {shlex.quote(dataset.name)} --model {shlex.quote(found.model)} --folds {found.folds}"
    notes = [*dataset.notes, *found.predictions.notes]
    return Section("Run details", [found.method, *notes, KeyValues(facts), "To repeat:", Code(repeat)])
