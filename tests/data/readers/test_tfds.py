"""Sets that tensorflow_datasets prepares on the spot, as ArrayRecord, without TensorFlow."""

import io
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.batches import TrainingBatches
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset, open_for_evaluation
from mixlab.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets", reason='needs the extra: pip install "mixlab[tfds]"')


def png(seed):
    content = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "png")
    content.seek(0)
    return content


IMAGES = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["dog", "cat"])}


def prepared(folder, features, splits):
    """The folder of a set with `splits`: name -> a row for each of its numbers."""

    class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = code_path = folder  # what it would look for fails in a module of tests

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: enumerate(rows) for name, rows in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    builder = Pets(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return builder.data_dir


def rows(count, **more):
    return [{"image": png(i), "label": i % 2, **{key: make(i) for key, make in more.items()}} for i in range(count)]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("mixlab.data.readers.tfds.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path):
    return prepared(tmp_path / "sets", IMAGES, {"train": rows(20), "test": rows(4)})


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def test_a_prepared_set_is_read_from_its_folder(pets):
    found = open_dataset(f"tfds:{pets}")
    assert found.name == f"tfds:{pets}"
    assert found.classes == ("dog", "cat")
    assert sizes(found) == {"train": 18, "validation": 2, "test": 4}
    assert found.splits["test"].image(0).shape == (4, 4, 3)
    assert "tensorflow" not in sys.modules


def test_the_encoded_images_are_those_that_were_put_in(pets):
    test = open_for_evaluation(f"tfds:{pets}:test", ("dog", "cat")).splits["test"]
    found = {(test.image(i).tobytes(), int(test.labels[i])) for i in range(4)}
    assert found == {(np.array(Image.open(png(i))).tobytes(), i % 2) for i in range(4)}


def test_images_are_copied_once(pets, cache):
    before = open_dataset(f"tfds:{pets}")
    listings = sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*"))
    assert listings
    assert open_dataset(f"tfds:{pets}").listing_digest == before.listing_digest
    assert sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*")) == listings


def test_names_of_files_are_kept(tmp_path):
    features = IMAGES | {"file_name": tfds.features.Text()}
    folder = prepared(tmp_path / "sets", features, {"test": rows(3, file_name=lambda i: f"val_{i}.JPEG")})
    names = open_for_evaluation(f"tfds:{folder}", ("dog", "cat")).splits["test"].names
    assert sorted(name.split("/")[-1] for name in names) == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]


def test_one_split_is_cut_as_a_folder_is(pets):
    assert sizes(open_dataset(f"tfds:{pets}:train")) == {"train": 14, "validation": 2, "test": 4}


def test_workers_read_what_one_process_reads(pets):
    split = open_dataset(f"tfds:{pets}").splits["train"]
    preprocess = Preprocess((4, 4))
    again = pickle.loads(pickle.dumps(split))
    batches = [
        [
            batch.images
            for batch in TrainingBatches(one, preprocess, Augmentation(), batch=6, seed=0, workers=workers).epoch(0)
        ]
        for one, workers in ((split, 0), (split, 2), (again, 0))
    ]
    for alone, together, elsewhere in zip(*batches, strict=True):
        assert (alone == together).all() and (alone == elsewhere).all()


def test_secret_classes_and_other_splits_are_left_out(tmp_path):
    hidden = [{"image": png(i), "label": -1} for i in range(4)]
    folder = prepared(tmp_path / "sets", IMAGES, {"train": rows(20), "test": hidden, "extra": rows(3)})
    found = open_dataset(f"tfds:{folder}")
    assert found.notes[:2] == (
        "The split extra is none of train, validation and test and was left out.",
        "The part test keeps its classes secret and was left out: 4 images.",
    )


def refused(place):
    with pytest.raises(UserError) as caught:
        open_dataset(f"tfds:{place}")
    return str(caught.value)


def test_an_unknown_name_is_refused():
    assert refused("nothing_such") == (
        "tfds:nothing_such is no set of TensorFlow Datasets, nor a folder: https://www.tensorflow.org/datasets/catalog "
        "lists the names."
    )


def test_a_folder_without_a_set_is_refused(tmp_path):
    assert "can't be opened (DatasetInfoFileError: Could not read dataset info" in refused(tmp_path)


def test_an_unknown_split_is_refused(pets):
    assert f"tfds:{pets}:trian can't be opened (" in refused(f"{pets}:trian")


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        ({"image": IMAGES["image"]}, "should have one feature of the kind ClassLabel"),
        ({"label": IMAGES["label"]}, 'or one that is called "image", and has none, among its label'),
        (
            {**IMAGES, "label": tfds.features.Text(), "a": IMAGES["label"], "b": IMAGES["label"]},
            'or one that is called "label", and has several, a, b, among its a, b, image, label: take another set.',
        ),
    ],
)
def test_a_set_of_other_features_is_refused(tmp_path, features, sentence):
    made = {"image": png, "label": lambda i: "dog" if len(features) == 4 else 0, "a": lambda i: 0, "b": lambda i: 0}
    listed = [{key: made[key](i) for key in features} for i in range(2)]
    assert sentence in refused(prepared(tmp_path / "sets", features, {"train": listed}))


def test_a_format_without_random_access_says_how_to_prepare_it(pets, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_data_source", refuse)
    assert "is prepared in a format without random access: prepare it as ArrayRecord" in refused(pets)


def test_the_missing_extra_is_one_line(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert refused(pets) == (f'tfds:{pets} needs tensorflow_datasets, which is an extra: pip install "mixlab[tfds]"')
