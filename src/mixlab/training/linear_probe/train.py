"""Train a linear probe: fit a linear head on the frozen features of a backbone, and write a run."""

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from mixlab.data.dataset import Dataset, Split
from mixlab.data.holdout import VALIDATION_SHARE, group_equal_files
from mixlab.data.near_duplicate_groups import group_near_duplicates
from mixlab.errors import UserError
from mixlab.evaluation.novelty import NoveltyDetector
from mixlab.evaluation.novelty_features import NoveltyFeatures, Vectors, select_novelty_images
from mixlab.evaluation.probes.features import Backbone, Features, features, open_backbone
from mixlab.evaluation.probes.ridge import FittedHead, LinearHead, fit_head
from mixlab.evaluation.training_images import TrainingImages, record_training_images, training_images_of
from mixlab.files import atomic_folder, create_parents, write_text
from mixlab.measure import machine
from mixlab.measure.memory import peak_bytes
from mixlab.report.progress import Log
from mixlab.runs.folder import Run, require_free_folder, start_run
from mixlab.runs.journal import Journal
from mixlab.runs.lease import lease
from mixlab.runs.store import finished_run, store_folder, store_key
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.initial_weights import absolute, check_digest, weights_source
from mixlab.training.job import apply_subset
from mixlab.training.job_preprocess import apply_preprocessing, make_transform, with_decoding
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.run_page import run_page
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import Architecture


@dataclass(frozen=True)
class LinearProbeJob:
    """A linear probe that is ready to run.

    recipe    resolved: every field has its final value
    dataset   after [subset], with a validation split
    backbone  the pretrained model without its head, with its preprocessing
    """

    recipe: LinearProbeRecipe
    dataset: Dataset
    backbone: Backbone
    device: torch.device

    @property
    def architecture(self) -> Architecture:
        return self.backbone.weights.architecture

    @property
    def plan(self) -> Plan:
        """The stock compute mode, with the batch of the recipe."""
        return Plan(self.device.type, ComputeMode(), self.recipe.batch)

    def stored_recipe(self) -> dict[str, Any]:
        """The recipe for the run's folder."""
        return self.recipe.to_dict()

    def folder(self) -> Path:
        """The folder of this run in the store."""
        initialization = self.recipe.initialization.model_dump(exclude={"weights"})  # identified by sha256
        recipe = self.stored_recipe() | {"expected": None, "model": None, "initialization": initialization}
        key = store_key(
            {
                "recipe": recipe,
                "weights": self.backbone.weights.digest,
                "config": dict(self.backbone.weights.config),
                "code": self.architecture.code_digest,
                "preprocess": self.backbone.preprocess.to_dict(),
                "data": self.dataset.fingerprint,
                "torch": torch.__version__,
            }
        )
        model = re.sub(r"[^\w.]+", "-", Path(self.recipe.model).name)
        return store_folder() / f"{model}-probe-{self.dataset.name.partition(':')[0]}-{key}"


def resolve_linear_probe(recipe: LinearProbeRecipe, dataset: Dataset, device: torch.device) -> LinearProbeJob:
    """Load the weights, and hold out a validation split if the recipe sets `validation_share` or the data have none.

    Raises UserError if the weights are those of a timm model or not those that the recipe expects.
    """
    opened = dataset  # trainings on different subsets have the same value range
    if recipe.validation_share is not None:
        dataset = dataset.merge_validation()
    dataset = apply_subset(dataset, recipe.subset)
    if "validation" not in dataset.splits:
        dataset = _with_validation(dataset, recipe.validation_share or VALIDATION_SHARE)
    settings, source = recipe.initialization, weights_source(recipe) or recipe.model
    if settings.head == "keep":
        raise UserError('initialization.head="keep" has no effect on a linear probe, which fits a new head: remove it.')
    backbone = open_backbone(source, recipe.image_size, resize=settings.resize)
    preprocess = apply_preprocessing(backbone.preprocess, recipe.preprocessing, opened)
    backbone = replace(backbone, preprocess=replace(preprocess, transform=make_transform(recipe.transform)))
    if backbone.weights.family == "timm":
        raise UserError(
            f"{source} is a timm model, and linear probes don't support these: give a Mixer, a ConvMixer, a DaViT or a "
            "model of your own."
        )
    digest = backbone.source_digest
    check_digest(source, digest, settings.sha256)
    resolved = {
        "data": dataset.name,
        "image_size": backbone.weights.config["image_size"],
        "initialization": settings.model_copy(update={"weights": absolute(source), "sha256": digest, "head": "zero"}),
        "preprocessing": with_decoding(recipe.preprocessing, preprocess),
    }
    return LinearProbeJob(recipe.model_copy(update=resolved), dataset, backbone, device)


