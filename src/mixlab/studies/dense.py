"""Which models segment best at equal cost, and how much of that is position, resolution and pyramid?

Mixer, ConvMixer and DaViT are trained beside a ResNet and a ViT, with the same decoder, images, steps and learning
rate, from random weights or, with --start, from weights of classified images. The sizes of the models have about the
same multiply-accumulates at the default image size. Three factors are changed one at a time: the pyramid (a linear head
on the last map in its place), positions (a Mixer with the mean of all patches in place of its token MLPs, and a ViT
without positions), and the resolution (patches of 16 pixels in place of 8). Scores are the mIoU of the test images at
their own size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.evaluation.class_maps import ClassMapper
from mixlab.evaluation.segmentation_metrics import METRICS, SegmentationScores
from mixlab.evaluation.segmentation_scoring import score_split
from mixlab.measure.machine import pick_device
from mixlab.report.references import data_references
from mixlab.report.table import Cell, Column, Table
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.stats.intervals import mean_interval
from mixlab.studies.arm_costs import costs_table
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.dense_claims import (
    CLAIMS,
    COARSE,
    CONVMIXER,
    DAVIT,
    LINEAR,
    MEAN,
    MIXER,
    NO_POSITIONS,
    RESNET,
    VIT,
)
from mixlab.studies.dense_start import segmenters_of, start_note, with_start
from mixlab.studies.grids import words
from mixlab.studies.methods import trainings_protocol
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import build_with_weights, load_pretrained

TASK = "segmentation"
COST = "36 trainings of 20 epochs"

_MIXER = {"patch_size": 8, "channels": 48, "token_hidden": 48, "channel_hidden": 144, "depth": 4}
_CONVMIXER = {"patch_size": 8, "kernel_size": 5, "channels": 64, "depth": 12}
_DAVIT = {"channels": [14, 28, 56, 112], "depths": [1, 1, 1, 1], "heads": [1, 2, 4, 8], "window": 4}
_RESNET = {"layers": [1, 1, 1, 1], "channels": [18, 36, 72, 144], "stem_type": "deep", "stem_width": 5}
_VIT = {"patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4}

_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    MIXER: ("mixer_nano", _MIXER),
    CONVMIXER: ("convmixer_nano", _CONVMIXER),
    DAVIT: ("davit_nano", _DAVIT),
    RESNET: ("timm:resnet18", _RESNET),
    VIT: ("timm:plain_vit", _VIT),
}
_FACTORS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "pyramid": {name + LINEAR: _MODELS[name] for name in (MIXER, CONVMIXER, DAVIT)},
    "position": {
        MEAN: ("variant:pooling_mixer", _MIXER),
        NO_POSITIONS: ("timm:plain_vit", _VIT | {"positions": "none"}),
    },
    "resolution": {
        MIXER + COARSE: ("mixer_nano", _MIXER | {"patch_size": 16}),
        CONVMIXER + COARSE: ("convmixer_nano", _CONVMIXER | {"patch_size": 16}),
    },
}


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    factors: tuple[str, ...] = field(
        default=("pyramid", "position", "resolution"),
        metadata={"help": "Factors to change: pyramid, position, resolution, or none."},
    )
    decoder: str = field(default="fpn", metadata={"help": "fpn or upernet."})
    decoder_width: int = field(default=24, metadata={"help": "Channels of the decoder.", "min": 1})
    seeds: int = field(default=3, metadata={"help": "Trainings of each arm.", "min": 2})
    epochs: int = field(default=20, metadata={"help": "Epochs of each training.", "min": 1})
    height: int = field(default=96, metadata={"help": "Pixels of the model's input.", "min": 32})
    width: int = field(default=128, metadata={"help": "Pixels of the model's input.", "min": 32})
    learning_rate: float = field(default=2e-3, metadata={"help": "At the peak of the schedule."})
    start: str = field(
        default="",
        metadata={"help": "Classified images on which each model is trained first, such as cifar10. Default: none."},
    )
    start_epochs: int = field(default=10, metadata={"help": "Epochs of the training on --start.", "min": 1})
    start_images: int = field(default=500, metadata={"help": "Maximum images of each class of --start.", "min": 1})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """The five models, then the arms of each factor; with --start, the classifiers come first.

    Raises UserError for an unknown factor.
    """
    decoder = {"name": settings.decoder, "width": settings.decoder_width}
    found = {name: _recipes(model, dataset, settings, decoder) for name, model in _MODELS.items()}
    for factor in _factors(settings):
        changed = {"name": "linear"} if factor == "pyramid" else decoder
        found |= {name: _recipes(model, dataset, settings, changed) for name, model in _FACTORS[factor].items()}
    return with_start(found, settings) if settings.start else found


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The mIoU of every arm, and the IoU of every class with the five models."""
    segmenters = segmenters_of(trained)
    scores = {name: [_scores(name, run, trained) for run in runs] for name, runs in segmenters.runs.items()}
    claims = [claim for factor in ("", *_factors(settings)) for claim in CLAIMS[factor]]
    result = trained.result(
        title="Which models segment best at equal cost?",
        command="mixlab study dense",
        settings=settings,
        claims=claims,
        arms=tuple(_arm(name, of_arm, trained) for name, of_arm in scores.items()),
        metric=("miou", "mIoU"),
        columns=(
            Column("macs", "MACs", "M", digits=1),
            Column("pixel_accuracy", "pixel accuracy", "%", digits=1),
            Column("boundary_f1", "boundary F1", "%", digits=1),
        ),
        own_tables=(_class_table(scores, trained.dataset.classes), costs_table(segmenters.trainings)),
        pairs=((MIXER, RESNET), (CONVMIXER, RESNET), (DAVIT, RESNET), (VIT, RESNET), (MIXER, VIT)),
        notes=(
            "The class of each pixel at the size of the test images; pixels without a class are not counted.",
            "The learning rate was not tuned for any model.",
            start_note(settings),
        ),
        protocol=f"{trainings_protocol(segmenters.trainings, trained.dataset)} {start_note(settings)}",
    )
    return replace(result, references=(*result.references, *data_references(settings.start)))


