"""The forms of dataset names with texts: `text:PATH[:encoding=NAME]`, and published datasets in their own files."""

from dataclasses import dataclass, replace
from pathlib import Path

from mixlab.data.dataset import Dataset
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.sources import Kind, user_images
from mixlab.data.splits import with_all_splits, with_test_split
from mixlab.data.text.files import read_texts, texts_out_of_scope
from mixlab.errors import UserError


@dataclass(frozen=True)
class _Published:
    """The files of a published dataset as a pattern, their encoding, and the repository that has them."""

    pattern: str
    encoding: str
    repository: str


PUBLISHED = {
    "trec": _Published("TREC.*.all", "latin-1", "harvardnlp/sent-conv-torch"),
    "mr": _Published("rt-polarity.all", "latin-1", "harvardnlp/sent-conv-torch"),
    "banking77": _Published("t*.csv", "utf-8", "PolyAI-LDN/task-specific-datasets"),
    "clinc150": _Published("data_full.json", "utf-8", "clinc/oos-eval"),
}
"""The word before the colon -> the dataset."""


def out_of_scope_texts(name: str) -> dict[str, list[str]]:
    """The texts of a dataset that belong to none of its classes, by split: "validation", "test". Empty without any.

    `name`: as for `mixlab.data.sources.open_dataset`.
    """
    word, _, location = name.partition(":")
    return texts_out_of_scope(_files_of(word, location) if word in PUBLISHED else location)


def _open_published(word: str, location: str) -> Dataset:
    name = f"{word}:{Path(location).expanduser().absolute()}" if location else word
    return replace(read_texts(_files_of(word, location)), name=name)


def _files_of(word: str, location: str) -> str:
    """The location of the files for `read_texts`. Raises UserError if they are missing."""
    published = PUBLISHED[word]
    folders = [Path(location).expanduser()] if location else [folder / word for folder in data_dirs()]
    for folder in folders:
        if found := sorted(folder.glob(published.pattern)):
            path = found[0] if len(found) == 1 else folder / published.pattern
            return f"{path}:encoding={published.encoding}"
    raise UserError(
        f"{word} is not in {' or '.join(map(str, folders))}: put {published.pattern} of the GitHub repository "
        f"{published.repository} there, or give its folder as {word}:PATH."
    )


def _published(word: str) -> Kind:
    return Kind(
        f"{word}[:PATH]",
        lambda location, *, quiet: with_all_splits(_open_published(word, location), quiet=quiet),
        lambda location, *, quiet: with_test_split(_open_published(word, location)),
        lambda location, *, quiet: _open_published(word, location),
    )


TEXT_KINDS = {
    "text": user_images("text:PATH[:encoding=NAME]", lambda location, *, quiet: read_texts(location)),
    **{word: _published(word) for word in PUBLISHED},
}
"""The word before the colon -> how the dataset is opened."""
