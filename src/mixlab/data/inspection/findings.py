"""The findings of a dataset check, as sentences, tables and JSON."""

from dataclasses import asdict
from typing import Any

import numpy as np

from mixlab.data.deep_image import ValueRange, union, uses_little
from mixlab.data.image_file import DeepValues
from mixlab.data.inspection.check import Check, DuplicateGroup, Member
from mixlab.data.inspection.near_duplicates import MAX_BITS, MIN_CORRELATION
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize

SCHEMA = 1

IMBALANCE = 10
"""Report a split if its largest class has at least this many times the images of its smallest."""

_MAX_ROWS = 20
"""Rows of a human-readable table; the csv format and results.json have all."""

SIMILARITY_NOTE = (
    f"Near duplicates have perceptual hashes that differ in at most {MAX_BITS} of 63 bits, and thumbnails with a "
    f"correlation of at least {MIN_CORRELATION:g}. Mirrored copies are not found, nor are some of the copies that were "
    "converted to grey or cropped."
)


def findings(check: Check) -> list[str]:
    """The problems, in one or two sentences each, with the most important first."""
    sentences = [f"Training is not possible: {check.training_error}"] if check.training_error else []
    if check.unreadable:
        sentences.append(
            f"Unreadable: {pluralize(len(check.unreadable), 'image')}. Repair or remove them, or skip them with the "
            "recipe key max_unreadable."
        )
    if across := check.across_splits:
        sentences.append(
            f"The same image in more than one split: {_groups(across)}. This makes the evaluation too optimistic, so "
            "keep each image in one split."
        )
    if across := check.across_classes:
        sentences.append(f"The same image in more than one class: {_groups(across)}. Some of the labels may be wrong.")
    inside = [group for group in check.groups if len(group.splits) == len(group.labels) == 1]
    if inside:
        sentences.append(
            f"The same image more than once in one split and class: {_groups(inside)}. It has a larger weight in "
            "training."
        )
    sentences += _imbalances(check)
    if check.deep:
        sentences += _value_range_findings(check.deep)
    if check.blank:
        sentences.append(f"Blank, with a single colour: {pluralize(len(check.blank), 'image')}.")
    return sentences


def _groups(groups: list[DuplicateGroup]) -> str:
    images = pluralize(sum(len(group.members) for group in groups), "image")
    return f"{pluralize(len(groups), 'group')} with {images}"


def _value_range_findings(deep: list[DeepValues]) -> list[str]:
    """Whether most images keep few shades in the range of all. A dark image beside bright ones is usual."""
    common = union(values.value_range for values in deep)
    few = sum(uses_little(values.used, common) for values in deep)
    if few <= len(deep) / 2:
        return []
    return [
        f"More than 8 bits, with few shades left: {few:,} of {pluralize(len(deep), 'image')} have values in less than "
        f"1/16 of the value range of all, {_range_text(common)}. If black and white have other values in your data, "
        "set preprocessing.value_range."
    ]


def _range_text(value_range: ValueRange) -> str:
    return f"{value_range[0]:.6g} to {value_range[1]:.6g}"


def value_summary(check: Check) -> str:
    """The values of the images with more than 8 bits, as a sentence; empty if there are none."""
    if not check.deep:
        return ""
    used, common = union(values.used for values in check.deep), union(values.value_range for values in check.deep)
    return f"Values of images with more than 8 bits: {_range_text(used)}; value range: {_range_text(common)}."


def _imbalances(check: Check) -> list[str]:
    sentences = []
    for split in check.dataset.splits:
        counts = check.counts(split)
        missing = [f'"{label}"' for label, count in counts.items() if not count]
        if missing and split != "train":  # for train, this is part of the training error
            sentences.append(
                f"No images in {split}: {join_words(missing)}. Models can't be evaluated on these classes."
            )
        present = {label: count for label, count in counts.items() if count}
        fewest, most = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
        if present[most] >= IMBALANCE * present[fewest]:
            sentences.append(
                f'Imbalanced classes in {split}: "{most}" has {pluralize(present[most], "image")} and "{fewest}" has '
                f'{present[fewest]:,}. Evaluate by balanced accuracy, and consider loss.class_weights="balanced".'
            )
    return sentences


def headline(check: Check) -> str:
    """The number of findings, as a sentence."""
    images = pluralize(len(check.members), "image")
    if count := len(findings(check)):
        return f"{pluralize(count, 'kind')} of findings in {images}."
    return f"No problems found in {images}."


def tables(check: Check) -> list[Table]:
    """The human-readable tables."""
    result = [summary_table(check), class_table(check)]
    if check.unreadable:
        result.append(unreadable_table(check))
    if check.groups:
        result.append(group_table(check))
    return result


