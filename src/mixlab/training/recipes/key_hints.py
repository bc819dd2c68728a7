"""Suggestions for unknown keys of a recipe: the same key in a section, the names of other tools, and misspelt keys."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from inspect import signature
from typing import TypeGuard, get_args

from mixlab.errors import did_you_mean, most_similar
from mixlab.training.recipes.section import Section

_OTHER_NAMES = {
    "lr": "optimizer.learning_rate",
    "lr0": "optimizer.learning_rate",
    "wd": "optimizer.weight_decay",
    "opt": "optimizer.name",
    "clip_grad": "optimizer.clip_norm",
    "max_grad_norm": "optimizer.clip_norm",
    "grad_accum_steps": "accumulate",
    "gradient_accumulation_steps": "accumulate",
    "batch_size": "batch",
    "per_device_train_batch_size": "batch",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "max_epochs": "epochs",
    "max_steps": "steps",
    "img_size": "image_size",
    "imgsz": "image_size",
    "input_size": "image_size",
    "num_workers": "workers",
    "random_state": "seed",
    "amp": "precision",
    "lr_scheduler": "schedule.name",
    "lr_scheduler_type": "schedule.name",
    "scheduler": "schedule.name",
    "sched": "schedule.name",
    "warmup_ratio": "schedule.warmup",
    "smoothing": "loss.label_smoothing",
    "drop_path": "config.stochastic_depth",
    "drop_path_rate": "config.stochastic_depth",
    "hflip": "augmentation.flip",
    "reprob": "augmentation.random_erasing",
    "model_ema_decay": "ema.decay",
}
"""The names of timm, torchvision's references, transformers, Lightning and Ultralytics -> the key of a recipe."""


def section_type(annotation: object) -> type | None:
    """The class of a section that the annotation of a key names, such as Ema for `Ema | None`; None for a value."""
    return next((kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)), None)


def suggested_key(key: str, section_keys: list[str], recipe: type[Section]) -> str:
    """A question such as 'Did you mean "optimizer.learning_rate"?' for the unknown `key`, or "" if nothing is similar.

    `section_keys`: the known keys of the section of `key`.
    """
    name = key.rpartition(".")[2]
    if other := _OTHER_NAMES.get(name):
        return f'Did you mean "{other}"?'
    known = list(all_keys(recipe))
    same = [f'"{each}"' for each in known if each.rpartition(".")[2] == name]
    if same:
        return f"Did you mean {' or '.join(same)}?"
    if near := did_you_mean(name, section_keys):
        return near
    by_name = {each.rpartition(".")[2]: each for each in reversed(known)}
    near = most_similar(name, by_name)
    return "" if near is None else f'Did you mean "{by_name[near]}"?'


def all_keys(section: type, prefix: str = "") -> Iterator[str]:
    """Every key of a section and of the sections in it, such as "optimizer.learning_rate"."""
    for key, parameter in signature(section).parameters.items():
        yield f"{prefix}{key}"
        inner = section_type(parameter.annotation)
        if inner is not None:
            yield from all_keys(inner, f"{prefix}{key}.")


def _is_section(kind: object) -> TypeGuard[type]:
    return isinstance(kind, type) and (issubclass(kind, Section) or is_dataclass(kind))
