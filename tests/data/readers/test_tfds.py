"""Small datasets that tensorflow_datasets prepares as ArrayRecord, without TensorFlow."""

import io
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.batches import TrainingBatches
from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.tfds import Target, read_prepared
from mixlab.data.sources import open_dataset, open_for_evaluation
from mixlab.errors import UserError
from prepared_tfds import prepare

tfds = pytest.importorskip("tensorflow_datasets", reason='needs the extra: pip install "mixlab[tfds]"')


def png(seed):
    content = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "png")
    content.seek(0)
    return content


IMAGES = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["dog", "cat"])}


def rows(count, **more):
    return [{"image": png(i), "label": i % 2, **{key: make(i) for key, make in more.items()}} for i in range(count)]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("mixlab.data.readers.tfds.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path):
    return prepare(tmp_path / "sets", IMAGES, {"train": rows(20), "test": rows(4)})


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def test_a_prepared_dataset_is_read_from_its_folder(pets):
    dataset = open_dataset(f"tfds:{pets}")
    assert dataset.name == f"tfds:{pets}"
    assert dataset.classes == ("dog", "cat")
    assert sizes(dataset) == {"train": 18, "validation": 2, "test": 4}
    assert dataset.splits["test"].image(0).shape == (4, 4, 3)
    assert "tensorflow" not in sys.modules


def test_the_images_are_unchanged(pets):
    test = open_for_evaluation(f"tfds:{pets}:test", ("dog", "cat")).splits["test"]
    images = {(test.image(i).tobytes(), int(test.labels[i])) for i in range(4)}
    assert images == {(np.array(Image.open(png(i))).tobytes(), i % 2) for i in range(4)}


def test_images_are_copied_once(pets, cache):
    before = open_dataset(f"tfds:{pets}")
    listings = sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*"))
    assert listings
    assert open_dataset(f"tfds:{pets}").listing_digest == before.listing_digest
    assert sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*")) == listings


def test_file_names_are_kept(tmp_path):
    features = IMAGES | {"file_name": tfds.features.Text()}
    folder = prepare(tmp_path / "sets", features, {"test": rows(3, file_name=lambda i: f"val_{i}.JPEG")})
    names = open_for_evaluation(f"tfds:{folder}", ("dog", "cat")).splits["test"].names
    assert sorted(name.split("/")[-1] for name in names) == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]


def test_a_single_split_is_divided(pets):
    assert sizes(open_dataset(f"tfds:{pets}:train")) == {"train": 14, "validation": 2, "test": 4}


def test_workers_do_not_change_the_images(pets):
    split = open_dataset(f"tfds:{pets}").splits["train"]
    preprocess = Preprocess((4, 4))
    unpickled = pickle.loads(pickle.dumps(split))
    batches = [
        [
            batch.images
            for batch in TrainingBatches(source, preprocess, Augmentation(), batch=6, seed=0, workers=workers).epoch(0)
        ]
        for source, workers in ((split, 0), (split, 2), (unpickled, 0))
    ]
    for expected, with_workers, from_unpickled in zip(*batches, strict=True):
        assert (expected == with_workers).all() and (expected == from_unpickled).all()


def test_unpublished_labels_and_other_splits_are_skipped(tmp_path):
    hidden = [{"image": png(i), "label": -1} for i in range(4)]
    folder = prepare(tmp_path / "sets", IMAGES, {"train": rows(20), "test": hidden, "extra": rows(3)})
    dataset = open_dataset(f"tfds:{folder}")
    assert dataset.notes[:2] == (
        "Skipped the split extra: it is not train, validation or test.",
        "Skipped the split test: its labels are not published (4 images).",
    )


def test_a_split_with_some_unpublished_labels_is_refused(tmp_path):
    hidden = [{"image": png(i), "label": -1} for i in range(2)]
    folder = prepare(tmp_path / "sets", IMAGES, {"train": [*rows(20), *hidden]})
    assert error_message(folder) == (
        f'tfds:{folder} has the class -1, which means no class, in 2 rows of train, feature "label": replace it or '
        "remove the row."
    )


