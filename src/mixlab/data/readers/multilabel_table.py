"""Images in Arrow tables with several labels per image: a column of lists of labels. An empty list means no label."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mixlab.data.class_order import class_name
from mixlab.data.dataset import Dataset
from mixlab.data.multilabel import MultilabelSample, multilabel_as_provided
from mixlab.data.readers.multilabel_csv import LABEL_TITLES
from mixlab.data.readers.table import choose_column, filled_tables, row_images
from mixlab.errors import UserError

if TYPE_CHECKING:
    import datasets


def multilabel_from_tables(name: str, tables: "Mapping[str, datasets.Dataset]", notes: Sequence[str] = ()) -> Dataset:
    """A dataset with a split for each table. All tables have the same columns.

    Raises UserError if the columns of images and labels can't be determined, or if a value is missing.
    """
    samples: dict[str, list[MultilabelSample]] = {}
    notes = list(notes)
    classes: tuple[str, ...] = ()
    for split, table in filled_tables(tables, notes):
        labels, classes = _labels(name, split, table)
        samples[split] = [
            MultilabelSample(of_row, f"{split}/{row_name}", image)
            for of_row, (row_name, image) in zip(labels, row_images(name, split, table), strict=True)
        ]
    if not samples:
        raise UserError(f"{name} has no rows with an image and labels: choose another split or dataset.")
    return multilabel_as_provided(name, samples, tuple(notes), classes)


def _labels(name: str, split: str, table: "datasets.Dataset") -> tuple[list[frozenset[str]], tuple[str, ...]]:
    """The labels of each row, and the names of all labels if the table has them."""
    import datasets

    lists = [column for column, feature in table.features.items() if _is_list(feature)]
    column = choose_column(name, table, lists, LABEL_TITLES, "lists of labels")
    inner = _inner(table.features[column])
    classes = tuple(inner.names) if isinstance(inner, datasets.ClassLabel) else ()
    rows = []
    for row, values in enumerate(table.data.column(column).to_pylist()):
        where = f'{name}, row {row} of {split}, column "{column}",'
        if values is None:
            raise UserError(f"{where} has no list: write an empty list for an image without a label.")
        labels = [classes[value] if classes and value is not None else class_name(value, where) for value in values]
        if "" in labels:
            raise UserError(f"{where} has an empty label: remove it from the list.")
        rows.append(frozenset(labels))
    return rows, classes


def _is_list(feature: Any) -> bool:
    import datasets

    return isinstance(feature, (list, datasets.List, datasets.LargeList))


def _inner(feature: Any) -> Any:
    return feature[0] if isinstance(feature, list) else feature.feature
