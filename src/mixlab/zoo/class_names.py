"""The names of the classes that published heads answer with: timm's tables, read where timm is installed."""

from collections import Counter
from typing import Any

_TABLES = {
    "imagenet-1k": "imagenet-1k",
    "imagenet-21k": "imagenet-21k-goog",
    "imagenet-21k-p": "imagenet-21k-miil",
}


def class_names(labels: str, classes: int) -> tuple[str, ...]:
    """A description a class, as "tench"; indices where nobody tells, or where timm is not installed.

    `labels` is a Card's: "imagenet-1k" ...; two classes of one name get their index behind it.
    """
    table = _table(labels)
    if table is None:
        return indices(classes)
    names = [table.index_to_description(index).partition(",")[0] for index in range(classes)]
    count = Counter(names)
    return tuple(f"{name} ({index})" if count[name] > 1 else name for index, name in enumerate(names))


def synsets(labels: str) -> tuple[str, ...]:
    """WordNet's identifiers, as "n01440764", by which ImageNet's folders are called; empty where nobody tells."""
    table = _table(labels)
    return tuple(table.label_names()) if table else ()


def _table(labels: str) -> Any:
    """timm's ImageNetInfo, whose type needs timm to be named."""
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ModuleNotFoundError:
        return None
    return ImageNetInfo(_TABLES[labels]) if labels in _TABLES else None


def indices(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))
