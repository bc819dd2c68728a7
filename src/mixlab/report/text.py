"""Counts and lists as text."""

from collections import Counter
from collections.abc import Iterable, Sequence


def distinct(names: Iterable[str]) -> list[str]:
    """The names, all different: an equal one gets the next free number, as in "a", "a-2", "a-3"."""
    found: list[str] = []
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for name in names:
        free = name
        while free in taken:
            numbers[name] += 1
            free = f"{name}-{numbers[name] + 1}"
        taken.add(free)
        found.append(free)
    return found


def pluralize(number: int, noun: str) -> str:
    """A number and its noun, with a plural s unless it is 1: "1 seed", "1,200 seeds"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def number_range(numbers: Iterable[int]) -> str:
    """The smallest and the largest of some numbers: "3 to 1,200"; "3" if all are equal."""
    given = set(numbers)
    return " to ".join(f"{number:,}" for number in sorted({min(given), max(given)}))


def join_words(names: Sequence[str], most: int = 5, conjunction: str = "and") -> str:
    """Join names as "a, b and c", or with another conjunction.

    If there are more than `most`, the last ones are counted: "a, b and 5 others".
    """
    items = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]
    return f" {conjunction} ".join(part for part in (", ".join(items[:-1]), items[-1]) if part)
