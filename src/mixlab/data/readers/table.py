"""Images in Arrow tables, which the `datasets` library memory-maps for random access.

A table has a column of images (encoded bytes, with or without a path) and a column of classes (class labels, or values
that `class_name` reads).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mixlab.data.class_order import class_name
from mixlab.data.dataset import Dataset, ImageSource, Sample
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize

if TYPE_CHECKING:
    import datasets

_Table = TypeVar("_Table")

_IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "class", "cls", "target", "fine_label")
HIDDEN = -1
"""The label in published test splits with unpublished labels."""


@dataclass(frozen=True, slots=True)
class InTable:
    """An image file in a cell of a table. The table is memory-mapped, so pickling it for another process is cheap.

    `size`: in bytes.
    `name`: the name of the image, for error messages.
    """

    table: Any  # indexed by row, each a mapping of columns
    column: str
    row: int
    size: int
    name: str

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        cell = self.table[self.row][self.column]
        return cell["bytes"] if isinstance(cell, dict) else cell


def are_hidden(labels: Sequence[object], name: str, split: str, label: str) -> bool:
    """Whether the labels are not published. Raises UserError if only some of them are hidden.

    label  what contains the labels, such as "column "label"", for the error message
    """
    hidden = labels.count(HIDDEN)
    if 0 < hidden < len(labels):
        raise UserError(
            f"{name} has the class {HIDDEN}, which means no class, in {pluralize(hidden, 'row')} of {split}, {label}: "
            "replace it or remove the row."
        )
    return hidden > 0


def hidden_labels_note(split: str, images: int) -> str:
    """The note about a split that was skipped because its labels are not published."""
    return f"Skipped the split {split}: its labels are not published ({pluralize(images, 'image')})."


def standard_splits(name: str, provided: Mapping[str, _Table]) -> tuple[dict[str, _Table], list[str]]:
    """The tables by mixlab's split names, and a note about each split that was skipped.

    Raises UserError if no split is called train, validation or test, or if two are the same one.
    """
    split_of = find_splits(provided)
    check_one_name_per_split(name, split_of)
    others = [provided_name for provided_name in provided if provided_name not in split_of]
    if not split_of:
        raise UserError(
            f"{name} has no split called train, validation or test, only {', '.join(others)}: choose one, for example "
            f'"{name}:{others[0]}".'
        )
    splits = {split: provided[provided_name] for provided_name, split in split_of.items()}
    return splits, [f"Skipped the split {other}: it is not train, validation or test." for other in others]


def dataset_from_tables(name: str, tables: "Mapping[str, datasets.Dataset]", notes: Sequence[str] = ()) -> Dataset:
    """A dataset with a split for each table. All tables have the same columns.

    Raises UserError if the columns of images and classes can't be determined, or if a value is missing.
    """
    samples: dict[str, list[Sample]] = {}
    notes = list(notes)
    classes: tuple[str, ...] = ()
    for split, table in filled_tables(tables, notes):
        images, (labels, classes) = row_images(name, split, table), _labels(name, split, table)
        if labels is None:
            notes.append(hidden_labels_note(split, len(table)))
            continue
        samples[split] = [
            Sample(label, f"{split}/{row_name}", image) for label, (row_name, image) in zip(labels, images, strict=True)
        ]
    return with_labelled_rows(name, samples, notes, classes)


def filled_tables(
    tables: "Mapping[str, datasets.Dataset]", notes: list[str]
) -> "Iterator[tuple[str, datasets.Dataset]]":
    """The splits with rows; the others get a note."""
    for split, table in tables.items():
        if len(table) == 0:
            notes.append(f"Skipped the split {split}: it has no rows.")
        else:
            yield split, table


def with_labelled_rows(
    name: str, samples: Mapping[str, list[Sample]], notes: Sequence[str], classes: tuple[str, ...]
) -> Dataset:
    """The dataset of the splits in `samples`. Raises UserError if there are none."""
    if not samples:
        raise UserError(f"{name} has no rows with an image and a class: choose another split or dataset.")
    return as_provided(name, samples, tuple(notes), classes)


def row_images(name: str, split: str, table: "datasets.Dataset") -> list[tuple[str, ImageSource]]:
    """The name and the image of each row."""
    import datasets
    import pyarrow
    import pyarrow.compute

    columns = [column for column, feature in table.features.items() if _may_be_image(feature)]
    column = choose_column(name, table, columns, _IMAGE_COLUMNS, "images (encoded, as bytes)")
    if isinstance(table.features[column], datasets.Image):
        table = table.cast_column(column, datasets.Image(decode=False))
    cells: pyarrow.ChunkedArray = table.data.column(column)
    paths: list[str | None] = [None] * len(table)
    if pyarrow.types.is_struct(cells.type):
        paths = [path for chunk in cells.chunks for path in chunk.field("path").to_pylist()]
        cells = pyarrow.chunked_array([chunk.field("bytes") for chunk in cells.chunks])
    sizes = pyarrow.compute.call_function("binary_length", [cells]).to_pylist()
    rows = table.select_columns(column)
    images: list[tuple[str, ImageSource]] = []
    for row, (size, path) in enumerate(zip(sizes, paths, strict=True)):
        row_name = f"{row:07d}/{Path(path).name}" if path else f"{row:07d}"
        if size is None and path is None:
            raise UserError(
                f'{name} has no image in row {row} of {split}, column "{column}": add it or remove the row.'
            )
        image = Path(path or "") if size is None else InTable(rows, column, row, size, f"{name}/{split}/{row_name}")
        images.append((row_name, image))
    return images


def _may_be_image(feature: Any) -> bool:
    import datasets

    if isinstance(feature, dict):
        return {"bytes", "path"} <= feature.keys()
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _labels(name: str, split: str, table: "datasets.Dataset") -> tuple[list[str] | None, tuple[str, ...]]:
    """The class of each row, or None if they are not published, and the names of all classes if the table has them."""
    import datasets

    columns = [column for column, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)]
    columns = columns or [column for column in table.column_names if column in _LABEL_COLUMNS]
    column = choose_column(name, table, columns, _LABEL_COLUMNS, "classes")
    feature, values = table.features[column], table.data.column(column).to_pylist()
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else ()
    if are_hidden(values, name, split, f'column "{column}"'):
        return None, names
    if names:
        labels = ["" if value is None else names[value] for value in values]
    else:
        labels = [
            class_name(value, f'{name}, row {row} of {split}, column "{column}",') for row, value in enumerate(values)
        ]
    if missing := labels.count(""):
        raise UserError(
            f'{name} has no class in {pluralize(missing, "row")} of {split}, column "{column}", first in row '
            f"{labels.index('')}: add it or remove the row."
        )
    return labels, names


def choose_column(
    name: str, table: "datasets.Dataset", columns: list[str], default_names: tuple[str, ...], content: str
) -> str:
    """The only column of `columns`, or the first one with a default name. Raises UserError if there is none."""
    if len(columns) == 1:
        return columns[0]
    for column in default_names:
        if column in columns:
            return column
    problem = f"several columns of {content}, {', '.join(columns)}" if columns else f"no column of {content}"
    raise UserError(
        f"{name} has {problem}, among its columns {', '.join(table.column_names)}: rename the correct one to "
        f'"{default_names[0]}".'
    )
