"""Reading of text files: labelled texts with the place that they come from.

A file is one of
    .csv, .tsv   a table with columns of the text, the class and optionally the split
    .jsonl       an object per line with the same keys
    .json        an object: name of a split -> list of [text, class]; names that begin with "oos" are out of scope
    others       a class, a space and a text per line
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.data.class_order import class_name
from mixlab.data.readers.csv_rows import find_columns
from mixlab.data.readers.folder_files import is_image
from mixlab.errors import UserError
from mixlab.files import translate_read_errors

UTF_8 = "utf-8"

_REQUIRED = {
    "text": ("text", "sentence", "utterance", "query", "question", "content"),
    "class": ("label", "class", "category", "target", "intent"),
}
_TITLES = _REQUIRED | {"split": ("split",)}
_SEPARATORS = ",;\t"
_PREFIX = "__label__"  # of fastText


@dataclass(frozen=True)
class Line:
    """A labelled text. `split` is the name that the file gives, or empty; `place` is its line or index."""

    text: str
    label: str
    place: str
    split: str = ""


def read_lines(path: Path, encoding: str) -> list[Line]:
    """All texts of a file.

    Raises UserError if it can't be read or is in another encoding, or if a text or a class is empty.
    """
    if is_image(path):
        raise UserError(f"{path} is an image, but texts are expected: give a table, a list or a folder of texts.")
    content = decoded(path, encoding)
    match path.suffix.lower():
        case ".csv" | ".tsv":
            lines = _table_lines(path, content)
        case ".jsonl":
            lines = _object_lines(path, content)
        case ".json":
            lines = _split_lists(path, content)
        case _:
            lines = _labelled_lines(path, content)
    return [_checked(path, line) for line in lines]


def decoded(path: Path, encoding: str) -> str:
    """The content of a file. Raises UserError with the line if it is in another encoding."""
    try:
        with translate_read_errors(path):
            content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): give the path of a file.") from error
    try:
        return content.decode("utf-8-sig" if encoding == UTF_8 else encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} is not in {encoding}: line {line} has the byte 0x{content[error.start]:02x}. Name its encoding, "
            "for example text:PATH:encoding=latin-1, or save it in UTF-8."
        ) from error
    except LookupError as error:
        raise UserError(f'encoding "{encoding}" is unknown: give one of Python, such as utf-8 or latin-1.') from error


def lines_in(content: str) -> list[str]:
    """The lines of a file, which end in LF, CR or both. `str.splitlines` also splits at characters such as U+0085."""
    return [line.removesuffix("\n") for line in io.StringIO(content, newline=None)]


def _table_lines(path: Path, content: str) -> Iterator[Line]:
    separator = max(_SEPARATORS, key=content.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    try:
        titles = next(rows, [])
        columns = find_columns(path, 1, titles, _REQUIRED, _TITLES)
        for cells in rows:
            if cells:
                values = {name: cells[index] if index < len(cells) else "" for name, index in columns.items()}
                yield Line(values["text"], values["class"], f"line {rows.line_num}", values.get("split", ""))
    except csv.Error as error:
        raise UserError(
            f"{path} has unbalanced double quotes in line {rows.line_num} ({error}): quote the whole value, and write "
            "each quote inside it twice."
        ) from error


def _object_lines(path: Path, content: str) -> Iterator[Line]:
    for number, line in enumerate(lines_in(content), start=1):
        if not line.strip():
            continue
        found = _parsed(path, line, f"line {number}")
        titles = list(found) if isinstance(found, dict) else []
        columns = find_columns(path, number, titles, _REQUIRED, _TITLES)
        values = {name: found[titles[index]] for name, index in columns.items()}
        yield Line(_text(values["text"]), values["class"], f"line {number}", _text(values.get("split", "")))


def _split_lists(path: Path, content: str) -> Iterator[Line]:
    found = _parsed(path, content, "the file")
    if not isinstance(found, dict) or not all(map(_is_pairs, found.values())):
        raise UserError(
            f"{path} is not a list of texts by split: it must be an object such as "
            '{"train": [["text", "class"], ...], "test": [...]}.'
        )
    for split, pairs in found.items():
        for index, (text, label) in enumerate(pairs):
            yield Line(_text(text), label, f"{split}[{index}]", split)


def _labelled_lines(path: Path, content: str) -> Iterator[Line]:
    for number, line in enumerate(lines_in(content), start=1):
        if line.strip():
            label, _, text = line.strip().partition(" ")
            yield Line(text, label.removeprefix(_PREFIX), f"line {number}")


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)


def _parsed(path: Path, content: str, place: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON in {place} ({error}): correct it.") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _checked(path: Path, line: Line) -> Line:
    """The line with stripped values. Raises UserError if its text or class is empty."""
    text, label = line.text.strip(), class_name(line.label, f"{path}, {line.place},")
    for title, value in (("text", text), ("class", label)):
        if not value:
            raise UserError(f"{path} has an empty {title} in {line.place}: add it or remove the entry.")
    return Line(text, label, line.place, line.split)
