"""What the user should look at in a set of images before a training: sentences, and tables."""

from dataclasses import asdict
from typing import Any

import numpy as np

from mixlab.data.inspection.check import Check, DuplicateGroup, Member
from mixlab.data.inspection.near_duplicates import MAX_BITS, MIN_CORRELATION
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize

SCHEMA = 1

IMBALANCE = 10
"""Classes of one part whose images differ by this factor or more are pointed out."""

_LISTED = 20
"""Rows of a table for people; the page's figures and results.json name all."""

HOW_ALIKE = (
    f"Nearly the same: perceptual hashes that differ in at most {MAX_BITS} of 63 bits, and thumbnails that correlate "
    f"by at least {MIN_CORRELATION:g}. Mirrored copies are not found, and of those without colours or edges, some."
)


def findings(check: Check) -> list[str]:
    """What is wrong, or should be looked at: a sentence or two each, what weighs most first."""
    found = [f"A training would be refused: {check.training_error}"] if check.training_error else []
    if check.unreadable:
        found.append(
            f"Can't be read: {pluralize(len(check.unreadable), 'image')}. Mend or remove them, or let a recipe's "
            "max_unreadable leave them out."
        )
    if across := check.across_parts:
        found.append(
            f"The same image in more than one part: {_groups(across)}. Judging would ask for what was learned by "
            "heart, so keep each in one part."
        )
    if across := check.across_classes:
        found.append(f"The same image in more than one class: {_groups(across)}. One of the labels may be wrong.")
    inside = [group for group in check.groups if len(group.splits) == len(group.labels) == 1]
    if inside:
        found.append(
            f"The same image more than once in a part and class: {_groups(inside)}. They weigh more than others, and "
            "where the part is cut, near copies may come to lie on both sides."
        )
    found += _imbalances(check)
    if check.blank:
        found.append(f"Of one plain shade, which shows nothing: {pluralize(len(check.blank), 'image')}.")
    return found


def _groups(groups: list[DuplicateGroup]) -> str:
    images = pluralize(sum(len(group.members) for group in groups), "image")
    return f"{pluralize(len(groups), 'group')}, {images} together"


def _imbalances(check: Check) -> list[str]:
    found = []
    for split in check.dataset.splits:
        counts = check.counts(split)
        missing = [f'"{label}"' for label, count in counts.items() if not count]
        if missing and split != "train":  # of train, the refusal says it
            found.append(f"Without an image in {split}: {join_words(missing)}. How a model fares there is not seen.")
        present = {label: count for label, count in counts.items() if count}
        fewest, most = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
        if present[most] >= IMBALANCE * present[fewest]:
            found.append(
                f'In {split}, "{most}" has {pluralize(present[most], "image")} and "{fewest}" {present[fewest]:,}. '
                'Judge by the balanced accuracy, and consider loss.class_weights="balanced".'
            )
    return found


def answer(check: Check) -> str:
    images = pluralize(len(check.members), "image")
    if found := len(findings(check)):
        return f"{pluralize(found, 'thing')} should be looked at in {images}."
    return f"Nothing was found to be wrong with {images}."


def tables(check: Check) -> list[Table]:
    made = [summary_table(check), class_table(check)]
    if check.unreadable:
        made.append(unreadable_table(check))
    if check.groups:
        made.append(group_table(check))
    return made


def summary_table(check: Check) -> Table:
    rows: list[dict[str, Cell]] = [
        {"what": split, "images": len(check.dataset.splits[split])} for split in _parts(check)
    ]
    rows += [{"what": "can't be read", "images": len(check.unreadable)}]
    rows += [{"what": "of one plain shade", "images": len(check.blank)}]
    rows += [{"what": kind, "images": count} for kind, count in check.kinds.most_common()]
    for exact, what in ((True, "exact copies of another"), (False, "nearly the same as another")):
        rows.append({"what": what, "images": _spare(check, exact=exact)})
    notes = [sizes(check), answer(check), *findings(check), HOW_ALIKE]
    columns = [Column("what", "what"), Column("images", "images")]
    return Table(f"What is in {check.dataset.name}", columns, rows, [note for note in notes if note])


