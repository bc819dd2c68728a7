"""A training without steps: a published backbone's features, a head in closed form, and a run like any other."""

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mixlab.data.dataset import Dataset
from mixlab.data.holdout import VALIDATION_SHARE, group_samples
from mixlab.errors import UserError
from mixlab.evaluation.probes.features import Backbone, Features, features, open_backbone
from mixlab.evaluation.probes.ridge import FittedHead, LinearHead, fit_head
from mixlab.files import atomic_folder, write_json, write_text
from mixlab.measure import machine
from mixlab.measure.memory import peak_bytes
from mixlab.runs.folder import FORMAT, Run, require_free_folder, start_run
from mixlab.runs.journal import Journal
from mixlab.runs.store import store_folder, store_key
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.run_page import run_page
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_tensors


@dataclass(frozen=True)
class LinearProbeJob:
    """With nothing left open: `recipe` is resolved, and `dataset` has a validation part."""

    recipe: LinearProbeRecipe
    dataset: Dataset
    backbone: Backbone
    device: torch.device

    @property
    def plan(self) -> Plan:
        return Plan(self.device.type, ComputeMode(), self.recipe.batch)

    def folder(self) -> Path:
        """Where the store keeps this run."""
        key = store_key(
            {
                "recipe": self.recipe.to_dict() | {"expected": None},
                "weights": self.backbone.weights.digest,
                "config": dict(self.backbone.weights.config),
                "preprocess": self.backbone.preprocess.to_dict(),
                "data": self.dataset.fingerprint,
                "torch": torch.__version__,
            }
        )
        model = re.sub(r"[^\w.]+", "-", Path(self.recipe.model).name)
        return store_folder() / f"{model}-head-{self.dataset.name.partition(':')[0]}-{key}"


def resolve_linear_probe(recipe: LinearProbeRecipe, dataset: Dataset, device: torch.device) -> LinearProbeJob:
    """Fetches the weights, where they are not here. A set without a validation part gives a tenth of train for it."""
    if "validation" not in dataset.splits:
        validation, rest = group_samples(dataset.splits["train"]).cut(VALIDATION_SHARE)
        splits = {**dataset.splits, "train": rest.split, "validation": validation}
        note = "A tenth of train was held out as validation, by class and seeded, to choose the ridge on."
        dataset = replace(dataset, splits=splits, split_by_mixlab=True, notes=(*dataset.notes, note))
    backbone = open_backbone(recipe.model, recipe.image_size)
    if backbone.weights.family == "timm":
        raise UserError(
            f"{recipe.model} is a model of timm's: a head in closed form is put on mixlab's own families alone. "
            "Give a Mixer, a ConvMixer or a DaViT."
        )
    resolved = {"data": dataset.name, "image_size": backbone.weights.config["image_size"]}
    return LinearProbeJob(recipe.model_copy(update=resolved), dataset, backbone, device)


def train_linear_probe(job: LinearProbeJob, folder: Path, *, quiet: bool) -> Run:
    """A finished run in `folder`, or none at all: what an interruption leaves is the features, in the cache."""
    require_free_folder(folder)
    if Run(folder).is_unfinished:
        raise UserError(
            f"{folder} holds a training that was broken off, and a head in closed form is another: go on with "
            f"`mixlab train --resume {folder}`, or give another path."
        )
    started = time.perf_counter()
    seen = {name: _features(job, name, quiet=quiet) for name in ("train", "validation")}
    recommendation_summary = fit_head(
        seen["train"], seen["validation"], len(job.dataset.classes), job.recipe.linear_probe.ridges
    )
    seconds = time.perf_counter() - started
    with atomic_folder(folder) as temporary:
        run = _write_run(job, temporary, recommendation_summary, seen["train"], seen["validation"], seconds)
        write_text(run.report, run_page(run, folder).html())
        run.mark("done")
    return Run(folder)


def replace_head(weights: Weights, head: LinearHead) -> Weights:
    """The backbone's weights with this head in the place of theirs."""
    body = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith("head.")}
    own = {"head.weight": torch.from_numpy(head.weight).float(), "head.bias": torch.from_numpy(head.bias).float()}
    return Weights(weights.family, {**weights.config, "classes": len(head.bias)}, body | own)


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
    job: LinearProbeJob,
    folder: Path,
    recommendation_summary: FittedHead,
    train: Features,
    validation: Features,
    seconds: float,
) -> Run:
    """One epoch of one step, and in the journal what validation said of each ridge."""
    dataset = job.dataset
    split = dataset.assignment if dataset.split_by_mixlab else None
    environment = machine.describe(job.device)
    run = start_run(folder, job.recipe.to_dict(), job.plan.to_dict(), environment, dataset.summary, split)
    learned = {"loss": recommendation_summary.head.loss(train), "top1": recommendation_summary.head.top1(train)}
    evaluated = {"top1": recommendation_summary.head.top1(validation), "images": len(validation.labels)}
    with Journal(run.journal) as journal:
        for ridge, top1 in recommendation_summary.tried.items():
            journal.write("ridge", ridge=ridge, top1=top1, recommendation_summary=ridge == recommendation_summary.ridge)
        journal.write("temperature", temperature=recommendation_summary.temperature)
        journal.write("epoch", step=1, epoch=1, seconds=seconds, train=learned, validation=evaluated)
        journal.write(
            "end",
            training_seconds=seconds,
            images=len(train.labels),
            peak_bytes=peak_bytes(job.device),
            unreadable=train.unreadable | validation.unreadable,
        )
    weights = replace_head(job.backbone.weights, recommendation_summary.head)
    write_tensors(run.weights, weights.tensors)
    write_json(run.path / "config.json", _card(job, weights))
    return run


def _card(job: LinearProbeJob, weights: Weights) -> dict[str, Any]:
    """config.json."""
    return {
        "format": FORMAT,
        "model": Path(job.recipe.model).name,
        "family": weights.family,
        "config": dict(weights.config),
        "classes": list(job.dataset.classes),
        "preprocess": job.backbone.preprocess.to_dict(),
    }
