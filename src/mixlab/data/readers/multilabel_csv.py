"""`csv:FILE` with several labels per image, in one of three shapes.

    path,labels          path,cat,dog,sea          path,label
    a.jpg,cat|sea        a.jpg,1,0,1               a.jpg,cat
    b.jpg,               b.jpg,0,0,0               a.jpg,sea

1. A column of labels that are separated by "|", ";", "," or spaces. An empty cell means no label.
2. A column of 0 and 1 for each label.
3. A row for each image and label: rows of the same image are united.

The columns `split` and `group` are those of a table with one class per image.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixlab.data.dataset import Dataset
from mixlab.data.multilabel import MultilabelSample, multilabel_as_provided
from mixlab.data.readers.csv_rows import IMAGE_TITLES, check_width, csv_rows, filled_values, find_columns, missing_files
from mixlab.data.readers.split_names import check_one_name_per_split, find_splits
from mixlab.errors import UserError

LABEL_TITLES = ("labels", "label", "tags", "classes", "class", "targets", "target")
"""The titles of the column of the labels, in lower case."""

SEPARATORS = ("|", ";", ",", " ")
"""The first one that is in a cell of the column separates the labels of all cells."""

_OTHERS = {"image": IMAGE_TITLES, "split": ("split",), "group": ("group",)}
_TITLES = {**_OTHERS, "labels": LABEL_TITLES}
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    labels: frozenset[str]
    split: str
    group: str


def read_multilabel_csv(path: Path) -> Dataset:
    """Read a table.

    Raises UserError if the table is malformed or its columns are ambiguous, if a value of a label's column is not 0 or
    1, or if an image does not exist.
    """
    rows, classes = _read(path)
    split_of = find_splits(dict.fromkeys(row.split for row in rows))
    check_one_name_per_split(str(path), split_of)
    images: dict[Path, _Row] = {}
    for row in rows:
        if row.split not in split_of:
            raise UserError(f'{path} has the split "{row.split}" in line {row.line}: it must be train, val or test.')
        file = path.parent / row.image
        images[file] = _united(path, images[file], row) if file in images else row
    if missing := [row.image for file, row in images.items() if not file.exists()]:
        raise missing_files(path, len(images), missing)
    if not images:
        raise UserError(f"{path} has a header but no rows: add a row with a path and labels for each image.")
    samples: dict[str, list[MultilabelSample]] = {}
    for file, row in images.items():
        sample = MultilabelSample(row.labels, row.image, file, row.group)
        samples.setdefault(split_of[row.split], []).append(sample)
    return multilabel_as_provided(f"csv:{path.absolute()}", samples, classes=classes)


def _united(path: Path, first: _Row, second: _Row) -> _Row:
    """Two rows of the same image as one."""
    where = f"{path} has {first.image} in line {first.line} and again in line {second.line}"
    if (first.split, first.group) != (second.split, second.group):
        raise UserError(f"{where} with another split or group: an image belongs to one, so change one of the rows.")
    if repeated := first.labels & second.labels or (first.labels == second.labels):
        what = f'with the label "{min(repeated)}"' if isinstance(repeated, frozenset) else "without a label"
        raise UserError(f"{where} {what}: remove one of the rows.")
    return replace(first, labels=first.labels | second.labels)


def _read(path: Path) -> tuple[list[_Row], tuple[str, ...]]:
    """The rows, and the names of all labels if each has a column."""
    rows = csv_rows(path)
    line, titles = next(rows, (1, []))
    columns = find_columns(path, line, titles, {"image": IMAGE_TITLES}, _TITLES)
    cells = list(rows)
    for row_line, values in cells:
        check_width(path, row_line, values, titles)
    if "labels" in columns:
        return list(_rows_with_list(path, titles, columns, cells)), ()
    names = {
        unicodedata.normalize("NFC", title.strip()): index
        for index, title in enumerate(titles)
        if index not in columns.values()
    }
    if not names or "" in names or len(names) + len(columns) < len(titles):
        raise UserError(
            f"{path} has no column of the labels in line {line}, only {', '.join(titles)}: add a column called labels, "
            "or a column of 0 and 1 for each label, with different names."
        )
    return list(_rows_with_flags(path, titles, columns, names, cells)), tuple(names)


def _rows_with_list(
    path: Path, titles: list[str], columns: dict[str, int], rows: Sequence[tuple[int, list[str]]]
) -> Iterator[_Row]:
    place = columns["labels"]
    others = {name: index for name, index in columns.items() if name != "labels"}
    texts = [cells[place].strip() if place < len(cells) else "" for _, cells in rows]
    separator = next((each for each in SEPARATORS if any(each in text for text in texts)), SEPARATORS[0])
    for (line, cells), text in zip(rows, texts, strict=True):
        labels = [unicodedata.normalize("NFC", part.strip()) for part in text.split(separator)]
        yield _row(line, filled_values(path, line, cells, titles, others), filter(None, labels))


def _rows_with_flags(
    path: Path,
    titles: list[str],
    columns: dict[str, int],
    names: dict[str, int],
    rows: Sequence[tuple[int, list[str]]],
) -> Iterator[_Row]:
    for line, cells in rows:
        labels = []
        for name, place in names.items():
            value = cells[place].strip() if place < len(cells) else ""
            flag = _FLAGS.get(value.lower())
            if flag is None:
                problem = f'"{value}"' if value else "no value"
                raise UserError(
                    f'{path} has {problem} in the column "{name}" in line {line}: without a column called labels, '
                    "every further column is a label and has 0 or 1, so write one of them or remove the column."
                )
            if flag:
                labels.append(name)
        yield _row(line, filled_values(path, line, cells, titles, columns), labels)


def _row(line: int, values: dict[str, str], labels: Iterable[str]) -> _Row:
    return _Row(line, values["image"], frozenset(labels), values.get("split", "train").lower(), values.get("group", ""))
