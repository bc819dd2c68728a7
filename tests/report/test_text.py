"""Counts and lists in a sentence."""

from mixlab.report.text import join_words, pluralize


def test_names_are_listed_as_people_do():
    assert join_words(["a"]) == "a"
    assert join_words(["a", "b"]) == "a and b"
    assert join_words(["a", "b", "c"]) == "a, b and c"
    assert join_words(list("abcdefg"), most=3) == "a, b and 5 others"


def test_one_is_not_many():
    assert (pluralize(1, "seed"), pluralize(1_200, "seed")) == ("1 seed", "1,200 seeds")
