"""Groups of images from their names: `folder:PATH:group=REGEX`.

The regular expression is searched in the name of each image, which for a folder is the path relative to it. Its first
group, or the whole match if it has none, names the group of the image.
"""

import re
from dataclasses import replace
from pathlib import Path

from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.report.text import pluralize

_OPTION = ":group="

_EXAMPLES = {"group": r"patient_(\d+)", "label": r"^(\w+?)_", "test": r"_test\."}


def split_group_option(name: str) -> tuple[str, str | None]:
    """The name of a dataset before `:group=`, and the regular expression after it; None without one."""
    source, option, pattern = name.partition(_OPTION)
    return source, pattern if option else None


def group_by_name(dataset: Dataset, pattern: str) -> Dataset:
    """Set the group of each image from its name. An image without a match, or with an empty one, is a group of its own.

    Raises UserError if `pattern` is not a regular expression, if it matches no image, or if all images are one group.
    """
    name, noun = f"{dataset.name}{_OPTION}{pattern}", dataset.noun
    regex = compiled(pattern, "group", name)
    names = [image for split in dataset.splits.values() for image in split.names]
    found = {image: matched_group(regex, image) for image in names}
    unmatched = sum(not group for group in found.values())
    if unmatched == len(found):
        raise UserError(
            f"{name} matches none of the {pluralize(len(found), noun)}, such as {names[0]}: the regular expression "
            f"is searched in the path of each {noun} inside the source."
        )
    if unmatched == 0 and len(set(found.values())) == 1:
        raise UserError(
            f'{name} puts all {noun}s into one group, "{found[names[0]]}", so they can\'t be divided: write a regular '
            f"expression whose first group differs between the {noun}s."
        )
    splits = {split: _with_groups(images, found) for split, images in dataset.splits.items()}
    note = f"Not matched by group={pattern}, so each is a group of its own: {pluralize(unmatched, noun)}."
    notes = (*dataset.notes, note) if unmatched else dataset.notes
    return replace(dataset, name=name, splits=splits, notes=notes)


def compiled(pattern: str, option: str, name: str) -> re.Pattern[str]:
    """The regular expression of an option of the dataset `name`. Raises UserError if it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"{name} has an invalid regular expression ({error}): write it as in Python, for example "
            f":{option}={_EXAMPLES[option]}."
        ) from error


def matched_group(regex: re.Pattern[str], image: str) -> str:
    """The first group of the match in the name of an image, or the whole match; empty without one."""
    match = regex.search(image)
    return "" if match is None else match[min(regex.groups, 1)] or ""


def _with_groups(split: Split, found: dict[str, str]) -> Split:
    # An image's own name begins with a slash, so that it is not the name of a group.
    return replace(split, groups=tuple(found[image] or f"/{image}" for image in split.names))


def public_name(data: str) -> str:
    """The name of data without its local path and groups: folder:/home/me/pets becomes folder:pets."""
    kind, _, path = split_group_option(data)[0].partition(":")
    return f"folder:{Path(path).name}" if kind == "folder" else kind
