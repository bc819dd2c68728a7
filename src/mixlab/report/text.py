"""Counts and lists as text."""

from collections.abc import Sequence


def pluralize(number: int, noun: str) -> str:
    """A number and its noun, with a plural s unless it is 1: "1 seed", "1,200 seeds"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join_words(names: Sequence[str], most: int = 5) -> str:
    """Join names as "a, b and c". If there are more than `most`, the last ones are counted: "a, b and 5 others"."""
    items = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]
    return " and ".join(part for part in (", ".join(items[:-1]), items[-1]) if part)
