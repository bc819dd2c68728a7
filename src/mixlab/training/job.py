"""From a recipe to all that is decided before step 0: the resolved recipe, the model, the preprocessing, the plan."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.runs.folder import FORMAT
from mixlab.runs.store import store_folder, store_key
from mixlab.speed.plan import Plan
from mixlab.training.recipes.schema import Recipe
from mixlab.training.schedule import total_steps
from mixlab.weights.adapt import Weights, reset_head
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.weights.source import is_pretrained
from mixlab.zoo.build import Model, build, describe
from mixlab.zoo.timm_models import TimmModel, from_timm_names

_LARGEST_AUTOMATIC_BATCH = 128
_STEPS_PER_EPOCH = 8
"""At least, where the batch is chosen for the user."""


@dataclass(frozen=True)
class Job:
    """One training, with nothing left open: `recipe` is resolved and `config` has every field of the model's.

    `weights`: what it starts from, in place of fresh ones; they are copied.
    """

    recipe: Recipe
    dataset: Dataset
    family: str
    config: Mapping[str, Any]
    preprocess: Preprocess
    device: torch.device
    weights: Weights | None = None

    @property
    def batch(self) -> int:
        assert isinstance(self.recipe.batch, int)
        return self.recipe.batch

    def build(self) -> Model:
        if self.weights is not None:
            return build_with_weights(self.weights.clone()).train()
        model = build(self.family, self.config)
        if self.recipe.loss.head_bias is not None:
            head = model.network.get_classifier() if isinstance(model, TimmModel) else model.head
            torch.nn.init.constant_(head.get_parameter("bias"), self.recipe.loss.head_bias)
        return model

    def training_batches(self, *, quiet: bool) -> TrainingBatches:
        return self.batches_of(self.dataset.splits["train"], quiet=quiet)

    def batches_of(self, split: Split, *, quiet: bool) -> TrainingBatches:
        recipe = self.recipe
        return TrainingBatches(
            split,
            self.preprocess,
            recipe.augmentation,
            batch=self.batch,
            seed=recipe.seed,
            workers=recipe.workers,
            max_unreadable=recipe.max_unreadable,
            quiet=quiet,
        )

    def steps(self, steps_per_epoch: int) -> int:
        return total_steps(self.recipe, steps_per_epoch)

    def card(self) -> dict[str, Any]:
        """What a run's config.json holds: all that prediction needs beside the weights."""
        return {
            "format": FORMAT,
            "model": self.recipe.model,
            "family": self.family,
            "config": dict(self.config),
            "classes": list(self.dataset.classes),
            "preprocess": self.preprocess.to_dict(),
        }

    def folder(self, plan: Plan | None = None) -> Path:
        """Where the store keeps this training; with a plan, apart from those of other plans."""
        model = re.sub(r"[^\w.]+", "-", self.recipe.model)
        data = self.dataset.name.partition(":")[0]
        key = store_key(self.cache_key(seed=self.recipe.seed) | {"plan": plan and plan.to_dict()})
        return store_folder() / f"{model}-{data}-seed{self.recipe.seed}-{key}"

    def cache_key(self, seed: int | None) -> dict[str, Any]:
        return {
            "recipe": self.recipe.to_dict() | {"seed": seed, "expected": None},
            "config": dict(self.config),
            "weights": self.weights and self.weights.digest,
            "data": self.dataset.fingerprint,
            "preprocess": self.preprocess.to_dict(),
            "torch": torch.__version__,
            "timm": version("timm") if self.family == "timm" else None,
        }


def resolve(recipe: Recipe, dataset: Dataset, device: torch.device) -> Job:
    """Fill in what the recipe leaves to the model, to its weights where it has some, and to the data."""
    if recipe.validation == "merged":
        dataset = dataset.merge_validation()
    begins = _from_weights(recipe, dataset) if is_pretrained(recipe.model) else _from_scratch(recipe, dataset)
    size = begins.config["image_size"]
    given = {key: value for key, value in recipe.preprocessing.model_dump().items() if value is not None}
    images = len(dataset.splits["train"])
    batch = _automatic_batch(images) if recipe.batch == "auto" else min(recipe.batch, images)
    return Job(
        recipe=recipe.model_copy(update={"data": dataset.name, "image_size": size, "batch": batch}),
        dataset=dataset,
        family=begins.family,
        config=begins.config,
        preprocess=replace(begins.preprocess, image_size=height_and_width(size), **given),
        device=device,
        weights=begins.weights,
    )


@dataclass(frozen=True)
class _Initialization:
    family: str
    config: Mapping[str, Any]
    preprocess: Preprocess
    weights: Weights | None = None


def _from_scratch(recipe: Recipe, dataset: Dataset) -> _Initialization:
    described = describe(recipe.model)
    fields = {**described.config, **recipe.config, **_decided_by_data(recipe, dataset)}
    if recipe.image_size is not None:
        fields["image_size"] = recipe.image_size
    with torch.device("meta"):  # the whole model, since timm's refuse their fields only there
        config: Any = build(described.family, fields).config
    return _Initialization(described.family, asdict(config), Preprocess(height_and_width(config.image_size)))


def _from_weights(recipe: Recipe, dataset: Dataset) -> _Initialization:
    """With a new head, which starts at zero, unless the weights' classes are the data's."""
    if recipe.loss.head_bias is not None:
        raise UserError(
            f"loss.head_bias={recipe.loss.head_bias} is where a fresh model's head starts, and {recipe.model} has "
            "learned already: leave it out."
        )
    decided = _decided_by_data(recipe, dataset)
    opened = load_pretrained(recipe.model, image_size=recipe.image_size, **recipe.config)
    if opened.classes != dataset.classes:
        headless = reset_head(opened.weights, 0)  # else a head for as many other classes would stay
        opened = replace(opened, weights=reset_head(headless, decided["classes"]))
    return _Initialization(opened.weights.family, opened.weights.config, opened.preprocess, opened.weights)


def _decided_by_data(recipe: Recipe, dataset: Dataset) -> dict[str, int]:
    """The config's fields that are no choice; one that the recipe gives otherwise is refused."""
    decided = {"classes": len(dataset.classes), "image_channels": 3}
    for field, given in from_timm_names(recipe.config).items():
        if given != decided.get(field, given):
            raise UserError(
                f"config.{field}={given} does not fit {dataset.name}, which has {decided[field]} "
                f"{field.replace('_', ' ')}: leave it out."
            )
    return decided


def _automatic_batch(images: int) -> int:
    """The largest power of two, up to 128, that leaves at least eight steps an epoch."""
    batch = _LARGEST_AUTOMATIC_BATCH
    while batch > 2 and batch * _STEPS_PER_EPOCH > images:
        batch //= 2
    return batch
