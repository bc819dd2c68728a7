import io
import pickle
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.batches import TrainingBatches
from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.table import InTable
from mixlab.data.sources import open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def png(seed):
    content = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "png")
    return content.getvalue()


IMAGES = [png(seed) for seed in range(20)]
WITH_PATHS = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(IMAGES)]
NUMBERS = [number % 2 for number in range(20)]


@pytest.fixture
def write(tmp_path):
    def write(name, **columns):
        path = tmp_path / "tables" / name
        path.parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pa.table(columns), path)
        return path.parent

    return write


@pytest.mark.parametrize("images", [IMAGES, WITH_PATHS])
@pytest.mark.parametrize("labels", [NUMBERS, ["cat", "dog"] * 10])
def test_a_table_without_splits_is_divided(write, images, labels):
    root = write("pets.parquet", image=images, label=labels)
    pets = open_dataset(f"parquet:{root}/pets.parquet")
    assert pets.classes == tuple(map(str, labels[:2]))
    assert {name: np.bincount(split.labels).tolist() for name, split in pets.splits.items()} == {
        "train": [7, 7],
        "validation": [1, 1],
        "test": [2, 2],
    }
    assert pets.split_by_mixlab
    everything = open_for_evaluation(pets.name, pets.classes).splits["test"]
    assert [image.read_bytes() for image in everything.images if isinstance(image, InTable)] == IMAGES
    assert everything.names[3] == ("train/0000003/3.png" if images is WITH_PATHS else "train/0000003")
    assert (everything.image(3) == np.array(Image.open(io.BytesIO(IMAGES[3])))).all()


def test_the_split_is_taken_from_the_file_name(write):
    write("train-0.parquet", image=IMAGES, label=NUMBERS)
    write("train-1.parquet", image=IMAGES, label=NUMBERS)
    write("validation-0.parquet", image=IMAGES[:6], label=NUMBERS[:6])
    root = write("test-0.parquet", image=IMAGES[:4], label=NUMBERS[:4])
    pets = open_dataset(f"parquet:{root}/*.parquet")
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 40, "validation": 6, "test": 4}
    assert not pets.split_by_mixlab


def test_class_names_of_the_table_are_used(tmp_path):
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["dog", "cat", "owl"])})
    rows = datasets.Dataset.from_dict({"img": WITH_PATHS, "kind": NUMBERS}, features=features)
    rows.to_parquet(tmp_path / "pets.parquet")
    pets = open_dataset(f"parquet:{tmp_path}/pets.parquet")
    assert pets.classes == ("dog", "cat", "owl")
    assert pets.splits["train"].image(0).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([10.0, 2.0] * 10, ("2", "10")),
        ([True, False] * 10, ("False", "True")),
        (["dog ", "cat", "dog", "cat"] * 5, ("cat", "dog")),
        (pa.array(["dog", "cat"] * 10).dictionary_encode(), ("cat", "dog")),
    ],
)
def test_labels_of_plain_types_are_read(write, labels, classes):
    root = write("pets.parquet", image=IMAGES, label=labels)
    assert open_dataset(f"parquet:{root}/pets.parquet").classes == classes


