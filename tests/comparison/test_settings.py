"""What a comparison may be asked to hold equal."""

import math
from typing import Any

import pytest

from mixlab.comparison.settings import ComparisonSettings
from mixlab.errors import UserError


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seeds": 0}, "--seeds 0 trains nothing: give at least 1, and 3 or more to see the spread."),
        ({"epochs": 0}, "--epochs 0 trains nothing: give at least 1."),
        ({"minutes": 0}, "--minutes 0 is no length of a training: give a number that is more than 0."),
        ({"minutes": -2.5}, "--minutes -2.5 is no length of a training: give a number that is more than 0."),
        ({"minutes": math.nan}, "--minutes nan is no length of a training: give a number that is more than 0."),
        ({"minutes": math.inf}, "--minutes inf is no length of a training: give a number that is more than 0."),
    ],
)
def test_terms_under_which_nothing_is_trained_are_refused(asked: dict[str, Any], sentence: str):
    with pytest.raises(UserError) as refused:
        ComparisonSettings(**asked)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("other", [{"epochs": 3}, {"match": "seconds"}])
def test_two_lengths_of_a_training_are_refused(other: dict[str, Any]):
    with pytest.raises(UserError, match="each of them says how long a training lasts: give one"):
        ComparisonSettings(minutes=5, **other)