def train_linear_probe(job: LinearProbeJob, folder: Path, *, quiet: bool, on_wait: Log | None = None) -> Run:
    """Fit the head and write a finished run to `folder`.

    After an interruption there is no folder, but the features computed so far are in the cache. `on_wait` is called
    with a message if another process trains in the folder; then the run of that process is returned. None: raises
    LeaseHeldError instead. Raises UserError if `folder` contains something else.
    """
    require_free_folder(folder)
    if Run(folder).is_unfinished:
        raise UserError(
            f"{folder} contains an interrupted training that is not a linear probe: resume it with "
            f"`mixlab train --resume {folder}`, or give another path."
        )
    with create_parents(folder), lease(folder, on_wait):
        return finished_run(folder) or _fit_and_write(job, folder, quiet=quiet)


def _fit_and_write(job: LinearProbeJob, folder: Path, *, quiet: bool) -> Run:
    started = time.perf_counter()
    train, validation = (_features(job, name, quiet=quiet) for name in ("train", "validation"))
    fitted = fit_head(train, validation, len(job.dataset.classes), job.recipe.linear_probe.ridges)
    seconds = time.perf_counter() - started
    with atomic_folder(folder) as temporary:
        run = _write_run(job, temporary, fitted, train, validation, seconds)
        learned = record_training_images(job.dataset, quiet=quiet) | training_images_of(job.backbone.source)
        learned.write(run.training_images)
        if detector := _novelty_detector(job, learned, train, validation, quiet=quiet):
            detector.write(run.novelty)
        write_text(run.report, run_page(run, folder).html())
        run.set_state("done")
    return Run(folder)


def _novelty_detector(
    job: LinearProbeJob, learned: TrainingImages, train: Features, validation: Features, *, quiet: bool
) -> NoveltyDetector | None:
    """The detector from the features that the head was fitted to and selected on."""
    images = select_novelty_images(job.dataset, learned, quiet=quiet)
    if images is None:
        return None
    splits = job.dataset.splits
    return NoveltyFeatures(
        _by_index(splits["train"], train, images.train), _by_index(splits["validation"], validation, images.validation)
    ).detector()


def _by_index(split: Split, features: Features, selected: Int64[np.ndarray, " selected"]) -> Vectors:
    """The features of the selected images that can be read, by index in `split`."""
    readable = [index for index, name in enumerate(split.names) if name not in features.unreadable]
    vectors = dict(zip(readable, features.values, strict=True))
    return {index: vectors[index] for index in selected.tolist() if index in vectors}


def replace_head(weights: Weights, head: LinearHead) -> Weights:
    """`weights` with `head` instead of their own head."""
    body = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("head.")}
    new_head = {"head.weight": torch.from_numpy(head.weight).float(), "head.bias": torch.from_numpy(head.bias).float()}
    return Weights(weights.family, {**weights.config, "classes": len(head.bias)}, body | new_head)


def _with_validation(dataset: Dataset, share: float) -> Dataset:
    near = group_near_duplicates(group_equal_files(dataset.splits["train"]), min_groups=2, quiet=True)
    validation, rest = near.images.merge_sample_groups().cut(share)
    splits = {**dataset.splits, "train": rest.split, "validation": validation}
    note = f"{100 * share:g} % of train was held out as validation to select the ridge (stratified by class, seeded)."
    return replace(dataset, splits=splits, split_by_mixlab=True, notes=(*dataset.notes, note, *near.notes))


def _features(job: LinearProbeJob, split: str, *, quiet: bool) -> Features:
    recipe = job.recipe
    return features(
        job.backbone,
        job.dataset.splits[split],
        job.device,
        batch=recipe.batch,
        workers=recipe.workers,
        max_unreadable=recipe.max_unreadable,
        quiet=quiet,
    )


def _write_run(
    job: LinearProbeJob, folder: Path, fitted: FittedHead, train: Features, validation: Features, seconds: float
) -> Run:
    """Write the files of a run. Its journal has one epoch of one step, and the validation accuracy of each ridge."""
    dataset = job.dataset
    assignment = dataset.assignment if dataset.split_by_mixlab else None
    environment = machine.describe(job.device)
    run = start_run(folder, job.stored_recipe(), job.plan.to_dict(), environment, dataset.summary, assignment)
    training = {"loss": fitted.head.loss(train), "top1": fitted.head.top1(train)}
    evaluated = {"top1": fitted.head.top1(validation), "images": len(validation.labels)}
    with Journal(run.journal) as journal:
        for ridge, top1 in fitted.tried.items():
            journal.write("ridge", ridge=ridge, top1=top1, chosen=ridge == fitted.ridge)
        journal.write("temperature", temperature=fitted.temperature)
        journal.write("epoch", step=1, epoch=1, seconds=seconds, train=training, validation=evaluated)
        journal.write(
            "end",
            training_seconds=seconds,
            images=len(train.labels),
            peak_bytes=peak_bytes(job.device),
            unreadable=train.unreadable | validation.unreadable,
        )
    weights = replace_head(job.backbone.weights, fitted.head)
    name = Path(job.recipe.model).name
    write_model_folder(folder, weights, dataset.classes, job.backbone.preprocess, name)
    return run
