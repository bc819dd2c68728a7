"""How similar are the features and the errors of trained models, compared with two seeds of one model?

The features of all layers are compared by debiased centred kernel alignment (CKA), the errors by Cohen's kappa, and the
cues by images with the shapes of one class and the texture of another one. Pairs of runs of the same model are the
reference: a similarity below theirs shows a difference between models, and not only one between seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.data.dataset import Dataset
from mixlab.data.decoding import shown_image
from mixlab.data.rng import named_generator
from mixlab.errors import UserError
from mixlab.measure import machine
from mixlab.models.davit import DaViT, DaViTBlock
from mixlab.report.progress import Log
from mixlab.report.references import data_references
from mixlab.report.text import join_words
from mixlab.runs.folder import open_run
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.similarity import debiased_cka, error_consistency, gram, unbiased_hsic
from mixlab.studies.cue_conflict import partners, with_amplitudes_of
from mixlab.studies.grids import require_distinct
from mixlab.studies.methods import run_note
from mixlab.studies.representation_claims import alone
from mixlab.studies.representation_result import Pair, RepresentationResult
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.zoo.architecture import Model
from mixlab.zoo.references import model_references
from mixlab.zoo.timm_models import TimmModel

COST = "about a minute; needs trained runs"

_OTHER_SETTINGS = ("seed", "workers", "max_unreadable", "precision", "speed", "parallel", "trackers", "checkpoints")
"""Keys of a recipe in which two seeds of one model may differ."""


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    runs: tuple[str, ...] = field(default=(), metadata={"help": "Folders of finished runs on this data, with commas."})
    images: int = field(default=512, metadata={"help": "Test images at most.", "min": 16})
    batch: int = field(default=64, metadata={"help": "Images of a batch, in which features are compared.", "min": 8})
    seed: int = field(default=0, metadata={"help": "Seed of the images, and of the pairs of shape and texture."})


def run(dataset: Dataset, settings: Settings, *, quiet: bool, log: Log) -> RepresentationResult:
    """Compare all pairs of runs on test images.

    Raises UserError with fewer than two runs, with a run that is there twice, with runs of other classes, with runs of
    one model that differ in more than their seeds, or with fewer images than a batch.
    """
    require_distinct("--runs", settings.runs)
    loaded = {name: load_pretrained(name) for name in settings.runs}
    if len(loaded) < 2:
        raise UserError("The study compares runs: give --runs with two or more folders, such as --runs runs/a,runs/b.")
    for name, pretrained in loaded.items():
        if pretrained.classes != dataset.classes:
            raise UserError(
                f"{name} was trained on other classes than those of {dataset.name}: give runs on the same data."
            )
    models = {name: _model_of(name, loaded[name]) for name in loaded}
    _require_equal_recipes(models)
    test = dataset.splits["test"]
    count = min(settings.images, len(test)) // settings.batch * settings.batch
    if not count or len(np.unique(test.labels)) < 2:
        raise UserError(
            f"{dataset.name} has {len(test)} test images, but the study needs {settings.batch}, of two classes: give "
            "other data, or a smaller --batch."
        )
    chosen = named_generator("images", settings.seed).permutation(len(test))[:count]
    labels = test.labels[chosen]
    others = partners(labels, settings.seed)
    device = machine.pick_device()
    networks = {name: build_with_weights(pretrained.weights).to(device) for name, pretrained in loaded.items()}
    correct: dict[str, list[np.ndarray]] = {name: [] for name in loaded}
    cues: dict[str, list[np.ndarray]] = {name: [] for name in loaded}
    similarity: dict[tuple[str, str], list[np.ndarray]] = {}
    decoded = [shown_image(test, int(index)) for index in chosen]
    for start in range(0, count, settings.batch):
        places = np.arange(start, start + settings.batch)
        grams = {}
        for name, network in networks.items():
            preprocess = loaded[name].preprocess
            shapes = _tensor(decoded, places, loaded[name]).to(device)
            textures = _tensor(decoded, others[places], loaded[name]).to(device)
            conflicts = with_amplitudes_of(shapes, textures)
            if preprocess.transform is not None:
                shapes, conflicts = preprocess.transform(shapes), preprocess.transform(conflicts)
            features, logits = _features(network, shapes)
            grams[name] = [gram(layer) for layer in features]
            correct[name].append(logits.argmax(axis=1) == labels[places])
            cues[name].append(_features(network, conflicts)[1].argmax(axis=1))
        for a, b in [*((name, name) for name in loaded), *combinations(loaded, 2)]:
            batch = np.array([[unbiased_hsic(one, other) for other in grams[b]] for one in grams[a]])
            similarity.setdefault((a, b), []).append(batch)
        log(f"{start + settings.batch} of {count} images")
    means = {pair: np.mean(batches, axis=0) for pair, batches in similarity.items()}
    answers = {name: np.concatenate(batches) for name, batches in correct.items()}
    numbers = {model: number for number, model in enumerate(dict.fromkeys(models.values()))}
    return RepresentationResult(
        data=dataset.name,
        settings=asdict(settings),
        models=models,
        trainings={name: run_note(open_run(Path(name)).recipe) for name in loaded},
        accuracy={name: proportion_interval(int(right.sum()), count) for name, right in answers.items()},
        names=[test.names[int(index)] for index in chosen],
        alone=alone(np.array([*answers.values()]), [numbers[model] for model in models.values()], settings.seed),
        pairs=tuple(
            Pair(a, b, models[a] == models[b], _cka(means, a, b), error_consistency(answers[a], answers[b]))
            for a, b in combinations(loaded, 2)
        ),
        shape={name: _cue_counts(np.concatenate(cues[name]), labels, labels[others]) for name in loaded},
        images=count,
        references=(
            *(key for pretrained in loaded.values() for key in model_references(pretrained.weights.architecture)),
            *data_references(dataset.name),
        ),
        environment=machine.describe(device),
    )


def _tensor(decoded: Sequence[np.ndarray], places: np.ndarray, pretrained: Pretrained) -> Tensor:
    """Normalised images, before the transform."""
    preprocess = replace(pretrained.preprocess, transform=None)
    return torch.stack([preprocess(decoded[place]) for place in places])


def _features(model: Model, images: Tensor) -> tuple[list[Float[np.ndarray, "image feature"]], np.ndarray]:
    """The output of every layer, flattened, and the logits."""
    outputs: list[np.ndarray] = []
    handles = [
        layer.register_forward_hook(
            lambda _module, _inputs, output: outputs.append(output.flatten(1).numpy(force=True))
        )
        for layer in layers_of(model)
    ]
    try:
        with torch.no_grad():
            logits = model(images).numpy(force=True)
    finally:
        for handle in handles:
            handle.remove()
    return [output.astype(np.float64) for output in outputs], logits


def layers_of(model: Model) -> list[nn.Module]:
    """The blocks of a network, in order. Raises UserError for a timm model other than ViTs and ResNets."""
    if isinstance(model, DaViT):
        return [block for block in model.body.modules() if isinstance(block, DaViTBlock)]
    if not isinstance(model, TimmModel):
        return list(model.body)
    if hasattr(model.network, "blocks"):
        return list(model.network.blocks)
    stages = [getattr(model.network, f"layer{number}", None) for number in range(1, 5)]
    blocks = [block for stage in stages if stage is not None for block in stage]
    if not blocks:
        raise UserError(f"The layers of timm:{model.config.name} are unknown: give runs of ViTs or ResNets.")
    return blocks


def _cka(means: Mapping[tuple[str, str], np.ndarray], a: str, b: str) -> Float[np.ndarray, "layer_a layer_b"]:
    own, other, cross = means[a, a].diagonal(), means[b, b].diagonal(), means[a, b]
    return np.array([[debiased_cka(cross[i, j], own[i], other[j]) for j in range(len(other))] for i in range(len(own))])


def _cue_counts(predicted: np.ndarray, shapes: np.ndarray, textures: np.ndarray) -> tuple[int, int]:
    """How many answers are the class of the shapes, and how many that of the texture."""
    return int((predicted == shapes).sum()), int((predicted == textures).sum())


def _require_equal_recipes(models: Mapping[str, str]) -> None:
    """Raises UserError if runs of one model differ in more than their seeds: they are a reference for other models."""
    first: dict[str, str] = {}
    for name, model in models.items():
        other = first.setdefault(model, name)
        recipe, reference = (_without_seeds(open_run(Path(one)).recipe) for one in (name, other))
        if differing := [key for key in recipe if recipe[key] != reference.get(key)]:
            raise UserError(
                f"{other} and {name} are runs of {model}, but their recipes differ in {join_words(differing)}, and the "
                "study compares models with two seeds of one model: give runs of a model that differ in their seeds "
                "only."
            )


def _without_seeds(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that determine a training, without its random numbers."""
    return {
        key: {name: inner for name, inner in value.items() if name != "seed"} if isinstance(value, Mapping) else value
        for key, value in recipe.items()
        if key not in _OTHER_SETTINGS
    }


def _model_of(name: str, pretrained: Pretrained) -> str:
    """The name of the model in the run's recipe, with its transform if it has one."""
    transform = pretrained.preprocess.transform
    return str(open_run(Path(name)).recipe["model"]) + (f", {transform.name}" if transform is not None else "")