def test_a_dataset_without_published_labels_is_refused(tmp_path):
    folder = prepare(tmp_path / "sets", IMAGES, {"train": [{"image": png(0), "label": -1}]})
    assert error_message(folder) == (
        f"tfds:{folder} has no rows with an image and a class: choose another split or dataset."
    )


def error_message(location):
    with pytest.raises(UserError) as caught:
        open_dataset(f"tfds:{location}")
    return str(caught.value)


def test_an_unknown_name_is_refused():
    assert error_message("unknown_name") == (
        "tfds:unknown_name is neither a dataset of TensorFlow Datasets nor a folder: see "
        "https://www.tensorflow.org/datasets/catalog for the names."
    )


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    assert "can't be opened (DatasetInfoFileError: Could not read dataset info" in error_message(tmp_path)


def test_an_unknown_split_is_refused(pets):
    assert f"tfds:{pets}:trian can't be opened (" in error_message(f"{pets}:trian")


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        ({"image": IMAGES["image"]}, "must have exactly one ClassLabel feature"),
        ({"label": IMAGES["label"]}, 'or one called "image", but has none. Its features are label'),
        (
            {**IMAGES, "label": tfds.features.Text(), "a": IMAGES["label"], "b": IMAGES["label"]},
            'or one called "label", but has several: a, b. Its features are a, b, image, label: choose another '
            "dataset.",
        ),
    ],
)
def test_a_dataset_with_other_features_is_refused(tmp_path, features, sentence):
    make = {"image": png, "label": lambda i: "dog" if len(features) == 4 else 0, "a": lambda i: 0, "b": lambda i: 0}
    samples = [{key: make[key](i) for key in features} for i in range(2)]
    assert sentence in error_message(prepare(tmp_path / "sets", features, {"train": samples}))


def test_a_format_without_random_access_is_refused(pets, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_data_source", refuse)
    assert "is prepared in a format without random access: prepare it as ArrayRecord" in error_message(pets)


def test_a_missing_extra_is_named(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert error_message(pets) == (
        f'tfds:{pets} needs the optional dependency tensorflow_datasets: pip install "mixlab[tfds]"'
    )


def test_parts_of_a_prepared_dataset_are_read_as_splits(pets):
    parts = {"train": "train[:8]", "validation": "train[8:12]", "test": "test"}
    dataset = read_prepared(pets, parts, "label", quiet=True)
    assert (dataset.classes, sizes(dataset)) == (("dog", "cat"), {"train": 8, "validation": 4, "test": 4})
    names = {image.tobytes() for split in ("train", "validation") for image in images_of(dataset.splits[split])}
    assert len(names) == 12


def images_of(split):
    return [split.image(index) for index in range(len(split))]


def test_classes_can_be_computed_from_other_features(tmp_path):
    size = {"size": tfds.features.Scalar(np.int64)}
    folder = prepare(tmp_path / "sets", IMAGES | size, {"train": rows(6, size=lambda i: i)})
    small = Target("small", ("small", "large"), lambda row: int(row["size"] >= 4))
    dataset = read_prepared(folder, {"train": "train"}, small, quiet=True)
    assert dataset.classes == ("small", "large")
    assert sorted(dataset.splits["train"].labels) == [0, 0, 0, 0, 1, 1]
    by_label = read_prepared(folder, {"train": "train"}, "label", quiet=True)
    assert sorted(by_label.splits["train"].labels) == [0, 0, 0, 1, 1, 1]  # not the cached labels of the other target


def test_images_can_be_made_brighter(tmp_path):
    content = io.BytesIO()
    Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)).save(content, "png")
    content.seek(0)
    features = {"image": tfds.features.Image(shape=(2, 2, 1)), "label": IMAGES["label"]}
    folder = prepare(tmp_path / "sets", features, {"train": [{"image": content, "label": 0}]})
    (image,) = images_of(read_prepared(folder, {"train": "train"}, "label", brightness=255, quiet=True).splits["train"])
    assert image[..., 0].tolist() == [[0, 255], [255, 0]]


def test_parts_that_do_not_exist_are_an_error(pets):
    with pytest.raises(UserError, match="can't be opened"):
        read_prepared(pets, {"train": "validation[:8]"}, "label", quiet=True)
