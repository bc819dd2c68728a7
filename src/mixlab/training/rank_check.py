"""Checks that all processes of a training have the same dataset, before they share its batches."""

from collections.abc import Mapping
from typing import Any

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.report.text import pluralize
from mixlab.training.distributed import all_gather


def check_same_dataset(dataset: Dataset) -> None:
    """Raises UserError on every rank if a rank has other classes, splits or images. Collective: call it on every rank.

    No image is read: images are compared by name, class and file size.
    """
    main, *others = all_gather(dataset.summary)
    for rank, other in enumerate(others, start=1):
        if other != main:
            difference = _difference(main, other, dataset.noun)
            raise UserError(
                f"Process {rank} has other data than process 0: {difference}. Give every process the same files of "
                f"{dataset.name}."
            )


def _difference(main: Mapping[str, Any], other: Mapping[str, Any], noun: str) -> str:
    for index, (main_class, other_class) in enumerate(zip(main["classes"], other["classes"], strict=False)):
        if main_class != other_class:
            return f'class {index} is "{other_class}" instead of "{main_class}"'
    if len(main["classes"]) != len(other["classes"]):
        return f"{len(other['classes'])} classes instead of {len(main['classes'])}"
    for split, count in main["images"].items():
        if other["images"].get(split) != count:
            return f"{pluralize(other['images'].get(split, 0), f'{split} {noun}')} instead of {count:,}"
    return f"the names, classes or file sizes of the {noun}s differ"
