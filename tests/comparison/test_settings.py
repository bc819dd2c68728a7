"""Validation of the settings of a comparison."""

import math
from typing import Any

import pytest

from mixlab.comparison.settings import ComparisonSettings
from mixlab.errors import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "--seeds 0 is out of range: it must be at least 1. Use 3 or more to estimate the spread."),
        ({"epochs": 0}, "--epochs 0 is out of range: it must be at least 1."),
        ({"minutes": 0}, "--minutes 0 is out of range: it must be positive and finite, for example 30."),
        ({"minutes": -2.5}, "--minutes -2.5 is out of range: it must be positive and finite, for example 30."),
        ({"minutes": math.nan}, "--minutes nan is out of range: it must be positive and finite, for example 30."),
        ({"minutes": math.inf}, "--minutes inf is out of range: it must be positive and finite, for example 30."),
        ({"tune": 1}, "--tune 1 is out of range: it must be at least 2, the trials of each model."),
    ],
)
def test_settings_out_of_range_are_rejected(settings: dict[str, Any], message: str):
    with pytest.raises(UserError) as error:
        ComparisonSettings(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize("other", [{"epochs": 3}, {"match": "seconds"}])
def test_two_training_lengths_are_rejected(other: dict[str, Any]):
    with pytest.raises(UserError, match="because each of them sets the length of a training: give only one of them"):
        ComparisonSettings(minutes=5, **other)


@pytest.mark.parametrize("duration", [{"minutes": 5}, {"match": "seconds"}])
def test_tuning_with_a_fixed_duration_is_rejected(duration: dict[str, Any]):
    with pytest.raises(UserError) as error:
        ComparisonSettings(tune=4, **duration)
    assert str(error.value) == (
        "--tune cannot be combined with --minutes or --match seconds, because its trials have the epochs of the "
        "recipes: use --epochs to make the trainings shorter."
    )
