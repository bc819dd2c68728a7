"""`text:PATH[:encoding=NAME]`: labelled texts from a file, from the files of a pattern, or from a folder.

A file is described in `mixlab.data.text.read`. Several files, in a folder or by a pattern such as "TREC.*.all", are the
splits that their names say. A folder of folders has one text per .txt file, by class or by split and class.
"""

import glob
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.folder_files import TEXT_FILES
from mixlab.data.readers.folder_scan import scan
from mixlab.data.readers.split_names import SPLIT_WORDS, check_one_name_per_split, find_splits
from mixlab.data.splits import as_provided
from mixlab.data.text.hashing import tokens_of
from mixlab.data.text.read import UTF_8, Line, decoded, read_lines
from mixlab.data.text.text import Text
from mixlab.errors import UserError
from mixlab.report.text import join_words

OUT_OF_SCOPE = "oos"
"""The beginning of the names of splits with texts that belong to none of the classes."""

_OPTION = re.compile(r":encoding=([^:]*)$")
_TABLES = (".csv", ".tsv", ".jsonl", ".json")


def read_texts(location: str) -> Dataset:
    """Read labelled texts. Raises UserError if there are none, or if they can't be read."""
    path, encoding = _location(location)
    name = f"text:{path.absolute()}" + ("" if encoding == UTF_8 else f":encoding={encoding}")
    if path.is_dir() and any(path.glob("**/*/*.txt")):
        lines_of, skipped = _folder_lines(path, encoding)
    else:
        lines_of, skipped = _file_lines(path, encoding)
    dataset = _dataset(name, lines_of)
    return replace(dataset, notes=(*dataset.notes, *skipped))


def texts_out_of_scope(location: str) -> dict[str, list[str]]:
    """The texts that belong to none of the classes, by split: "validation", "test". Empty without any."""
    path, encoding = _location(location)
    if path.suffix.lower() != ".json":
        return {}
    texts: dict[str, list[str]] = {}
    for line in read_lines(path, encoding):
        if line.split.startswith(OUT_OF_SCOPE):
            word = line.split.removeprefix(OUT_OF_SCOPE).strip("_-").lower()
            texts.setdefault(SPLIT_WORDS.get(word, "train"), []).append(line.text)
    return texts


def _location(location: str) -> tuple[Path, str]:
    """The path, and the encoding."""
    option = _OPTION.search(location)
    path = location if option is None else location[: option.start()]
    return Path(path).expanduser(), UTF_8 if option is None else option[1].lower()


def _file_lines(path: Path, encoding: str) -> tuple[dict[str, list[tuple[str, Line]]], list[str]]:
    """The lines of each split with their names, and notes."""
    files = _files(path)
    by_name = {
        file.name: read_lines(file, encoding) for file in (files if len(files) == 1 else _of_splits(path, files))
    }
    split_of_file = find_splits(by_name) if len(files) > 1 else {}
    check_one_name_per_split(str(path), split_of_file)
    notes = [f"Skipped because its name is no split: {file.name}." for file in files if file.name not in by_name]
    split_of = find_splits(dict.fromkeys(line.split.lower() for lines in by_name.values() for line in lines))
    lines_of: dict[str, list[tuple[str, Line]]] = {}
    ignored: dict[str, int] = {}
    for name, lines in by_name.items():
        for line in lines:
            split = split_of_file.get(name) or (split_of.get(line.split.lower()) if line.split else "train")
            if split is None:
                ignored[line.split] = ignored.get(line.split, 0) + 1
            else:
                lines_of.setdefault(split, []).append((f"{name}: {line.place}", line))
    unknown = [split for split in ignored if not split.startswith(OUT_OF_SCOPE)]
    if unknown:
        raise UserError(f'{path} has the split "{unknown[0]}": it must be train, val or test.')
    if ignored:
        notes.append(
            f"Out of scope, and not learned from: {sum(ignored.values()):,} texts ({join_words(list(ignored))})."
        )
    return lines_of, notes


def _files(path: Path) -> list[Path]:
    """The files of a path, of a folder or of a pattern. Raises UserError if there are none."""
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in _TABLES]
    else:
        found = [Path(file) for file in glob.glob(str(path)) if Path(file).is_file()]  # noqa: PTH207  absolute patterns
    if not found:
        raise UserError(
            f"text:{path} has no texts: give a table with the columns text and label, a list of lines with a class and "
            "a text, or a folder with a folder of .txt files for each class."
        )
    return sorted(found)


def _of_splits(path: Path, files: list[Path]) -> list[Path]:
    split_of = find_splits(file.name for file in files) or find_splits(file.stem for file in files)
    chosen = [file for file in files if file.name in split_of or file.stem in split_of]
    if not chosen:
        raise UserError(
            f"text:{path} has {len(files)} files, such as {files[0].name}, and their names do not say which split they "
            "are: name them train, val and test, or give a single file."
        )
    return chosen


def _folder_lines(path: Path, encoding: str) -> tuple[dict[str, list[tuple[str, Line]]], list[str]]:
    """The texts of each split of a folder, one per file, with their names, and notes."""
    contents = scan(path, TEXT_FILES)
    lines_of: dict[str, list[tuple[str, Line]]] = {}
    for split, samples in contents.splits.items():
        for sample in samples:
            assert isinstance(sample.image, Path)
            text = decoded(sample.image, encoding).strip()
            if not tokens_of(text):
                raise UserError(f"{sample.image} has an empty text: add it or remove the file.")
            lines_of.setdefault(split, []).append((sample.name, Line(text, sample.label, sample.name)))
    return lines_of, list(contents.notes)


def _dataset(name: str, lines_of: Mapping[str, list[tuple[str, Line]]]) -> Dataset:
    samples = {
        split: [Sample(line.label, place, Text(line.text)) for place, line in lines]
        for split, lines in lines_of.items()
    }
    return replace(as_provided(name, samples), noun="text")
