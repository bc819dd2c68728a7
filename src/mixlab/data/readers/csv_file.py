"""`csv:FILE`: a table of image paths and classes, separated by commas, semicolons or tabs.

The first row names the columns: one of the image, one of the class, and optionally `split` (a name of a split, such as
train, val or test, see `split_names`) and `group` (images of the same group are never separated by a split). Paths are
relative to the folder of the table.
"""

from collections.abc import Iterator
from pathlib import Path

from mixlab.data.class_order import class_name
from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.csv_rows import IMAGE_TITLES, check_width, csv_rows, filled_values, find_columns, missing_files
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.data.splits import as_provided
from mixlab.errors import UserError

_REQUIRED = {
    "image": IMAGE_TITLES,
    "class": ("label", "class", "target"),
}
_TITLES = _REQUIRED | {"split": ("split",), "group": ("group",)}
"""Each column that is read -> the titles that it may have, in lower case."""


def read_csv(path: Path) -> Dataset:
    """Read a table.

    Raises UserError if the table is malformed or its columns are ambiguous, or if an image is named twice or does not
    exist.
    """
    name = f"csv:{path.absolute()}"
    samples: dict[str, list[Sample]] = {}
    first_rows: dict[Path, tuple[int, str]] = {}
    missing: list[str] = []
    rows = list(_rows(path))
    split_of = find_splits(dict.fromkeys(row["split"].lower() for _, row in rows))
    check_one_name_per_split(str(path), split_of)
    for line, row in rows:
        image, label = path.parent / row["image"], class_name(row["class"], f"{path}, line {line},")
        if image in first_rows:
            raise _named_twice(path, row["image"], first_rows[image], (line, label))
        first_rows[image] = line, label
        if not image.exists():
            missing.append(row["image"])
        split = split_of.get(row["split"].lower())
        if split is None:
            raise UserError(f'{path} has the split "{row["split"]}" in line {line}: it must be train, val or test.')
        samples.setdefault(split, []).append(Sample(label, row["image"], image, row.get("group", "")))
    if missing:
        raise missing_files(path, len(first_rows), missing)
    if not first_rows:
        raise UserError(f"{path} has a header but no rows: add a row with a path and a label for each image.")
    return as_provided(name, samples)


def _named_twice(path: Path, image: str, first: tuple[int, str], second: tuple[int, str]) -> UserError:
    if first[1] != second[1]:
        return UserError(
            f'{path} is multi-label: {image} has the class "{first[1]}" in line {first[0]} and "{second[1]}" in line '
            f"{second[0]}, but each image must have one class. Remove one of the rows, or train with --task multilabel."
        )
    return UserError(
        f"{path} has {image} in line {first[0]} and again in line {second[0]}: each image can have only one row, so "
        "remove one of them."
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The first line of each row, from 1, and the values of the columns in `_TITLES`; "split" is always set."""
    rows = csv_rows(path)
    line, titles = next(rows, (1, []))
    columns = find_columns(path, line, titles, _REQUIRED, _TITLES)
    for line, cells in rows:
        check_width(path, line, cells, titles)
        yield line, {"split": "train"} | filled_values(path, line, cells, titles, columns)
