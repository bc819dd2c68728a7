"""The names of the classes that published heads answer with: timm's tables, read where timm is installed."""

from collections import Counter

_TABLES = {
    "imagenet-1k": "imagenet-1k",
    "imagenet-21k": "imagenet-21k-goog",
    "imagenet-21k-p": "imagenet-21k-miil",
}


def class_names(labels: str, classes: int) -> tuple[str, ...]:
    """A description a class, as "tench"; indices where nobody tells, or where timm is not installed.

    `labels` is a Card's: "imagenet-1k" ...; two classes of one name get their index behind it.
    """
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ModuleNotFoundError:
        return indices(classes)
    if labels not in _TABLES:
        return indices(classes)
    table = ImageNetInfo(_TABLES[labels])
    names = [table.index_to_description(index).partition(",")[0] for index in range(classes)]
    count = Counter(names)
    return tuple(f"{name} ({index})" if count[name] > 1 else name for index, name in enumerate(names))


def indices(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))
