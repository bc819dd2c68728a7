"""How well do frozen features serve the 19 tasks of VTAB-1k, with 1,000 training images each?

The tasks are those of the Visual Task Adaptation Benchmark (Zhai et al. 2019), with the 800 training and 200 validation
images of its code. A probe is fitted to the features of a model; the score is the plain mean of top-1 over the tasks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixlab.data.readers.tfds import Target
from mixlab.report.progress import Log
from mixlab.studies.tasks import Task, TasksResult, run_tasks

COST = "19 probes of one model"

NATURAL, SPECIALISED, STRUCTURED = "natural", "specialised", "structured"

_NOTES = (
    "Published VTAB-1k scores are of models that were fine-tuned on each task. Those of frozen features are lower, so "
    "compare them only with other scores of frozen features.",
)


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    model: str = field(metadata={"help": "Weights: a published name, timm:NAME.TAG, a run, a folder or a file."})
    probe: str = field(default="logistic", metadata={"help": "fewshot:K, knn:K, ridge or logistic."})
    folder: str = field(
        default="", metadata={"help": "Folder of prepared datasets; default: $TFDS_DATA_DIR or ~/tensorflow_datasets."}
    )
    batch: int = field(default=32, metadata={"help": "Images per forward pass.", "min": 1})


def run(settings: Settings, *, quiet: bool, log: Log) -> TasksResult:
    """Evaluate the probe on every task whose dataset is there.

    Raises UserError if the weights can't be loaded, or no task can be evaluated.
    """
    return run_tasks(
        TASKS,
        settings,
        title="How well do frozen features serve the tasks of VTAB-1k?",
        command="mixlab study vtab",
        score="The VTAB-1k score",
        notes=_NOTES,
        references=("vtab",),
        quiet=quiet,
        log=log,
    )


def _binned(name: str, values: Callable[[Mapping[str, Any]], Any], thresholds: tuple[float, ...]) -> Target:
    """Classes by the interval of the smallest value: the number of thresholds below it, less one."""
    edges = [*(f"{edge:g}" for edge in thresholds[1:]), ""]
    classes = tuple(f"up to {edge}" if edge else f"above {edges[-2]}" for edge in edges)

    def index(row: Mapping[str, Any]) -> int:
        smallest = np.min(values(row))
        return int(np.flatnonzero(np.array(thresholds) < smallest).max())

    return Target(name, classes, index)


def _vehicle_distances(row: Mapping[str, Any]) -> Any:
    """Distances in metres along the camera axis of cars, vans and trucks, and 1,000 for an image without them."""
    objects = row["objects"]
    distances = np.asarray(objects["location"]).reshape(-1, 3)[:, 2]
    return np.append(distances[np.asarray(objects["type"]) < 3], 1000.0)


def _pairs(feature: str, values: int) -> Target:
    """Two neighbouring values of a feature of dSprites make up one class."""
    classes = tuple(f"{value} and {value + 1}" for value in range(0, values, 2))
    return Target(feature, classes, lambda row: int(row[feature]) // 2)


_CLEVR_COUNT = Target("count", tuple(map(str, range(3, 11))), lambda row: len(row["objects"]["size"]) - 3)
_CLEVR_DISTANCE = _binned(
    "distance",
    lambda row: np.asarray(row["objects"]["pixel_coords"]).reshape(-1, 3)[:, 2],
    (0.0, 8.0, 8.5, 9.0, 9.5, 10.0),
)
_KITTI_DISTANCE = _binned("distance", _vehicle_distances, (-100.0, 8.0, 20.0, 999.0))


def _task(
    group: str, name: str, source: str, validation: str, test: str, target: Target | str = "label", brightness: int = 1
) -> Task:
    return Task(
        name=name,
        source=source,
        train="train[:800]",
        validation=validation,
        test=test,
        group=group,
        target=target,
        brightness=brightness,
    )


# The validation images of a dataset without a validation split follow the share of train that VTAB uses for training:
# 90 % (Caltech101, CIFAR-100, SVHN, CLEVR), 80 % (Pets, dSprites) or 60 % (EuroSAT, Resisc45).
TASKS = (
    _task(NATURAL, "Caltech101", "caltech101", "train[2754:2954]", "test"),
    _task(NATURAL, "CIFAR-100", "cifar100", "train[45000:45200]", "test"),
    _task(NATURAL, "DTD", "dtd", "validation[:200]", "test"),
    _task(NATURAL, "Flowers102", "oxford_flowers102", "validation[:200]", "test"),
    _task(NATURAL, "Pets", "oxford_iiit_pet", "train[2944:3144]", "test"),
    _task(NATURAL, "SVHN", "svhn_cropped", "train[65931:66131]", "test"),
    _task(NATURAL, "Sun397", "sun397/tfds", "validation[:200]", "test"),
    _task(SPECIALISED, "Patch Camelyon", "patch_camelyon", "validation[:200]", "test"),
    _task(SPECIALISED, "EuroSAT", "eurosat/rgb", "train[16200:16400]", "train[21600:]"),
    _task(SPECIALISED, "Resisc45", "resisc45", "train[18900:19100]", "train[25200:]"),
    _task(
        SPECIALISED, "Diabetic Retinopathy", "diabetic_retinopathy_detection/btgraham-300", "validation[:200]", "test"
    ),
    _task(STRUCTURED, "Clevr-count", "clevr", "train[63000:63200]", "validation", _CLEVR_COUNT),
    _task(STRUCTURED, "Clevr-dist", "clevr", "train[63000:63200]", "validation", _CLEVR_DISTANCE),
    _task(STRUCTURED, "DMLab", "dmlab", "validation[:200]", "test"),
    _task(STRUCTURED, "KITTI-dist", "kitti", "validation[:200]", "test", _KITTI_DISTANCE),
    _task(
        STRUCTURED,
        "dSprites-loc",
        "dsprites",
        "train[589824:590024]",
        "train[663552:]",
        _pairs("label_x_position", 32),
        brightness=255,
    ),
    _task(
        STRUCTURED,
        "dSprites-ori",
        "dsprites",
        "train[589824:590024]",
        "train[663552:]",
        Target("label_orientation", tuple(map(str, range(16))), lambda row: int(row["label_orientation"] / 2.5)),
        brightness=255,
    ),
    _task(STRUCTURED, "sNORB-azim", "smallnorb", "test[:200]", "test[50%:]", "label_azimuth"),
    _task(STRUCTURED, "sNORB-elev", "smallnorb", "test[:200]", "test[50%:]", "label_elevation"),
)
