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
def test_a_table_without_parts_is_cut_as_a_folder_is(write, images, labels):
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


def test_a_files_name_says_its_part(write):
    write("train-0.parquet", image=IMAGES, label=NUMBERS)
    write("train-1.parquet", image=IMAGES, label=NUMBERS)
    write("validation-0.parquet", image=IMAGES[:6], label=NUMBERS[:6])
    root = write("test-0.parquet", image=IMAGES[:4], label=NUMBERS[:4])
    pets = open_dataset(f"parquet:{root}/*.parquet")
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 40, "validation": 6, "test": 4}
    assert not pets.split_by_mixlab


def test_the_names_of_classes_that_the_table_knows_are_kept(tmp_path):
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["dog", "cat", "owl"])})
    rows = datasets.Dataset.from_dict({"img": WITH_PATHS, "kind": NUMBERS}, features=features)
    rows.to_parquet(tmp_path / "pets.parquet")
    pets = open_dataset(f"parquet:{tmp_path}/pets.parquet")
    assert pets.classes == ("dog", "cat", "owl")
    assert pets.splits["train"].image(0).shape == (4, 4, 3)


def test_images_go_to_another_process_as_their_places(write):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    split = open_dataset(f"parquet:{root}/pets.parquet").splits["train"]
    again = pickle.loads(pickle.dumps(split))
    assert (again.image(5) == split.image(5)).all()
    assert len(pickle.dumps(split)) < 5000


def test_workers_read_what_one_process_reads(write):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    split = open_dataset(f"parquet:{root}/pets.parquet").splits["train"]
    split.image(0)  # the table is open before the workers begin
    alone, together = (
        [
            batch.images
            for batch in TrainingBatches(
                split, Preprocess((4, 4)), Augmentation(), batch=6, seed=0, workers=workers
            ).epoch(0)
        ]
        for workers in (0, 2)
    )
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_rows_that_are_written_anew_are_read_anew(write):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    before = open_dataset(f"parquet:{root}/pets.parquet")
    write("pets.parquet", image=IMAGES[::-1], label=NUMBERS)
    assert open_dataset(before.name).fingerprint != before.fingerprint


def refused(name, root):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value).replace(str(root), "ROOT")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"image": IMAGES, "caption": ["a cat"] * 20},
            "parquet:ROOT/pets.parquet has no column of classes (numbers or texts), among its image, caption: call the "
            'right one "label".',
        ),
        ({"image": ["a.png"] * 20, "label": NUMBERS}, "has no column of images (encoded, as bytes)"),
        (
            {"left": IMAGES, "right": IMAGES, "label": NUMBERS},
            "has several columns of images (encoded, as bytes), left, right, among its left, right, label",
        ),
        ({"image": IMAGES, "label": [[0, 1]] * 20}, 'has lists of classes in the column "label": an image has one'),
        (
            {"image": IMAGES, "label": [*NUMBERS[:18], None, None]},
            'has no class in 2 rows of train, column "label", the first of them row 18: fill it or remove the row.',
        ),
        (
            {"image": IMAGES, "label": [*NUMBERS[:18], -1, -1]},
            'has the class -1, which stands for none, in 2 rows of train, column "label"',
        ),
        ({"image": [*IMAGES[:19], None], "label": NUMBERS}, 'has no image in row 19 of train, column "image"'),
        ({"image": IMAGES, "label": [-1] * 20}, "has no rows with an image and its class"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "has no rows with an image and its"),
        ({"image": IMAGES, "label": [7] * 20}, 'has only one class, "7"'),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(write, columns, sentence):
    root = write("pets.parquet", **columns)
    assert sentence in refused(f"parquet:{root}/pets.parquet", root)


def test_a_part_with_secret_classes_is_left_out(write):
    write("train.parquet", image=IMAGES, label=NUMBERS)
    root = write("test.parquet", image=IMAGES, label=[-1] * 20)
    pets = open_dataset(f"parquet:{root}/*.parquet")
    assert pets.notes[0] == "The part test keeps its classes secret and was left out: 20 images."


def test_what_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "pets.parquet").write_bytes(b"image,label")
    assert refused(f"parquet:{tmp_path}/pets.parquet", tmp_path) == (
        "ROOT/pets.parquet is no parquet file, or is damaged: fetch or write it again."
    )


@pytest.mark.parametrize(
    ("other", "columns"),
    [
        ({"image": IMAGES, "kind": NUMBERS}, "kind (int64)"),
        ({"image": IMAGES, "label": ["a"] * 20}, "label (string)"),
    ],
)
def test_files_of_different_columns_are_refused(write, other, columns):
    write("a.parquet", image=IMAGES, label=NUMBERS)
    root = write("b.parquet", **other)
    assert refused(f"parquet:{root}/*.parquet", root) == (
        "parquet:ROOT/*.parquet has files of different columns: ROOT/a.parquet has image (binary), label (int64), and "
        f"ROOT/b.parquet has image (binary), {columns}. Take one of them out of the pattern."
    )


def test_a_missing_file_is_refused(tmp_path):
    assert "which is not there" in refused(f"parquet:{tmp_path}/pets.parquet", tmp_path)


def test_the_missing_extra_is_one_line(write, monkeypatch):
    root = write("pets.parquet", image=IMAGES, label=NUMBERS)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refused(f"parquet:{root}/pets.parquet", root) == (
        'parquet:ROOT/pets.parquet needs datasets, which is an extra: pip install "mixlab[data]"'
    )
