"""A training in several processes is refused if they have different data."""

from dataclasses import replace

import pytest

from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.training import rank_check
from mixlab.training.rank_check import check_same_dataset
from ranks import run_python

DIGITS = open_dataset("digits")
VALIDATION = DIGITS.splits["validation"]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (replace(DIGITS, classes=(*"01234567", "nine", "8")), 'class 8 is "nine" instead of "8"'),
        (replace(DIGITS, classes=DIGITS.classes[:-1]), "9 classes instead of 10"),
        (
            replace(DIGITS, splits=DIGITS.splits | {"validation": VALIDATION.subset(range(9))}),
            f"9 validation images instead of {len(VALIDATION)}",
        ),
        (
            replace(DIGITS, splits=DIGITS.splits | {"validation": VALIDATION.subset(range(len(VALIDATION))[::-1])}),
            "the names, classes or file sizes of the images differ",
        ),
    ],
)
def test_the_difference_is_named(monkeypatch, other, difference):
    monkeypatch.setattr(rank_check, "all_gather", lambda summary: [DIGITS.summary, DIGITS.summary, other.summary])
    with pytest.raises(UserError) as caught:
        check_same_dataset(DIGITS)
    assert str(caught.value) == (
        f"Process 2 has other data than process 0: {difference}. Give every process the same files of digits."
    )


@pytest.mark.parametrize(
    ("indices", "difference"),
    [
        (range(9), f"9 validation sounds instead of {len(VALIDATION)}"),
        (range(len(VALIDATION))[::-1], "the names, classes or file sizes of the sounds differ"),
    ],
)
def test_other_sounds_are_called_sounds(monkeypatch, indices, difference):
    other = replace(DIGITS, splits=DIGITS.splits | {"validation": VALIDATION.subset(indices)})
    monkeypatch.setattr(rank_check, "all_gather", lambda summary: [DIGITS.summary, other.summary])
    with pytest.raises(UserError, match=f"Process 1 has other data than process 0: {difference}"):
        check_same_dataset(replace(DIGITS, noun="sound"))


def test_the_same_data_is_accepted(monkeypatch):
    monkeypatch.setattr(rank_check, "all_gather", lambda summary: [DIGITS.summary, open_dataset("digits").summary])
    check_same_dataset(DIGITS)


LAUNCH = """
import os
from dataclasses import replace
from pathlib import Path
import torch
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.training.launch import launch
from mixlab.training.recipes.parse import parse_recipe

digits = open_dataset("digits")
if os.environ["RANK"] == "1":
    digits = replace(digits, classes=digits.classes[::-1])
optimizer = {"learning_rate": 0.01, "weight_decay": 0}
recipe = parse_recipe({"model": "mixer_nano", "data": "digits", "steps": 1, "optimizer": optimizer}, "the test's")
try:
    launch(recipe, digits, torch.device("cpu"), Path("run"), log=print, quiet=True)
except UserError as error:
    print(error)
"""


def test_every_process_is_refused(tmp_path):
    for process in run_python(["-c", LAUNCH], tmp_path, processes=2):
        assert process.out.startswith(
            'Process 1 has other data than process 0: class 0 is "9" instead of "0". Give every'
        )
    assert not (tmp_path / "run").exists()
