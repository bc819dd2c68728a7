"""VTAB-1k: its tasks as published, and their classes from the features of TFDS."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixlab.data.readers.tfds import Target
from mixlab.studies.vtab import TASKS
from prepared_tfds import prepare

tfds = pytest.importorskip("tensorflow_datasets", reason='needs the extra: pip install "mixlab[tfds]"')

TASK = {task.name: task for task in TASKS}


def index(name: str, row: dict[str, Any]) -> int:
    target = TASK[name].target
    assert isinstance(target, Target)
    return target.index(row)


def classes(name: str) -> int:
    target = TASK[name].target
    assert isinstance(target, Target)
    return len(target.classes)


def test_there_are_7_natural_4_specialised_and_8_structured_tasks():
    assert Counter(task.group for task in TASKS) == {"natural": 7, "specialised": 4, "structured": 8}
    assert len(TASK) == 19


def test_800_images_train_and_200_validate():
    for task in TASKS:
        assert task.train == "train[:800]"
        start, _, end = task.validation.partition("[")[2].rstrip("]").partition(":")
        assert int(end) - int(start or 0) == 200


def test_validation_images_of_train_begin_after_the_training_part_of_vtab():
    """The numbers of images are those that the tests of VTAB's code expect."""
    training_part = {
        "Caltech101": 2754,
        "CIFAR-100": 45000,
        "Pets": 2944,
        "SVHN": 65931,
        "EuroSAT": 16200,
        "Resisc45": 18900,
        "Clevr-count": 63000,
        "Clevr-dist": 63000,
        "dSprites-loc": 589824,
        "dSprites-ori": 589824,
    }
    found = {
        task.name: int(task.validation[len("train[") :].partition(":")[0])
        for task in TASKS
        if task.validation.startswith("train[")
    }
    assert found == training_part
    assert TASK["EuroSAT"].test == "train[21600:]" and TASK["Resisc45"].test == "train[25200:]"
    assert TASK["dSprites-loc"].test == TASK["dSprites-ori"].test == "train[663552:]"


def test_clevr_counts_three_to_ten_objects():
    assert classes("Clevr-count") == 8
    assert [index("Clevr-count", {"objects": {"size": np.zeros(count)}}) for count in (3, 7, 10)] == [0, 4, 7]


def nearest(*distances: float) -> dict[str, Any]:
    return {"objects": {"pixel_coords": np.array([[1, 1, distance] for distance in distances], dtype=np.float32)}}


@pytest.mark.parametrize(
    ("distance", "label"), [(7.0, 0), (8.0, 0), (8.2, 1), (8.6, 2), (9.3, 3), (9.7, 4), (10.0, 4), (12.0, 5)]
)
def test_clevr_distances_are_classes_of_the_nearest_object(distance, label):
    assert index("Clevr-dist", nearest(distance, 15.0)) == label
    assert classes("Clevr-dist") == 6


def traffic(*objects: tuple[int, float]) -> dict[str, Any]:
    types, distances = zip(*objects, strict=True)
    return {"objects": {"type": np.array(types), "location": np.array([[0.0, 0.0, each] for each in distances])}}


@pytest.mark.parametrize(
    ("row", "label"),
    [
        (traffic((0, 5.0), (2, 30.0)), 0),
        (traffic((1, 12.0), (3, 2.0)), 1),  # a pedestrian is nearer, but not a vehicle
        (traffic((2, 21.0)), 2),
        (traffic((5, 4.0)), 3),  # no vehicle
    ],
)
def test_kitti_distances_are_classes_of_the_nearest_vehicle(row, label):
    assert index("KITTI-dist", row) == label
    assert classes("KITTI-dist") == 4


def test_dsprites_has_sixteen_positions_and_orientations():
    assert [index("dSprites-loc", {"label_x_position": value}) for value in (0, 1, 2, 31)] == [0, 0, 1, 15]
    orientations = [index("dSprites-ori", {"label_orientation": value}) for value in range(40)]
    assert orientations == [int(np.floor(value / (40 / 16))) for value in range(40)]
    assert classes("dSprites-loc") == classes("dSprites-ori") == 16


def png(shape: tuple[int, ...], seed: int, highest: int = 255) -> io.BytesIO:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, highest + 1, shape, dtype=np.uint8)).save(content, "png")
    content.seek(0)
    return content


def imitation(source: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Features with the names and types of TFDS, and twelve rows."""
    label = tfds.features.ClassLabel
    vector = tfds.features.Tensor(shape=(3,), dtype=np.float32)
    image, count = {"image": tfds.features.Image()}, range(12)
    match source:
        case "clevr":
            objects = tfds.features.Sequence({"size": label(num_classes=2), "pixel_coords": vector})
            values = [[{"size": 0, "pixel_coords": [1.0, 2.0, 7.0 + n % 6]}] * (3 + n % 3) for n in count]
            rows = [{"image": png((8, 8, 3), n), "objects": values[n]} for n in count]
            return image | {"objects": objects}, rows
        case "kitti":
            objects = tfds.features.Sequence({"type": label(num_classes=8), "location": vector})
            values = [[{"type": n % 2 * 3, "location": [0.0, 0.0, 5.0 * n]}] for n in count]
            rows = [{"image": png((8, 8, 3), n), "objects": values[n]} for n in count]
            return image | {"objects": objects}, rows
        case "dsprites":
            features = {"label_x_position": label(num_classes=32), "label_orientation": label(num_classes=40)}
            grey = {"image": tfds.features.Image(shape=(8, 8, 1))}
            rows = [{"image": png((8, 8), n, 1), "label_x_position": n, "label_orientation": n} for n in count]
            return grey | features, rows
        case "smallnorb":
            features = {"label_azimuth": label(num_classes=18), "label_elevation": label(num_classes=9)}
            grey = {name: tfds.features.Image(shape=(8, 8, 1)) for name in ("image", "image2")}
            rows = [
                {"image": png((8, 8), n), "image2": png((8, 8), n), "label_azimuth": n, "label_elevation": n % 9}
                for n in count
            ]
            return grey | features, rows
        case _:
            rows = [{"image": png((8, 8, 3), n), "label": n % 2} for n in count]
            return image | {"label": label(num_classes=2)}, rows


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, id=task.name, marks=() if task.group == "structured" else pytest.mark.long) for task in TASKS],
)
def test_a_task_is_read_from_features_like_those_of_tfds(task, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("mixlab.data.readers.tfds.cache_folder", lambda: tmp_path / "cache")
    name, _, config = task.source.partition("/")
    features, rows = imitation(name)
    prepare(tmp_path, features, {"train": rows}, name, config)
    small = replace(task, train="train[:6]", validation="train[6:8]", test="train[8:]")
    dataset = small.open(tmp_path, quiet=True)
    assert {split: len(images) for split, images in dataset.splits.items()} == {"train": 6, "validation": 2, "test": 4}
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    assert len(np.unique(labels)) > 1
    assert dataset.splits["test"].image(0).max() > 200  # also of dSprites, whose pixels are 0 and 1