def test_columns_of_the_same_name_are_refused(tmp_path):
    table = pa.table([pa.array(IMAGES), pa.array(NUMBERS), pa.array(NUMBERS)], names=["image", "label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "pets.parquet")
    assert error_message(f"parquet:{tmp_path}/pets.parquet", tmp_path) == (
        'ROOT/pets.parquet has several columns called "label": rename or remove all but one and write it again.'
    )


def test_pickled_images_are_small(write):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    split = open_dataset(f"parquet:{root}/pets.parquet").splits["train"]
    unpickled = pickle.loads(pickle.dumps(split))
    assert (unpickled.image(5) == split.image(5)).all()
    assert len(pickle.dumps(split)) < 5000


def test_workers_do_not_change_the_images(write):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    split = open_dataset(f"parquet:{root}/pets.parquet").splits["train"]
    split.image(0)  # open the table before the workers start
    without_workers, with_workers = (
        [
            batch.images
            for batch in TrainingBatches(
                split, Preprocess((4, 4)), Augmentation(), batch=6, seed=0, workers=workers
            ).epoch(0)
        ]
        for workers in (0, 2)
    )
    assert all((a == b).all() for a, b in zip(without_workers, with_workers, strict=True))


def test_a_changed_file_is_read_again(write):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    before = open_dataset(f"parquet:{root}/pets.parquet")
    write("pets.parquet", image=IMAGES[::-1], label=NUMBERS)
    assert open_dataset(before.name).fingerprint != before.fingerprint


def error_message(name, root):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value).replace(str(root), "ROOT")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"image": IMAGES, "caption": ["a cat"] * 20},
            "parquet:ROOT/pets.parquet has no column of classes, among its columns image, caption: "
            'rename the correct one to "label".',
        ),
        ({"image": ["a.png"] * 20, "label": NUMBERS}, "has no column of images (encoded, as bytes)"),
        (
            {"left": IMAGES, "right": IMAGES, "label": NUMBERS},
            "has several columns of images (encoded, as bytes), left, right, among its columns left, right, label",
        ),
        (
            {"image": IMAGES, "label": [[0, 1]] * 20},
            'parquet:ROOT/pets.parquet, row 0 of train, column "label", is multi-label, with the classes [0, 1]: each',
        ),
        (
            {"image": IMAGES, "label": [0.5] * 20},
            'parquet:ROOT/pets.parquet, row 0 of train, column "label", has the class 0.5 (float): it must be text',
        ),
        (
            {"image": IMAGES, "label": ["cat", " "] * 10},
            'has no class in 10 rows of train, column "label", first in row 1: add it or remove the row.',
        ),
        (
            {"image": IMAGES, "label": NUMBERS, "note": pa.array([[("a", 1)]] * 20, pa.map_(pa.string(), pa.int64()))},
            "parquet:ROOT/pets.parquet can't be loaded by the `datasets` library (Arrow type map",
        ),
        (
            {"image": IMAGES, "label": [*NUMBERS[:18], None, None]},
            'has no class in 2 rows of train, column "label", first in row 18: add it or remove the row.',
        ),
        (
            {"image": IMAGES, "label": [*NUMBERS[:18], -1, -1]},
            'has the class -1, which means no class, in 2 rows of train, column "label"',
        ),
        ({"image": [*IMAGES[:19], None], "label": NUMBERS}, 'has no image in row 19 of train, column "image"'),
        ({"image": IMAGES, "label": [-1] * 20}, "has no rows with an image and a class"),
        (
            {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())},
            "has no rows with an image and a class",
        ),
        ({"image": IMAGES, "label": [7] * 20}, 'has only one class, "7"'),
    ],
)
def test_an_invalid_table_is_refused(write, columns, sentence):
    root = write("pets.parquet", **columns)
    assert sentence in error_message(f"parquet:{root}/pets.parquet", root)


def test_a_split_with_unpublished_labels_is_skipped(write):
    write("train.parquet", image=IMAGES, label=NUMBERS)
    root = write("test.parquet", image=IMAGES, label=[-1] * 20)
    pets = open_dataset(f"parquet:{root}/*.parquet")
    assert pets.notes[0] == "Skipped the split test: its labels are not published (20 images)."


def test_other_files_are_refused(tmp_path):
    (tmp_path / "pets.parquet").write_bytes(b"image,label")
    assert error_message(f"parquet:{tmp_path}/pets.parquet", tmp_path) == (
        "ROOT/pets.parquet is not a parquet file or is damaged: download or write it again."
    )


@pytest.mark.parametrize(
    ("other", "columns"),
    [
        ({"image": IMAGES, "kind": NUMBERS}, "kind (int64)"),
        ({"image": IMAGES, "label": ["a"] * 20}, "label (string)"),
    ],
)
def test_files_with_different_columns_are_refused(write, other, columns):
    write("a.parquet", image=IMAGES, label=NUMBERS)
    root = write("b.parquet", **other)
    assert error_message(f"parquet:{root}/*.parquet", root) == (
        "parquet:ROOT/*.parquet has files with different columns: ROOT/a.parquet has image (binary), label (int64), "
        f"and ROOT/b.parquet has image (binary), {columns}. Exclude one of them from the pattern."
    )


def test_a_missing_file_is_refused(tmp_path):
    assert "which does not exist" in error_message(f"parquet:{tmp_path}/pets.parquet", tmp_path)


def test_a_missing_extra_is_named(write, monkeypatch):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert error_message(f"parquet:{root}/pets.parquet", root) == (
        'parquet:ROOT/pets.parquet needs the optional dependency datasets: pip install "mixlab[data]"'
    )
