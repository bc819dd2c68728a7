"""From a recipe to a job: a training with everything decided that does not depend on the machine's speed."""

import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.subset import subset
from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.runs.store import store_folder, store_key
from mixlab.speed.plan import Plan
from mixlab.training.recipes.schema import Initialization, Recipe, Subset, TransformSettings
from mixlab.training.schedule import total_steps
from mixlab.weights.adapt import Weights, reset_head
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.weights.source import is_pretrained
from mixlab.zoo import user_code
from mixlab.zoo.architecture import Architecture, Model, architecture
from mixlab.zoo.timm_models import TimmModel, from_timm_names

_LARGEST_AUTOMATIC_BATCH = 128
_STEPS_PER_EPOCH = 8
"""At least, where the batch is chosen automatically."""


@dataclass(frozen=True)
class Job:
    """A training as its resolved `recipe` describes it, with what the recipe names opened.

    dataset       after [subset], and with validation merged into train where the recipe says so
    architecture  with its complete config
    preprocess    with the recipe's [preprocessing] and [transform]
    weights       the weights that training starts from; None for random ones
    """

    recipe: Recipe
    dataset: Dataset
    architecture: Architecture
    preprocess: Preprocess
    device: torch.device
    weights: Weights | None = None

    @property
    def batch(self) -> int:
        """Images a step, over all processes."""
        assert isinstance(self.recipe.batch, int)
        return self.recipe.batch

    def build(self) -> Model:
        """The model as it is before the first step, in training mode; every call gives another one."""
        if self.weights is not None:
            return build_with_weights(self.weights.clone()).train()
        model = self.architecture.build()
        if self.recipe.loss.head_bias is not None:
            head = model.network.get_classifier() if isinstance(model, TimmModel) else model.head
            torch.nn.init.constant_(head.get_parameter("bias"), self.recipe.loss.head_bias)
        return model

    def training_batches(self, *, quiet: bool) -> TrainingBatches:
        return self.batches_of(self.dataset.splits["train"], quiet=quiet)

    def batches_of(self, split: Split, *, quiet: bool) -> TrainingBatches:
        """Batches of any split, ordered and augmented as the training's."""
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

    def stored_recipe(self) -> dict[str, Any]:
        """The recipe as the run's folder has it: the user's own code is the copy beside it."""
        recipe = self.recipe.to_dict()
        if self.architecture.user_file is None:
            return recipe
        kind, _, *rest = self.recipe.model.split(":")
        return recipe | {"model": ":".join([kind, user_code.COPY, *rest])}

    def user_code(self) -> dict[str, str]:
        """The user's own code by its name in the run's folder; empty where the model is mixlab's or timm's."""
        file = self.architecture.user_file
        return {} if file is None else {user_code.COPY: file.read_text(encoding="utf-8")}

    def folder(self, plan: Plan | None = None) -> Path:
        """Where the store keeps this training; with `plan`, the folder of this training under that plan alone."""
        model = re.sub(r"[^\w.]+", "-", Path(self.recipe.model).name)
        data = self.dataset.name.partition(":")[0]
        key = store_key(self.cache_key(seed=self.recipe.seed) | {"plan": plan and plan.to_dict()})
        return store_folder() / f"{model}-{data}-seed{self.recipe.seed}-{key}"

    def cache_key(self, seed: int | None) -> dict[str, Any]:
        """All that decides the result, beside the plan and mixlab's own code. `seed`: None for what all seeds share."""
        initialization = self.recipe.initialization.model_dump(exclude={"weights"})  # sha256 says which, wherever it is
        return {
            "recipe": self.stored_recipe() | {"seed": seed, "expected": None, "initialization": initialization},
            "config": dict(self.architecture.config),
            "weights": self.weights and self.weights.digest,
            "code": self.architecture.code_digest,
            "data": self.dataset.fingerprint,
            "preprocess": self.preprocess.to_dict(),
            "torch": torch.__version__,
            "timm": version("timm") if self.architecture.family == "timm" else None,
        }


def resolve(recipe: Recipe, dataset: Dataset, device: torch.device) -> Job:
    """Fill in what the recipe leaves to the model, to its weights and to the data. Raises UserError.

    `dataset`: the recipe's data, as `open_dataset` returns them.
    """
    if recipe.validation == "merged":
        dataset = dataset.merge_validation()
    dataset = apply_subset(dataset, recipe.subset)
    source = _weights_source(recipe)
    if source is None:
        built = _architecture(recipe, dataset)
        weights, preprocess, initialization = None, Preprocess(height_and_width(built.image_size)), Initialization()
    else:
        pretrained, initialization = _from_weights(recipe, source, dataset)
        weights, preprocess = pretrained.weights, pretrained.preprocess
        built = Architecture(recipe.model, weights.family, weights.config)
    given = {key: value for key, value in recipe.preprocessing.model_dump().items() if value is not None}
    images = len(dataset.splits["train"])
    resolved = {
        "model": _with_absolute_code(recipe.model, built),
        "data": dataset.name,
        "image_size": built.image_size,
        "batch": _automatic_batch(images) if recipe.batch == "auto" else min(recipe.batch, images),
        "initialization": initialization,
    }
    return Job(
        recipe=recipe.model_copy(update=resolved),
        dataset=dataset,
        architecture=built,
        preprocess=replace(
            preprocess,
            image_size=height_and_width(built.image_size),
            transform=make_transform(recipe.transform),
            **given,
        ),
        device=device,
        weights=weights,
    )


