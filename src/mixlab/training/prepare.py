"""From a recipe to all that is decided before step 0: the resolved recipe, the model, the preprocessing, the plan."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from mixlab.data.batches import Batch, TrainingBatches
from mixlab.data.dataset import Dataset, Part
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.measure.machine import device_name
from mixlab.models.contract import height_and_width
from mixlab.runs.folder import FORMAT
from mixlab.runs.store import store_folder, stored_key
from mixlab.speed.plan import Mode, Plan, candidates, fastest, placed
from mixlab.training.objective import Objective
from mixlab.training.optimizer import build_optimizer
from mixlab.training.sections import Recipe
from mixlab.training.step import add_gradients
from mixlab.zoo.adapt import Weights
from mixlab.zoo.build import Model, build, describe
from mixlab.zoo.load import built
from mixlab.zoo.timm_models import in_our_words

_LARGEST_AUTOMATIC_BATCH = 128
_STEPS_AN_EPOCH = 8
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
        return build(self.family, self.config) if self.weights is None else built(self.weights.copied()).train()

    def training_batches(self, *, quiet: bool) -> TrainingBatches:
        return self._batches_of(self.dataset.parts["train"], quiet=quiet)

    def trial_batch(self) -> Batch:
        """As many pictures as a step takes; no other is read for it."""
        few = self.dataset.parts["train"].subset(np.arange(self.batch))
        return next(self._batches_of(few, quiet=True).epoch(0))

    def _batches_of(self, part: Part, *, quiet: bool) -> TrainingBatches:
        recipe = self.recipe
        return TrainingBatches(
            part,
            self.preprocess,
            recipe.augmentation,
            batch=self.batch,
            seed=recipe.seed,
            workers=recipe.workers,
            max_unreadable=recipe.max_unreadable,
            quiet=quiet,
        )

    @property
    def objective(self) -> Objective:
        return Objective(self.recipe, len(self.dataset.classes))

    def steps(self, steps_an_epoch: int) -> int:
        return self.recipe.steps or (self.recipe.epochs or 0) * steps_an_epoch

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

    def folder(self, plan: Plan) -> Path:
        """Where the store keeps this training."""
        model = re.sub(r"[^\w.]+", "-", self.recipe.model)
        data = self.dataset.name.partition(":")[0]
        key = stored_key(self._decided_by(seed=self.recipe.seed) | {"plan": plan.to_dict()})
        return store_folder() / f"{model}-{data}-seed{self.recipe.seed}-{key}"

    def plan_file(self) -> Path:
        """Where the store keeps the plan that was decided for this training on this machine, whatever its seed."""
        machine = {"device": device_name(self.device), "threads": torch.get_num_threads()}
        return store_folder() / "plans" / f"{stored_key(self._decided_by(seed=None) | machine)}.json"

    def _decided_by(self, seed: int | None) -> dict[str, Any]:
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
    """Fill in what the recipe leaves to the model and to the data."""
    described = describe(recipe.model)
    fields = {**described.config, **recipe.config, **_decided_by_data(recipe, dataset)}
    if recipe.image_size is not None:
        fields["image_size"] = recipe.image_size
    with torch.device("meta"):  # the whole model, since timm's refuse their fields only there
        config: Any = build(described.family, fields).config
    pictures = len(dataset.parts["train"])
    batch = _automatic_batch(pictures) if recipe.batch == "auto" else min(recipe.batch, pictures)
    return Job(
        recipe=recipe.model_copy(update={"data": dataset.name, "image_size": config.image_size, "batch": batch}),
        dataset=dataset,
        family=described.family,
        config=asdict(config),
        preprocess=Preprocess(height_and_width(config.image_size)),
        device=device,
    )


def _decided_by_data(recipe: Recipe, dataset: Dataset) -> dict[str, int]:
    """The config's fields that are no choice; one that the recipe gives otherwise is refused."""
    decided = {"classes": len(dataset.classes), "image_channels": 3}
    for field, given in in_our_words(recipe.config).items():
        if given != decided.get(field, given):
            raise UserError(
                f"config.{field}={given} does not fit {dataset.name}, which has {decided[field]} "
                f"{field.replace('_', ' ')}: leave it out."
            )
    return decided


def decide_plan(job: Job, say: Callable[[str], None]) -> tuple[Plan, float]:
    """The plan for this machine, and the seconds that one of its steps took in a short trial on real pictures.

    `speed = "off"` tries one mode only, the stock one. A batch that does not fit into memory goes through in halves,
    quarters ... until it does, their gradients added up; `say` is told.
    """
    recipe = job.recipe
    stock, *others = candidates(job.device, recipe.precision)
    modes = [stock] if recipe.speed == "off" else [stock, *others]
    batch = job.trial_batch()
    micro_batch = -(-job.batch // recipe.accumulate)
    while True:
        try:
            mode, seconds = fastest({mode: _TrialStep(job, batch, mode, micro_batch) for mode in modes})
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):  # pyright: ignore
                raise
            micro_batch = _halved(micro_batch, job, error)
            say(f"{job.batch} pictures at once do not fit into memory: they go through in parts of {micro_batch}.")
        else:
            return Plan(job.device.type, mode, micro_batch), seconds


class _TrialStep:
    """One step on one batch; the model is built at the first call, so that too little memory shows there as well."""

    def __init__(self, job: Job, batch: Batch, mode: Mode, micro_batch: int):
        self._job, self._batch, self._mode, self._micro_batch = job, batch, mode, micro_batch

    @cached_property
    def _model(self) -> nn.Module:
        return placed(self._job.build(), self._job.device, self._mode)

    @cached_property
    def _optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self._job.recipe.optimizer, self._model)

    def __call__(self) -> None:
        images, labels = self._batch.on(self._job.device)
        objective = self._job.objective
        add_gradients(
            self._model,
            images.contiguous(memory_format=self._mode.memory_format),
            objective.targets(labels),
            objective,
            micro_batch=self._micro_batch,
            backward=Tensor.backward,
            cast=partial(self._mode.autocast, self._job.device),
        )
        self._optimizer.step()
        self._optimizer.zero_grad()


def _halved(micro_batch: int, job: Job, error: Exception) -> int:
    recipe = job.recipe
    if micro_batch == 1:
        raise UserError(
            f"{recipe.model} at {recipe.image_size} pixels does not fit into this machine's memory, not even with one "
            "picture at a time: take a smaller model or a smaller image_size."
        ) from error
    return -(-micro_batch // 2)


def _automatic_batch(pictures: int) -> int:
    """The largest power of two, up to 128, that leaves at least eight steps an epoch."""
    batch = _LARGEST_AUTOMATIC_BATCH
    while batch > 2 and batch * _STEPS_AN_EPOCH > pictures:
        batch //= 2
    return batch
