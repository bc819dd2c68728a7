"""The report page of a dataset check: the findings, with the images that they refer to."""

from dataclasses import replace
from importlib.metadata import version

from mixlab.data.inspection.check import Check, DuplicateGroup, Member
from mixlab.data.inspection.findings import (
    SIMILARITY_NOTE,
    class_table,
    findings,
    headline,
    similarity,
    size_summary,
    summary_table,
    unreadable_table,
)
from mixlab.report.image_grid import Gallery, Shown
from mixlab.report.page import Block, Columns, Metric, Page, Section, Summary, written_by
from mixlab.stats.estimate import Estimate

_MAX_GROUPS = 30
_MAX_IMAGES = 8  # per group


def check_page(check: Check) -> Page:
    """The page, which includes the images."""
    sections = [Section("Findings", findings(check) or ["None."])]
    if check.groups:
        sections.append(_duplicates(check))
    if check.unreadable:
        sections.append(Section("Unreadable images", [unreadable_table(check)]))
    counts = [class_table(check), replace(summary_table(check), notes=())]
    sections.append(Section("Contents", [*check.dataset.notes, *counts]))
    return Page(
        title=f"Check of {check.dataset.name}",
        kicker="mixlab data check",
        summary=_summary(check),
        sections=sections,
        footer=written_by(version("mixlab")),
    )


def _summary(check: Check) -> Summary:
    figures = {
        "images": len(check.members),
        "unreadable": len(check.unreadable),
        "groups of duplicates": len(check.groups),
        "groups in several splits": len(check.across_splits),
        "groups in several classes": len(check.across_classes),
    }
    metrics = [Metric(label, Estimate(n, n, n, n, ""), 0) for label, n in figures.items()]
    return Summary(headline(check), size_summary(check), metrics)


def _duplicates(check: Check) -> Section:
    groups = check.groups[:_MAX_GROUPS]
    blocks: list[Block] = [SIMILARITY_NOTE]
    if len(groups) < len(check.groups):
        blocks.append(f"These are the first {_MAX_GROUPS} of {len(check.groups):,} groups; results.json lists all.")
    blocks.append(Columns([_gallery(check, number, group) for number, group in enumerate(groups, start=1)]))
    return Section("Duplicates", blocks)


def _gallery(check: Check, number: int, group: DuplicateGroup) -> Gallery:
    members = group.members[:_MAX_IMAGES]
    more = f" ({_MAX_IMAGES} shown)" if len(members) < len(group.members) else ""
    return Gallery(
        f"{number}. {similarity(group).capitalize()}",
        [_shown(check, member) for member in members],
        f"{len(group.members):,} images{more} in {' and '.join(group.splits)}, labelled {' and '.join(group.labels)}.",
    )


def _shown(check: Check, member: Member) -> Shown:
    image = check.dataset.splits[member.split].image(member.index)
    return Shown(image, f"{member.split}, {member.label}", member.name)
