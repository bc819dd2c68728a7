"""Images in rows of Arrow tables, as the `datasets` library opens them: memory-mapped, read at any place.

A column of images (encoded bytes, with or without a path) and one of classes (names, numbers, or texts).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mixlab.data.dataset import Dataset, ImageSource, Sample
from mixlab.data.readers.folder_scan import SPLIT_FOLDERS
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize

if TYPE_CHECKING:
    import datasets

_Table = TypeVar("_Table")

_IMAGES = ("image", "img", "picture", "jpg", "png", "webp")
_LABELS = ("label", "labels", "class", "cls", "target", "fine_label")
HIDDEN = -1
"""What published test parts say where the answer is kept secret."""


@dataclass(frozen=True, slots=True)
class InTable:
    """A cell with an image's file. Tables are shared, and travel to other processes as where they lie."""

    table: Any  # rows, each a mapping of columns
    column: str
    row: int
    size: int
    name: str

    def __str__(self) -> str:
        return self.name

    def read_bytes(self) -> bytes:
        cell = self.table[self.row][self.column]
        return cell["bytes"] if isinstance(cell, dict) else cell


def secret(split: str, images: int) -> str:
    return f"The part {split} keeps its classes secret and was left out: {pluralize(images, 'image')}."


def standard_splits(name: str, provided: Mapping[str, _Table]) -> tuple[dict[str, _Table], list[str]]:
    """A source's splits by the names that parts have here, and a note of each that is none. Raises UserError."""
    splits = {
        SPLIT_FOLDERS[split.lower()]: table for split, table in provided.items() if split.lower() in SPLIT_FOLDERS
    }
    others = [split for split in provided if split.lower() not in SPLIT_FOLDERS]
    if not splits:
        raise UserError(
            f"{name} has no split that is called train, validation or test but {', '.join(others)}: write "
            f'"{name}:{others[0]}".'
        )
    return splits, [f"The split {split} is none of train, validation and test and was left out." for split in others]


def tabled(name: str, tables: "Mapping[str, datasets.Dataset]", notes: Sequence[str] = ()) -> Dataset:
    """The dataset with a part for each table, all of the same columns. Raises UserError."""
    found: dict[str, list[Sample]] = {}
    notes = list(notes)
    classes: tuple[str, ...] = ()
    for split, table in tables.items():
        if len(table) == 0:
            notes.append(f"The part {split} has no rows and was left out.")
            continue
        images, (labels, classes) = _images(name, split, table), _labels(name, split, table)
        if labels is None:
            notes.append(
                f"The part {split} keeps its classes secret and was left out: {pluralize(len(table), 'image')}."
            )
            continue
        found[split] = [
            Sample(label, f"{split}/{written}", image) for label, (written, image) in zip(labels, images, strict=True)
        ]
    if not found:
        raise UserError(f"{name} has no rows with an image and its class: there is nothing to train on or to judge.")
    return as_provided(name, found, tuple(notes), classes)


def _images(name: str, split: str, table: "datasets.Dataset") -> list[tuple[str, ImageSource]]:
    """The rows' names and images."""
    import datasets
    import pyarrow
    import pyarrow.compute

    columns = [column for column, feature in table.features.items() if _may_be_image(feature)]
    column = _chosen(name, table, columns, _IMAGES, "images (encoded, as bytes)")
    if isinstance(table.features[column], datasets.Image):
        table = table.cast_column(column, datasets.Image(decode=False))
    cells: pyarrow.ChunkedArray = table.data.column(column)
    paths: list[str | None] = [None] * len(table)
    if pyarrow.types.is_struct(cells.type):
        paths = [path for chunk in cells.chunks for path in chunk.field("path").to_pylist()]
        cells = pyarrow.chunked_array([chunk.field("bytes") for chunk in cells.chunks])
    sizes = pyarrow.compute.call_function("binary_length", [cells]).to_pylist()
    rows = table.select_columns(column)
    found: list[tuple[str, ImageSource]] = []
    for row, (size, path) in enumerate(zip(sizes, paths, strict=True)):
        written = f"{row:07d}/{Path(path).name}" if path else f"{row:07d}"
        if size is None and path is None:
            raise UserError(
                f'{name} has no image in row {row} of {split}, column "{column}": fill it or remove the row.'
            )
        image = Path(path or "") if size is None else InTable(rows, column, row, size, f"{name}/{split}/{written}")
        found.append((written, image))
    return found


def _may_be_image(feature: Any) -> bool:
    import datasets

    if isinstance(feature, dict):
        return {"bytes", "path"} <= feature.keys()
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", None) in ("binary", "large_binary")


def _labels(name: str, split: str, table: "datasets.Dataset") -> tuple[list[str] | None, tuple[str, ...]]:
    """The rows' classes, None where they are secret, and the names of all classes where the table knows them."""
    import datasets

    columns = [column for column, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)]
    texts_or_numbers = [
        column
        for column, feature in table.features.items()
        if column in _LABELS
        and str(getattr(feature, "dtype", "")).startswith(("int", "uint", "string", "large_string"))
    ]
    several = [column for column in _LABELS if isinstance(table.features.get(column), (list, datasets.List))]
    if several:
        raise UserError(
            f'{name} has lists of classes in the column "{several[0]}": an image has one class here, so keep one of '
            "them in a row."
        )
    column = _chosen(name, table, columns or texts_or_numbers, _LABELS, "classes (numbers or texts)")
    values = table.data.column(column).to_pylist()
    if missing := values.count(None):
        raise UserError(
            f'{name} has no class in {pluralize(missing, "row")} of {split}, column "{column}", the first of them row '
            f"{values.index(None)}: fill it or remove the row."
        )
    feature = table.features[column]
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else ()
    if hidden := values.count(HIDDEN):
        if hidden == len(values):
            return None, names
        raise UserError(
            f"{name} has the class {HIDDEN}, which stands for none, in {pluralize(hidden, 'row')} of {split}, column "
            f'"{column}": fill it or remove the row.'
        )
    return [names[value] if names else str(value) for value in values], names


def _chosen(name: str, table: "datasets.Dataset", columns: list[str], default: tuple[str, ...], what: str) -> str:
    """The one column of `columns`, or the first that has a usual name."""
    if len(columns) == 1:
        return columns[0]
    for column in default:
        if column in columns:
            return column
    doubt = f"several columns of {what}, {', '.join(columns)}" if columns else f"no column of {what}"
    raise UserError(
        f'{name} has {doubt}, among its {", ".join(table.column_names)}: call the right one "{default[0]}".'
    )