def _factors(settings: Settings) -> list[str]:
    chosen = words("--factors", settings.factors, (*_FACTORS, "none"))
    return [factor for factor in chosen if factor != "none"]


def _recipes(
    model: tuple[str, dict[str, Any]], dataset: Dataset, settings: Settings, decoder: dict[str, Any]
) -> list[Recipe]:
    name, config = model
    fields: dict[str, Any] = {
        "task": TASK,
        "model": name,
        "data": dataset.name,
        "image_size": [settings.height, settings.width],
        "epochs": settings.epochs,
        "batch": 16,
        "validation": "merged",
        "config": config,
        "decoder": decoder,
        "optimizer": {"learning_rate": settings.learning_rate, "weight_decay": 0.05, "clip_norm": 1.0},
        "schedule": {"warmup": 0.1},
        "augmentation": {"flip": True, "affine": {"scale": [0.75, 1.5], "translate": 0.1}},
    }
    return [parse_training_recipe(fields | {"seed": seed}, name) for seed in range(settings.seeds)]


def _scores(name: str, run: Run, trained: TrainedArms) -> SegmentationScores:
    pretrained, split = load_pretrained(run.path), trained.dataset.splits["test"]
    mapper = ClassMapper(Inference(build_with_weights(pretrained.weights), pick_device()), pretrained.image_preprocess)
    scored = score_split(mapper, split, trained.dataset.classes, title=f"evaluate {name}", quiet=True)
    trained.log(f"{name}: {scored.scores.summary['miou'].value:.1f} % mIoU")
    return scored.scores


def _arm(name: str, scores: Sequence[SegmentationScores], trained: TrainedArms) -> Arm:
    values = {key: tuple(one.summary[key].value for one in scores if key in one.summary) for key in METRICS}
    means = {key: mean_interval(each, "%", least=0, most=100) if each else None for key, each in values.items()}
    assert means["miou"] is not None  # the test images have labelled pixels
    training = trained.trainings[name][0]
    macs = training.job.architecture.macs
    others = ("pixel_accuracy", "boundary_f1")
    cells: dict[str, Cell] = {"macs": macs / 1e6, **{key: means[key] for key in others}}
    details = {"macs": macs, "steps": training.steps, "training_seconds": trained.seconds(name)}
    details |= {key: list(values[key]) for key in others}
    return Arm(name, values["miou"], means["miou"], cells, details)


def _class_table(scores: dict[str, list[SegmentationScores]], classes: tuple[str, ...]) -> Table:
    """The mean IoU of each class over the seeds, of the five models."""
    rows: list[dict[str, Cell]] = []
    for index, name in enumerate(classes):
        row: dict[str, Cell] = {"class": name}
        for model in _MODELS:
            ious = [one.by_class()[index].iou for one in scores[model]]
            defined = [iou.value for iou in ious if iou is not None]
            row[model] = float(np.mean(defined)) if defined else None
        rows.append(row)
    columns = [Column("class", "class"), *(Column(model, model, "%", digits=1) for model in _MODELS)]
    return Table("IoU of each class", columns, rows, ["Means over seeds."])
