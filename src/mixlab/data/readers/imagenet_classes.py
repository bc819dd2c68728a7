"""The 1,000 classes of ImageNet as WordNet identifiers, and the subsets that other test sets use.

They are in imagenet_classes.csv, in the order of the class indices. The 200 classes of ImageNet-A and those of
ImageNet-R are from the evaluation scripts of their authors (hendrycks/natural-adv-examples, hendrycks/imagenet-r).
"""

import csv
from functools import cache
from pathlib import Path
from typing import Literal

_TABLE = Path(__file__).with_suffix(".csv")


@cache
def imagenet_synsets(subset: Literal["imagenet-a", "imagenet-r"] | None = None) -> tuple[str, ...]:
    """WordNet identifiers such as "n01440764", sorted; the position is the class index if `subset` is None."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(row["synset"] for row in csv.DictReader(file) if subset is None or row[subset] == "1")
