"""The report on a set of images: what should be looked at, with the images that it is about."""

from dataclasses import replace
from importlib.metadata import version

from mixlab.data.inspection.check import Check, DuplicateGroup, Member
from mixlab.data.inspection.findings import (
    HOW_ALIKE,
    alike,
    answer,
    class_table,
    findings,
    sizes,
    summary_table,
    unreadable_table,
)
from mixlab.report.image_grid import Gallery, Shown
from mixlab.report.page import Block, Columns, Metric, Page, Section, Summary, written_by
from mixlab.stats.estimate import Estimate

_GROUPS = 30
_MEMBERS = 8


def check_page(check: Check) -> Page:
    sections = [Section("What to look at", findings(check) or ["Nothing."])]
    if check.groups:
        sections.append(_copies(check))
    if check.unreadable:
        sections.append(Section("What can't be read", [unreadable_table(check)]))
    counts = [class_table(check), replace(summary_table(check), notes=())]
    sections.append(Section("What is there", [*check.dataset.notes, *counts]))
    return Page(
        title=f"The images of {check.dataset.name}",
        kicker="mixlab data check",
        answer=_summary(check),
        sections=sections,
        footer=written_by(version("mixlab")),
    )


def _summary(check: Check) -> Summary:
    figures = {
        "images": len(check.members),
        "can't be read": len(check.unreadable),
        "groups of copies": len(check.groups),
        "of them in several parts": len(check.across_parts),
        "of them in several classes": len(check.across_classes),
    }
    counted = [Metric(label, Estimate(n, n, n, n, ""), 0) for label, n in figures.items()]
    return Summary(answer(check), sizes(check), counted)


def _copies(check: Check) -> Section:
    shown = check.groups[:_GROUPS]
    blocks: list[Block] = [HOW_ALIKE]
    if len(shown) < len(check.groups):
        blocks.append(f"The first {_GROUPS} of {len(check.groups):,} groups; results.json has all.")
    blocks.append(Columns([_gallery(check, number, group) for number, group in enumerate(shown, start=1)]))
    return Section("The same image more than once", blocks)


def _gallery(check: Check, number: int, group: DuplicateGroup) -> Gallery:
    members = group.members[:_MEMBERS]
    more = f", of which {_MEMBERS} are shown" if len(members) < len(group.members) else ""
    return Gallery(
        f"{number}. {alike(group).capitalize()}",
        [_shown(check, member) for member in members],
        f"{len(group.members):,} images{more}, in {' and '.join(group.splits)}, as {' and '.join(group.labels)}.",
    )


def _shown(check: Check, member: Member) -> Shown:
    image = check.dataset.splits[member.split].image(member.index)
    return Shown(image, f"{member.split}, {member.label}", member.name)
