"""Jobs: a recipe with its dataset, architecture and starting weights, ready to train. `resolve` makes one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

import torch

from mixlab.data.any_preprocess import AnyPreprocess, require_images
from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.subset import subset
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.runs.store import store_folder, store_key
from mixlab.speed.plan import Plan
from mixlab.tasks.task import Task
from mixlab.tasks.tasks import TASKS
from mixlab.training.initial_weights import (
    absolute,
    check_digest,
    weights_source,
    with_digest,
    without_paths_of_weights,
)
from mixlab.training.job_preprocess import (
    apply_preprocessing,
    make_transform,
    new_preprocess,
    size_of_sounds,
    with_decoding,
)
from mixlab.training.recipes.defaults import reads_texts
from mixlab.training.recipes.schema import Initialization, Recipe, Subset
from mixlab.training.schedule import total_steps
from mixlab.weights.adapt import Weights, backbone_of, new_head
from mixlab.weights.load import Pretrained, build_with_weights, load_backbone, load_pretrained
from mixlab.zoo import user_code
from mixlab.zoo.architecture import Architecture, Model, architecture, family_of, same_family, with_decoder
from mixlab.zoo.code_names import with_file
from mixlab.zoo.timm_models import TimmModel, from_timm_names

_LARGEST_AUTOMATIC_BATCH = 128
_STEPS_PER_EPOCH = 8
"""The minimum if the batch size is chosen automatically."""


@dataclass(frozen=True)
class Job:
    """A training that is ready to start.

    recipe        resolved: every field has its final value
    dataset       after [subset]; with `validation = "merged"`, the validation split is part of train
    architecture  the model's family and its complete config
    preprocess    with the recipe's [preprocessing] and [transform]
    weights       the weights that the training starts from; None for random weights
    backbone      the weights that the network below a new decoder starts from; None for random weights, and other tasks
    """

    recipe: Recipe
    dataset: Dataset
    architecture: Architecture
    preprocess: AnyPreprocess
    device: torch.device
    weights: Weights | None = None
    backbone: Weights | None = None

    @property
    def image_preprocess(self) -> Preprocess:
        """`preprocess` of a model for images. Raises UserError for a model that reads texts."""
        return require_images(self.preprocess)

    @property
    def task(self) -> Task:
        """What is learned from the images."""
        return TASKS[self.recipe.task]

    @property
    def batch(self) -> int:
        """The number of images per step, over all processes."""
        assert isinstance(self.recipe.batch, int)
        return self.recipe.batch

    def micro_batch(self, batch: int, processes: int) -> int:
        """The images of a forward pass with `batch` images per step, if they fit into memory."""
        return ceil(ceil(batch / processes) / self.recipe.accumulate)

    def build(self) -> Model:
        """A new model as it is before the first step, in training mode."""
        if self.weights is not None:
            return build_with_weights(self.weights.clone()).train()
        model = self.architecture.build()
        if self.backbone is not None:
            load_backbone(model, self.backbone)
        head = model.network.get_classifier() if isinstance(model, TimmModel) else model.head
        self.task.new_head(head, self.recipe.loss)
        return model

    def training_batches(self, *, quiet: bool) -> TrainingBatches:
        """The batches of the train split."""
        return self.augmented_batches(self.dataset.splits["train"], quiet=quiet)

    def augmented_batches(self, split: Split, *, quiet: bool) -> TrainingBatches:
        """The batches of any split, shuffled and augmented as for training."""
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

    @property
    def initial_models(self) -> list[str]:
        """The names of the models that this one learns from: its initial weights and its teacher."""
        weights, distillation = self.recipe.initialization.weights, self.recipe.distillation
        return [*([weights] if weights else []), *([distillation.teacher] if distillation else [])]

    def steps(self, steps_per_epoch: int) -> int:
        """The number of steps of the whole training. Raises UserError if the warm-up is longer."""
        return total_steps(self.recipe, steps_per_epoch)

    def stored_recipe(self) -> dict[str, Any]:
        """The recipe for the run's folder. A model from a user's file refers to the copy of that file in the folder."""
        recipe = self.recipe.to_dict()
        if self.architecture.user_file is None:
            return recipe
        return recipe | {"model": with_file(self.recipe.model, user_code.COPY)}

    def user_code(self) -> dict[str, str]:
        """The source of the user's model by file name in the run's folder; empty for mixlab's and timm's models."""
        file = self.architecture.user_file
        return {} if file is None else {user_code.COPY: file.read_text(encoding="utf-8")}

    def folder(self, plan: Plan | None = None) -> Path:
        """The folder of this training in the store. With `plan`, the name of the folder also depends on the plan."""
        model = re.sub(r"[^\w.]+", "-", Path(self.recipe.model).name)
        data = self.dataset.name.partition(":")[0]
        key = store_key(self.cache_key(seed=self.recipe.seed) | {"plan": plan and plan.to_dict()})
        return store_folder() / f"{model}-{data}-seed{self.recipe.seed}-{key}"

    def cache_key(self, seed: int | None) -> dict[str, Any]:
        """Everything that determines the result, except the plan and mixlab's source code, as JSON-serializable values.

        `seed` is None for a key that all seeds share.
        """
        recipe = without_paths_of_weights(self.stored_recipe())
        return {
            "recipe": recipe | {"seed": seed, "expected": None},
            "config": dict(self.architecture.config),
            "weights": (start := self.weights or self.backbone) and start.digest,
            "code": self.architecture.code_digest,
            "data": self.dataset.fingerprint,
            "preprocess": self.preprocess.to_dict(),
            "torch": torch.__version__,
            "timm": version("timm") if self.architecture.family == "timm" else None,
        }


def resolve(recipe: Recipe, dataset: Dataset, device: torch.device) -> Job:
    """Fill in the fields of a recipe that depend on the model, its weights and the data, and load the weights.

    `dataset` is the result of `open_dataset` for `recipe.data`. Raises UserError if parts of the recipe do not fit
    together, such as weights for other classes or a config that contradicts the data.
    """
    if (dataset.noun == "text") != (TASKS[recipe.task].noun == "text"):
        raise UserError(f'{dataset.name} has {dataset.noun}s, but task="{recipe.task}" has {TASKS[recipe.task].noun}s.')
    opened = dataset  # trainings on different subsets have the same value range
    if recipe.validation == "merged":
        dataset = dataset.merge_validation()
    dataset = apply_subset(dataset, recipe.subset)
    source = weights_source(recipe)
    if source is None:
        model_architecture = _architecture(recipe, dataset, size_of_sounds(recipe, opened))
        weights, preprocess, initialization = None, new_preprocess(model_architecture), Initialization()
    else:
        pretrained, initialization = _from_weights(recipe, source, dataset)
        weights, preprocess = pretrained.weights, pretrained.preprocess
        model_architecture = Architecture(recipe.model, weights.family, weights.config)
    if model_architecture.user_file is not None:
        user_code.require_trainable(model_architecture.on_meta(), model_architecture.family)
    resolved: dict[str, Any] = {}
    backbone = None
    if isinstance(preprocess, Preprocess):
        preprocess = apply_preprocessing(preprocess, recipe.preprocessing, opened)
        if recipe.decoder is not None:
            name, width = recipe.decoder.name, recipe.decoder.width
            model_architecture = with_decoder(model_architecture, name, width, len(dataset.classes))
            preprocess = replace(preprocess, resize="stretch", crop_fraction=1.0)
            weights, backbone = None, weights
        resolved = {
            "image_size": model_architecture.image_size,
            "preprocessing": with_decoding(recipe.preprocessing, preprocess),
        }
        preprocess = replace(
            preprocess,
            image_size=height_and_width(model_architecture.image_size),
            transform=make_transform(recipe.transform),
        )
    images = len(dataset.splits["train"])
    resolved |= {
        "model": _with_absolute_code(recipe.model, model_architecture),
        "data": dataset.name,
        "batch": _automatic_batch(images) if recipe.batch == "auto" else min(recipe.batch, images),
        "initialization": initialization,
        "distillation": recipe.distillation and with_digest(recipe.distillation),
    }
    return Job(
        recipe=recipe.model_copy(update=resolved),
        dataset=dataset,
        architecture=model_architecture,
        preprocess=preprocess,
        device=device,
        weights=weights,
        backbone=backbone,
    )


def _require_inputs(recipe: Recipe, *, reads_texts: bool) -> None:
    """Raises UserError if the model has other inputs than the task."""
    noun = "text" if reads_texts else "image"
    if noun != TASKS[recipe.task].noun:
        other = "variant:text_mixer" if noun == "image" else "a size of `mixlab models`"
        raise UserError(
            f'model="{recipe.model}" reads {noun}s, but task="{recipe.task}" has {TASKS[recipe.task].noun}s: give '
            f"{other}, or another task."
        )


def apply_subset(dataset: Dataset, settings: Subset | None) -> Dataset:
    """`dataset` with the [subset] of a recipe, or unchanged without one."""
    return dataset if settings is None else subset(dataset, **settings.model_dump())


def _with_absolute_code(model: str, model_architecture: Architecture) -> str:
    file = model_architecture.user_file
    return model if file is None else with_file(model, file)


def _architecture(recipe: Recipe, dataset: Dataset, image_size: Mapping[str, tuple[int, int]]) -> Architecture:
    """The architecture for the classes of the data, with `image_size` unless the recipe sets one."""
    _require_inputs(recipe, reads_texts=reads_texts(recipe.model))
    fields = {**image_size, **recipe.config, **_fields_from_data(recipe, dataset)}
    if recipe.image_size is not None:
        fields["image_size"] = recipe.image_size
    model_architecture = architecture(recipe.model, **fields)
    if model_architecture.family == "papers":
        raise UserError(
            f'model="{recipe.model}" is only for `mixlab benchmark`, because it lacks parts that a training needs: '
            "give a size from `mixlab models`, or timm:NAME."
        )
    return model_architecture


def _from_weights(recipe: Recipe, source: str, dataset: Dataset) -> tuple[Pretrained, Initialization]:
    """The weights with a head for the classes of the data, and the resolved [initialization]."""
    if recipe.loss.head_bias is not None:
        raise UserError(
            f"loss.head_bias={recipe.loss.head_bias} is for random weights, but {source} is pretrained: remove it."
        )
    settings = recipe.initialization
    classes = _fields_from_data(recipe, dataset)["classes"]
    config = {name: value for name, value in recipe.config.items() if name not in ("classes", "image_channels")}
    given_size = config.pop("image_size", None)
    image_size = given_size if recipe.image_size is None else recipe.image_size
    pretrained = load_pretrained(source, image_size=image_size, resize=settings.resize, **config)
    _require_inputs(recipe, reads_texts=pretrained.weights.architecture.reads_texts)
    if recipe.decoder is not None:
        pretrained = replace(pretrained, weights=backbone_of(pretrained.weights), unchanged=pretrained.weights)
    family = pretrained.weights.family if source == recipe.model else family_of(recipe.model)
    if not same_family(family, pretrained.weights.family):
        raise UserError(
            f"initialization.weights={source!r} is a {pretrained.weights.family}, but model={recipe.model!r} is a "
            f"{family}: give weights of the same family."
        )
    digest = pretrained.source_digest
    check_digest(source, digest, settings.sha256)
    if recipe.decoder is not None:
        resolved = {"weights": absolute(source), "sha256": digest}
        return pretrained, settings.model_copy(update=resolved)
    fits = pretrained.classes == dataset.classes and pretrained.task == recipe.task
    keep_head = fits if settings.head == "auto" else settings.head == "keep"
    if keep_head and not fits:
        raise UserError(
            f'initialization.head="keep" needs weights for the classes of {dataset.name}, but {source} is for '
            f"{len(pretrained.classes)} other classes or another task: remove it to start with a new head."
        )
    if not keep_head:
        pretrained = replace(pretrained, weights=new_head(pretrained.weights, classes))
    resolved = {"weights": absolute(source), "sha256": digest, "head": "keep" if keep_head else "zero"}
    return pretrained, settings.model_copy(update=resolved)


def _fields_from_data(recipe: Recipe, dataset: Dataset) -> dict[str, int]:
    """The fields of the config that follow from the data. Raises UserError if the recipe gives other values."""
    fields = {"classes": len(dataset.classes)}
    if dataset.noun != "text":
        fields["image_channels"] = 3
    for field, value in from_timm_names(recipe.config).items():
        if value != fields.get(field, value):
            raise UserError(
                f"config.{field}={value} does not fit {dataset.name}, which has {fields[field]} "
                f"{field.replace('_', ' ')}: remove it."
            )
    return fields


def _automatic_batch(images: int) -> int:
    """The largest power of two, at most 128, with at least eight steps per epoch."""
    batch = _LARGEST_AUTOMATIC_BATCH
    while batch > 2 and batch * _STEPS_PER_EPOCH > images:
        batch //= 2
    return batch
