"""Names of splits: which folders, files, tables and values of a column are train, validation and test."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from mixlab.errors import UserError

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}
"""Words for splits, in lower case -> the splits."""

_WORD = re.compile("|".join(sorted(SPLIT_WORDS, key=len, reverse=True)))


def find_splits(names: Iterable[str]) -> dict[str, str]:
    """The names that mean a split -> the split.

    A name means a split if it is one of `SPLIT_WORDS`, in any case. If no name is, names mean splits if they are equal
    except for such a word, for example "seg_train" and "seg_test", and mean different splits.
    """
    families: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in names:
        for word in _WORD.finditer(name.lower()):
            prefix, suffix = name.lower()[: word.start()], name.lower()[word.end() :]
            families[prefix, suffix][name] = SPLIT_WORDS[word[0]]
    if words_alone := families.get(("", "")):
        return words_alone
    return {
        name: split for family in families.values() if len(set(family.values())) > 1 for name, split in family.items()
    }


def check_one_name_per_split(dataset: str, splits: Mapping[str, str]) -> None:
    """Raises UserError if two names mean the same split. `splits`: name -> split."""
    first: dict[str, str] = {}
    for name, split in splits.items():
        if split in first:
            raise UserError(
                f"{dataset} has two {split} splits, {first[split]} and {name}: rename or remove one of them."
            )
        first[split] = name