def _spare(check: Check, *, exact: bool) -> int:
    """Images that could go without a loss: all but one of each group."""
    return sum(len(group.members) - 1 for group in check.groups if group.exact == exact)


def sizes(check: Check) -> str:
    """A sentence."""
    if not len(check.sizes):
        return ""
    rows, columns = check.sizes.T
    area = np.argsort(rows * columns, kind="stable")
    smallest, middle, largest = (
        f"{rows[place]}x{columns[place]}" for place in (area[0], area[len(area) // 2], area[-1])
    )
    if smallest == largest:
        return f"Sizes: all {smallest} pixels (height x width)."
    return f"Sizes: {smallest} to {largest} pixels (height x width), {middle} in the middle."


def class_table(check: Check) -> Table:
    counts = {split: check.counts(split) for split in _parts(check)}
    rows: list[dict[str, Cell]] = [
        {"class": label, **{split: of_part[label] for split, of_part in counts.items()}}
        for label in check.dataset.classes
    ]
    return Table("Images of each class", [Column("class", "class"), *(Column(split, split) for split in counts)], rows)


def unreadable_table(check: Check) -> Table:
    rows: list[dict[str, Cell]] = [
        {"image": member.name, "split": member.split, "reason": reason} for member, reason in check.unreadable
    ]
    columns = [Column("image", "image"), Column("split", "split"), Column("reason", "reason")]
    return Table("Can't be read", columns, rows[:_LISTED], _more(len(rows)))


def group_table(check: Check) -> Table:
    rows: list[dict[str, Cell]] = [
        {
            "alike": alike(group),
            "images": len(group.members),
            "parts": ", ".join(group.splits),
            "classes": ", ".join(group.labels),
            "first": group.members[0].name,
            "other": _telling(group).name,
        }
        for group in check.groups
    ]
    columns = [Column("first", "image"), Column("other", "its copy"), Column("alike", "alike")]
    columns += [Column("images", "together"), Column("parts", "parts"), Column("classes", "classes")]
    return Table("Copies", columns, rows[:_LISTED], _more(len(rows)))


def _telling(group: DuplicateGroup) -> Member:
    """The copy that says most: one in another part than the first, else in another class, else the second."""
    first, *others = group.members
    return max(others, key=lambda other: (other.split != first.split, other.label != first.label))


def alike(group: DuplicateGroup) -> str:
    return "the same bytes" if group.exact else "nearly the same"


def _more(count: int) -> list[str]:
    return [f"The first {_LISTED} of {count:,}; --format csv lists all."] if count > _LISTED else []


def _parts(check: Check) -> list[str]:
    return list(check.dataset.splits)


def full_table(check: Check) -> Table:
    """A row for each image that something is wrong with; `group` counts from 1."""
    rows: list[dict[str, Cell]] = [
        {"finding": "unreadable", "group": None, **asdict(member), "reason": reason}
        for member, reason in check.unreadable
    ]
    rows += [{"finding": "plain", "group": None, **asdict(member)} for member in check.blank]
    for number, group in enumerate(check.groups, start=1):
        finding = "same_bytes" if group.exact else "nearly_the_same"
        rows += [{"finding": finding, "group": number, **asdict(member)} for member in group.members]
    keys = ("finding", "group", "split", "label", "name", "reason")
    return Table(f"What is in {check.dataset.name}", [Column(key, key) for key in keys], rows)


def results(check: Check) -> dict[str, Any]:
    """results.json."""
    return {
        "schema": SCHEMA,
        "data": check.dataset.name,
        "images": {split: len(check.dataset.splits[split]) for split in _parts(check)},
        "classes": {split: check.counts(split) for split in _parts(check)},
        "notes": list(check.dataset.notes),
        "findings": findings(check),
        "unreadable": [{"split": member.split, "name": member.name, "reason": why} for member, why in check.unreadable],
        "plain": [{"split": member.split, "name": member.name} for member in check.blank],
        "kinds": dict(check.kinds),
        "sizes": sizes(check),
        "groups": [
            {
                "exact": group.exact,
                "members": [{"split": one.split, "class": one.label, "name": one.name} for one in group.members],
            }
            for group in check.groups
        ],
    }
