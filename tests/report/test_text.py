"""Counts and lists as text."""

from mixlab.report.text import distinct, join_words, pluralize


def test_names_are_joined_with_commas_and_and():
    assert join_words(["a"]) == "a"
    assert join_words(["a", "b"]) == "a and b"
    assert join_words(["a", "b", "c"]) == "a, b and c"
    assert join_words(list("abcdefg"), most=3) == "a, b and 5 others"


def test_the_plural_depends_on_the_number():
    assert (pluralize(1, "seed"), pluralize(1_200, "seed")) == ("1 seed", "1,200 seeds")


def test_distinct_names_get_the_next_free_number():
    assert distinct(["x", "x", "x-2", "y", "x"]) == ["x", "x-2", "x-2-2", "y", "x-3"]