def summary_table(check: Check) -> Table:
    """The number of images per split and per kind of finding; its notes are the findings."""
    rows: list[dict[str, Cell]] = [
        {"kind": split, "images": len(check.dataset.splits[split])} for split in _splits(check)
    ]
    rows += [{"kind": "unreadable", "images": len(check.unreadable)}]
    rows += [{"kind": "blank", "images": len(check.blank)}]
    rows += [{"kind": kind, "images": count} for kind, count in check.kinds.most_common()]
    for exact, kind in ((True, "byte-identical to another"), (False, "near duplicate of another")):
        rows.append({"kind": kind, "images": _redundant(check, exact=exact)})
    notes = [size_summary(check), value_summary(check), headline(check), *findings(check), SIMILARITY_NOTE]
    columns = [Column("kind", "kind"), Column("images", "images")]
    return Table(f"Contents of {check.dataset.name}", columns, rows, [note for note in notes if note])


def _redundant(check: Check, *, exact: bool) -> int:
    """The number of images that duplicate another one: all but one of each group."""
    return sum(len(group.members) - 1 for group in check.groups if group.exact == exact)


def size_summary(check: Check) -> str:
    """The smallest, median and largest size by area, as a sentence; empty if no image can be read."""
    if not len(check.sizes):
        return ""
    rows, columns = check.sizes.T
    area = np.argsort(rows * columns, kind="stable")
    smallest, median, largest = (
        f"{rows[index]}x{columns[index]}" for index in (area[0], area[len(area) // 2], area[-1])
    )
    if smallest == largest:
        return f"Sizes: all {smallest} pixels (height x width)."
    return f"Sizes: {smallest} to {largest} pixels (height x width), median {median}."


def class_table(check: Check) -> Table:
    """The number of images of each class in each split."""
    counts = {split: check.counts(split) for split in _splits(check)}
    rows: list[dict[str, Cell]] = [
        {"class": label, **{split: split_counts[label] for split, split_counts in counts.items()}}
        for label in check.dataset.classes
    ]
    return Table("Images per class", [Column("class", "class"), *(Column(split, split) for split in counts)], rows)


def unreadable_table(check: Check) -> Table:
    """The unreadable images, with reasons."""
    rows: list[dict[str, Cell]] = [
        {"image": member.name, "split": member.split, "reason": reason} for member, reason in check.unreadable
    ]
    columns = [Column("image", "image"), Column("split", "split"), Column("reason", "reason")]
    return Table("Unreadable images", columns, rows[:_MAX_ROWS], _truncation_note(len(rows)))


def group_table(check: Check) -> Table:
    """The groups of duplicates, each with two of its images."""
    rows: list[dict[str, Cell]] = [
        {
            "similarity": similarity(group),
            "images": len(group.members),
            "splits": ", ".join(group.splits),
            "classes": ", ".join(group.labels),
            "first": group.members[0].name,
            "other": _most_relevant_copy(group).name,
        }
        for group in check.groups
    ]
    columns = [Column("first", "image"), Column("other", "duplicate"), Column("similarity", "similarity")]
    columns += [Column("images", "images"), Column("splits", "splits"), Column("classes", "classes")]
    return Table("Duplicates", columns, rows[:_MAX_ROWS], _truncation_note(len(rows)))


def _most_relevant_copy(group: DuplicateGroup) -> Member:
    """A copy of the first image: preferably in another split, then in another class, otherwise the second."""
    first, *others = group.members
    return max(others, key=lambda other: (other.split != first.split, other.label != first.label))


def similarity(group: DuplicateGroup) -> str:
    """ "identical" or "near duplicate"."""
    return "identical" if group.exact else "near duplicate"


def _truncation_note(count: int) -> list[str]:
    return [f"These are the first {_MAX_ROWS} of {count:,} rows; --format csv lists all."] if count > _MAX_ROWS else []


def _splits(check: Check) -> list[str]:
    return list(check.dataset.splits)


def full_table(check: Check) -> Table:
    """The machine-readable table: one row per finding and image. Groups of duplicates are numbered from 1."""
    rows: list[dict[str, Cell]] = [
        {"finding": "unreadable", "group": None, **asdict(member), "reason": reason}
        for member, reason in check.unreadable
    ]
    rows += [{"finding": "blank", "group": None, **asdict(member)} for member in check.blank]
    for number, group in enumerate(check.groups, start=1):
        finding = "identical" if group.exact else "near_duplicate"
        rows += [{"finding": finding, "group": number, **asdict(member)} for member in group.members]
    keys = ("finding", "group", "split", "label", "name", "reason")
    return Table(f"Findings in {check.dataset.name}", [Column(key, key) for key in keys], rows)


def results(check: Check) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "schema": SCHEMA,
        "data": check.dataset.name,
        "images": {split: len(check.dataset.splits[split]) for split in _splits(check)},
        "classes": {split: check.counts(split) for split in _splits(check)},
        "notes": list(check.dataset.notes),
        "findings": findings(check),
        "unreadable": [
            {"split": member.split, "name": member.name, "reason": reason} for member, reason in check.unreadable
        ],
        "blank": [{"split": member.split, "name": member.name} for member in check.blank],
        "kinds": dict(check.kinds),
        "sizes": size_summary(check),
        "values": value_summary(check),
        "groups": [
            {
                "exact": group.exact,
                "members": [
                    {"split": member.split, "class": member.label, "name": member.name} for member in group.members
                ],
            }
            for group in check.groups
        ],
    }
