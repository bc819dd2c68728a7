"""BibTeX entries of what was used, from references.bib."""

import re
from collections.abc import Sequence
from importlib.metadata import metadata, version
from importlib.resources import files


def bibtex(keys: Sequence[str]) -> str:
    """The entries for mixlab and PyTorch, and those with these keys, separated by empty lines. None is repeated."""
    entries = _entries()
    return "\n\n".join([_own_entry(), *(entries[key] for key in dict.fromkeys(["pytorch", *keys]))]) + "\n"


def known_references(keys: Sequence[str]) -> list[str]:
    """Those of the keys that have an entry."""
    entries = _entries()
    return [key for key in keys if key in entries]


def data_references(name: str) -> list[str]:
    """The keys of the entries for a dataset, given by the string that opens it."""
    return known_references([name.partition(":")[0]])


def _own_entry() -> str:
    lines = [
        "@software{mixlab,",
        "  author = {{The mixlab developers}},",
        f"  title = {{{metadata('mixlab')['Summary'].rstrip('.')}}},",
        f"  version = {{{version('mixlab')}}}",
        "}",
    ]
    return "\n".join(lines)


def _entries() -> dict[str, str]:
    text = (files("mixlab") / "report" / "references.bib").read_text(encoding="utf-8")
    return {key: entry.strip() for entry, key in re.findall(r"(^@\w+\{(\w+),.*?^\})", text, flags=re.M | re.S)}
