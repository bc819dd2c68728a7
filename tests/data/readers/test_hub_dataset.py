import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from mixlab.data.sources import open_as_provided, open_dataset, open_for_evaluation, open_with_assignment
from mixlab.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("mixlab.data.readers.hub_dataset.cache_folder", lambda: tmp_path / "cache")


def rows(count, first=0):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])})
    random = np.random.default_rng(first)
    images = [Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in range(count)]
    return datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(count)]}, features=features)


@pytest.fixture
def saved(tmp_path):
    """A dataset with three splits, written by `save_to_disk`."""
    splits = datasets.DatasetDict({"train": rows(20), "validation": rows(6, 1), "test": rows(4, 2)})
    splits.save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def files(tmp_path):
    """A folder of parquet files, like a dataset on the hub."""
    (tmp_path / "pets/data").mkdir(parents=True)
    rows(20).to_parquet(tmp_path / "pets/data/train-00000.parquet")
    rows(6, 1).to_parquet(tmp_path / "pets/data/test-00000.parquet")
    return tmp_path / "pets"


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def test_the_splits_of_a_saved_dataset_are_used(saved):
    pets = open_dataset(f"hf:{saved}")
    assert pets.name == f"hf:{saved}"
    assert pets.classes == ("dog", "cat")
    assert sizes(pets) == {"train": 20, "validation": 6, "test": 4}
    assert pets.splits["test"].labels.tolist() == [0, 1, 0, 1]
    assert pets.splits["test"].image(2).tolist() == np.array(rows(4, 2)[2]["image"]).tolist()
    assert not pets.split_by_mixlab


def test_a_folder_of_parquet_files_is_read(files):
    pets = open_dataset(f"hf:{files}")
    assert sizes(pets) == {"train": 18, "validation": 2, "test": 6}
    assert pets.split_by_mixlab


@pytest.mark.parametrize("kind", ["saved", "files"])
def test_a_single_split_is_divided(kind, request):
    pets = open_dataset(f"hf:{request.getfixturevalue(kind)}:train")
    assert sizes(pets) == {"train": 14, "validation": 2, "test": 4}
    restored = open_with_assignment(pets.name, pets.assignment, pets.classes)
    assert restored.fingerprint == pets.fingerprint


def test_a_split_can_be_a_slice(files):
    assert sum(sizes(open_dataset(f"hf:{files}:train[:50%]")).values()) == 10


def test_evaluation_uses_the_held_out_split(saved, files):
    def n_test_images(name):
        return len(open_for_evaluation(name, ("cat", "dog")).splits["test"])

    assert n_test_images(f"hf:{saved}") == 4
    assert n_test_images(f"hf:{files}") == 6
    assert n_test_images(f"hf:{saved}:validation") == 6
    assert n_test_images(f"hf:{files}:train") == 20


def test_a_stream_caches_the_requested_rows(files, monkeypatch):
    name = f"hf:{files}:train:stream=12"
    first = open_dataset(name)
    assert first.name == name
    assert sum(sizes(first).values()) == 12
    monkeypatch.delattr(datasets, "load_dataset")
    assert open_dataset(name).fingerprint == first.fingerprint
    test = open_for_evaluation(name, ("dog", "cat")).splits["test"]
    assert test.image(7).tolist() == np.array(rows(20)[7]["image"]).tolist()


def test_a_stream_longer_than_the_split_has_all_rows(files):
    assert sum(sizes(open_dataset(f"hf:{files}:train:stream=100")).values()) == 20


def test_images_given_by_path_are_read_in_place(tmp_path):
    for number in range(8):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 20 * number, np.uint8)).save(path)
    photos = open_dataset(f"hf:{tmp_path}/photos")
    assert photos.classes == ("cat", "dog")
    assert photos.splits["train"].image(0).shape == (4, 4, 3)


def error_message(name):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value)


def test_a_download_failure_is_explained():
    assert error_message("hf:nobody/nothing") == (
        "hf:nobody/nothing can't be downloaded from the hub (Couldn't reach 'nobody/nothing' on the Hub "
        "(OfflineModeIsEnabled)): download it on another machine, and give its folder as hf:PATH."
    )


