"""Counts and lists in a sentence."""

from collections.abc import Sequence


def pluralize(number: int, noun: str) -> str:
    """ "1 seed", "1,200 seeds"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join_words(names: Sequence[str], most: int = 5) -> str:
    """ "a, b and c"; behind the first `most` only how many more there are."""
    shown = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)