def apply_subset(dataset: Dataset, settings: Subset | None) -> Dataset:
    return dataset if settings is None else subset(dataset, **settings.model_dump())


def make_transform(settings: TransformSettings | None) -> Transform | None:
    return settings and Transform(**settings.model_dump())


def check_digest(source: str, found: str, expected: str | None) -> None:
    """Raises UserError where weights are not those that the recipe was written for."""
    if expected not in (None, found):
        raise UserError(
            f"{source} holds other weights than the recipe names: their SHA-256 begins with {found[:12]}, "
            f"initialization.sha256 with {expected[:12]}. Give the weights that the recipe was made with, or remove "
            "initialization.sha256 to start from these."
        )


def absolute(source: str) -> str:
    """The path of a local file or folder from any working directory; other names of weights as they are."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def _with_absolute_code(model: str, found: Architecture) -> str:
    if found.user_file is None:
        return model
    kind, _, *rest = model.split(":")
    return ":".join([kind, str(found.user_file), *rest])


def _weights_source(recipe: Recipe) -> str | None:
    """What the training starts from; None for random weights."""
    given = recipe.initialization.weights
    if not is_pretrained(recipe.model):
        return given
    if given not in (None, recipe.model, absolute(recipe.model)):
        raise UserError(
            f"model={recipe.model!r} names weights, and initialization.weights={given!r} others: remove one of them."
        )
    return recipe.model


def _architecture(recipe: Recipe, dataset: Dataset) -> Architecture:
    fields = {**recipe.config, **_decided_by_data(recipe, dataset)}
    if recipe.image_size is not None:
        fields["image_size"] = recipe.image_size
    return architecture(recipe.model, **fields)


def _from_weights(recipe: Recipe, source: str, dataset: Dataset) -> tuple[Pretrained, Initialization]:
    """The weights with a head for the data's classes, and the resolved section of the recipe."""
    if recipe.loss.head_bias is not None:
        raise UserError(
            f"loss.head_bias={recipe.loss.head_bias} is for random weights, and {source} is trained: remove it."
        )
    settings = recipe.initialization
    classes = _decided_by_data(recipe, dataset)["classes"]
    found = load_pretrained(source, image_size=recipe.image_size, resize=settings.resize, **recipe.config)
    if source != recipe.model and (family := architecture(recipe.model).family) != found.weights.family:
        raise UserError(
            f"initialization.weights={source!r} is a {found.weights.family}, and model={recipe.model!r} a {family}: "
            "give weights of the model's family."
        )
    digest = found.weights.digest
    check_digest(source, digest, settings.sha256)
    keeps = found.classes == dataset.classes if settings.head == "auto" else settings.head == "keep"
    if keeps and found.classes != dataset.classes:
        raise UserError(
            f'initialization.head="keep" needs weights for the classes of {dataset.name}, and {source} is for '
            f"{len(found.classes)} others: remove it for a new head."
        )
    if not keeps:
        without_head = reset_head(found.weights, 0)  # else a head for as many other classes would stay
        found = replace(found, weights=reset_head(without_head, classes))
    resolved = {"weights": absolute(source), "sha256": digest, "head": "keep" if keeps else "zero"}
    return found, settings.model_copy(update=resolved)


def _decided_by_data(recipe: Recipe, dataset: Dataset) -> dict[str, int]:
    """The fields of the config that follow from the data; a recipe that gives them otherwise is refused."""
    decided = {"classes": len(dataset.classes), "image_channels": 3}
    for field, given in from_timm_names(recipe.config).items():
        if given != decided.get(field, given):
            raise UserError(
                f"config.{field}={given} does not fit {dataset.name}, which has {decided[field]} "
                f"{field.replace('_', ' ')}: remove it."
            )
    return decided


def _automatic_batch(images: int) -> int:
    """The largest power of two, up to 128, that leaves at least eight steps an epoch."""
    batch = _LARGEST_AUTOMATIC_BATCH
    while batch > 2 and batch * _STEPS_PER_EPOCH > images:
        batch //= 2
    return batch