def test_a_missing_path_is_refused(tmp_path):
    assert error_message(f"hf:{tmp_path}/missing/folder").startswith(
        f"hf:{tmp_path}/missing/folder does not exist: give a name on"
    )


def test_files_that_can_not_be_converted_are_refused(tmp_path):
    table = pa.table([pa.array([b""]), pa.array([1]), pa.array([2])], names=["image", "label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    assert error_message(f"hf:{tmp_path}").startswith(f"hf:{tmp_path} can't be opened: Multiple matches for")


def test_labels_without_class_names_are_read(tmp_path):
    pets = rows(20).cast_column("label", datasets.Value("float32"))
    pets.save_to_disk(tmp_path / "pets")
    assert open_dataset(f"hf:{tmp_path}/pets").classes == ("0", "1")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no data that `datasets` can load" in error_message(f"hf:{tmp_path}/empty")


@pytest.mark.parametrize("kind", ["saved", "files"])
def test_an_unknown_split_is_refused_with_a_suggestion(kind, request):
    name = f"hf:{request.getfixturevalue(kind)}:trian"
    assert error_message(name).startswith(
        f"{name} can't be opened: Unknown split \"trian\". Should be one of ['train', "
    )
    assert error_message(name).endswith('Did you mean "train"?')


def test_a_split_of_a_dataset_without_splits_is_refused(tmp_path):
    rows(6).save_to_disk(tmp_path / "one")
    assert 'Unknown split "train"' in error_message(f"hf:{tmp_path}/one:train")


def test_several_configurations_are_listed(files):
    (files / "README.md").write_text(
        "---\nconfigs:\n- {config_name: small, data_files: data/test*}\n"
        "- {config_name: large, data_files: data/train*}\n---\n"
    )
    assert error_message(f"hf:{files}").endswith(f'It has small, large: write "hf:{files}/small".')
    assert sum(sizes(open_dataset(f"hf:{files}/small")).values()) == 6
    assert open_dataset(f"hf:{files}/large:train").name == f"hf:{files}/large:train"


def test_splits_with_other_names_are_refused(tmp_path):
    datasets.DatasetDict({"photos": rows(6), "drawings": rows(6)}).save_to_disk(tmp_path / "saved")
    assert error_message(f"hf:{tmp_path}/saved") == (
        f"hf:{tmp_path}/saved has no split called train, validation or test, only photos, drawings: choose one, for "
        f'example "hf:{tmp_path}/saved:photos".'
    )


def test_splits_can_have_a_common_prefix(tmp_path):
    datasets.DatasetDict({"pets_train": rows(6), "pets_test": rows(6), "pets": rows(6)}).save_to_disk(
        tmp_path / "saved"
    )
    pets = open_as_provided(f"hf:{tmp_path}/saved")
    assert list(pets.splits) == ["train", "test"]
    assert pets.notes[0] == "Skipped the split pets: it is not train, validation or test."


def test_two_names_of_the_same_split_are_refused(tmp_path):
    datasets.DatasetDict({"val": rows(6), "validation": rows(6)}).save_to_disk(tmp_path / "saved")
    assert error_message(f"hf:{tmp_path}/saved") == (
        f"hf:{tmp_path}/saved has two validation splits, val and validation: rename or remove one of them."
    )


@pytest.mark.parametrize("split", [":stream=10", "train:stream=", "train:stream=0", "train:stream"])
def test_an_invalid_stream_is_refused(files, split):
    assert "is not a valid stream: write" in error_message(f"hf:{files}:{split}")


def test_dataset_scripts_are_not_run(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/old.py").write_text("raise SystemExit")
    assert "Dataset scripts are no longer supported" in error_message(f"hf:{tmp_path}/old")


def test_a_missing_extra_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert (
        error_message(f"hf:{saved}") == f'hf:{saved} needs the optional dependency datasets: pip install "mixlab[data]"'
    )
