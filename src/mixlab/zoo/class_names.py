"""Class names of published heads, from the tables of timm. They are available only if timm is installed."""

from collections import Counter
from typing import Any

from mixlab.data.readers.imagenet_classes import imagenet_synsets

CLASS_NAMES_NEED_TIMM = (
    "Class names need timm, which is not installed, so classes are numbered instead. To install it, run "
    '`pip install "mixlab[baselines]"`.'
)

_TABLES = {
    "imagenet-1k": "imagenet-1k",
    "imagenet-21k": "imagenet-21k-goog",
    "imagenet-21k-p": "imagenet-21k-miil",
}


def class_names(labels: str, classes: int) -> tuple[str, ...] | None:
    """A short description of each class, such as "tench"; None if there is no table, or timm is not installed.

    `labels` is the label set of a Card, such as "imagenet-1k", and `classes` its number of classes. If several classes
    have the same description, their index is appended.
    """
    table = _table(labels)
    if table is None:
        return None
    names = [table.index_to_description(index).partition(",")[0] for index in range(classes)]
    count = Counter(names)
    return tuple(f"{name} ({index})" if count[name] > 1 else name for index, name in enumerate(names))


def synsets(labels: str) -> tuple[str, ...]:
    """WordNet identifiers, such as "n01440764", the names of ImageNet's folders.

    Those of "imagenet-1k" are always available. Empty if there is no table for `labels`, or timm is not installed.
    """
    if labels == "imagenet-1k":
        return imagenet_synsets()
    table = _table(labels)
    return tuple(table.label_names()) if table else ()


def names_need_timm(labels: str) -> bool:
    """Whether the class names of `labels` are unknown only because timm is not installed."""
    return labels in _TABLES and _table(labels) is None


def _table(labels: str) -> Any:
    """timm's ImageNetInfo, or None. Typed as Any because timm is optional."""
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ModuleNotFoundError:
        return None
    return ImageNetInfo(_TABLES[labels]) if labels in _TABLES else None


def index_names(classes: int) -> tuple[str, ...]:
    """The indices of the classes as text, in place of unknown names."""
    return tuple(map(str, range(classes)))
