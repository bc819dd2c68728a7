"""Names of classes: from the labels in a source, and their order."""

import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal

from mixlab.errors import UserError

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct names in the order of the classes, which depends on the names alone.

    If all names are numbers they are sorted by value, and equal values ("1" and "01") by text; otherwise by text.
    """
    distinct = sorted(set(names))
    return tuple(sorted(distinct, key=Decimal) if all(map(_NUMBER.fullmatch, distinct)) else distinct)


def class_name(label: object, image: str) -> str:
    """The name of the class that a source gives as text, integer, boolean or float; empty if the label is missing.

    Text is stripped and brought to Unicode normal form C. Other values are written as Python writes them, whole numbers
    without a decimal point. None, NaN and empty text are missing.

    `image`: the image or row that the label belongs to, for error messages.

    Raises UserError for several labels, for a number that is not whole, and for a value of another type.
    """
    if isinstance(label, str) and len(label.strip().splitlines()) <= 1:
        return unicodedata.normalize("NFC", label.strip())
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return ""
    if isinstance(label, int):
        return str(label)
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    if isinstance(label, (str, list, tuple, dict)):
        raise UserError(
            f"{image} is multi-label, with the classes {label!r:.60}: each image must have one class, so keep one. "
            "`mixlab train --task multilabel` learns several labels per image."
        )
    raise UserError(
        f"{image} has the class {label!r:.60} ({type(label).__name__}): it must be text, a whole number or a boolean."
    )
