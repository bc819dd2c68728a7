"""Counts and lists in a sentence."""

from mixlab.report.text import counted, listed


def test_names_are_listed_as_people_do():
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefg"), most=3) == "a, b and 5 others"


def test_one_is_not_many():
    assert (counted(1, "seed"), counted(1_200, "seed")) == ("1 seed", "1,200 seeds")
