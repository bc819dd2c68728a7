import sys

import datasets
import numpy as np
import pytest
from PIL import Image

from mixlab.data.sources import open_dataset, open_for_evaluation, open_with_assignment
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
    """A set with three splits as `save_to_disk` leaves it."""
    splits = datasets.DatasetDict({"train": rows(20), "validation": rows(6, 1), "test": rows(4, 2)})
    splits.save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def files(tmp_path):
    """A folder of parquet files, which is what a set on the hub is."""
    (tmp_path / "pets/data").mkdir(parents=True)
    rows(20).to_parquet(tmp_path / "pets/data/train-00000.parquet")
    rows(6, 1).to_parquet(tmp_path / "pets/data/test-00000.parquet")
    return tmp_path / "pets"


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def test_the_splits_of_a_saved_set_are_its_parts(saved):
    pets = open_dataset(f"hf:{saved}")
    assert pets.name == f"hf:{saved}"
    assert pets.classes == ("dog", "cat")
    assert sizes(pets) == {"train": 20, "validation": 6, "test": 4}
    assert pets.splits["test"].labels.tolist() == [0, 1, 0, 1]
    assert pets.splits["test"].image(2).tolist() == np.array(rows(4, 2)[2]["image"]).tolist()
    assert not pets.split_by_mixlab


def test_a_folder_of_parquet_files_is_read_as_the_hub_does(files):
    pets = open_dataset(f"hf:{files}")
    assert sizes(pets) == {"train": 18, "validation": 2, "test": 6}
    assert pets.split_by_mixlab


@pytest.mark.parametrize("kind", ["saved", "files"])
def test_one_split_is_cut_as_a_folder_is(kind, request):
    pets = open_dataset(f"hf:{request.getfixturevalue(kind)}:train")
    assert sizes(pets) == {"train": 14, "validation": 2, "test": 4}
    resume = open_with_assignment(pets.name, pets.assignment, pets.classes)
    assert resume.fingerprint == pets.fingerprint


def test_a_split_may_be_a_slice(files):
    assert sum(sizes(open_dataset(f"hf:{files}:train[:50%]")).values()) == 10


def test_an_unseen_set_is_evaluated_on_what_it_holds_out(saved, files):
    def evaluated(name):
        return len(open_for_evaluation(name, ("cat", "dog")).splits["test"])

    assert evaluated(f"hf:{saved}") == 4
    assert evaluated(f"hf:{files}") == 6
    assert evaluated(f"hf:{saved}:validation") == 6
    assert evaluated(f"hf:{files}:train") == 20


def test_a_stream_keeps_so_many_rows_and_reads_them_once(files, monkeypatch):
    name = f"hf:{files}:train:stream=12"
    first = open_dataset(name)
    assert first.name == name
    assert sum(sizes(first).values()) == 12
    monkeypatch.delattr(datasets, "load_dataset")
    assert open_dataset(name).fingerprint == first.fingerprint
    whole = open_for_evaluation(name, ("dog", "cat")).splits["test"]
    assert whole.image(7).tolist() == np.array(rows(20)[7]["image"]).tolist()


def test_a_stream_that_is_shorter_is_all_of_it(files):
    assert sum(sizes(open_dataset(f"hf:{files}:train:stream=100")).values()) == 20


def test_images_by_their_paths_are_read_where_they_lie(tmp_path):
    for number in range(8):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 20 * number, np.uint8)).save(path)
    photos = open_dataset(f"hf:{tmp_path}/photos")
    assert photos.classes == ("cat", "dog")
    assert photos.splits["train"].image(0).shape == (4, 4, 3)


def refused(name):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value)


def test_a_set_that_cannot_be_reached_says_what_to_do():
    assert refused("hf:nobody/nothing") == (
        "hf:nobody/nothing can't be fetched from the hub (Couldn't reach 'nobody/nothing' on the Hub "
        "(OfflineModeIsEnabled)): fetch it elsewhere, and give its folder as hf:PATH."
    )


def test_a_missing_path_is_refused(tmp_path):
    assert refused(f"hf:{tmp_path}/gone/away").startswith(f"hf:{tmp_path}/gone/away is not there: give a name on")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no data that `datasets` understands" in refused(f"hf:{tmp_path}/empty")


@pytest.mark.parametrize("kind", ["saved", "files"])
def test_an_unknown_split_is_refused_with_the_nearest(kind, request):
    name = f"hf:{request.getfixturevalue(kind)}:trian"
    assert refused(name).startswith(f"{name} can't be opened: Unknown split \"trian\". Should be one of ['train', ")
    assert refused(name).endswith('Did you mean "train"?')


def test_a_split_of_a_set_without_splits_is_refused(tmp_path):
    rows(6).save_to_disk(tmp_path / "one")
    assert 'Unknown split "train"' in refused(f"hf:{tmp_path}/one:train")


def test_a_set_of_several_configurations_says_how_to_write_one(files):
    (files / "README.md").write_text(
        "---\nconfigs:\n- {config_name: small, data_files: data/test*}\n"
        "- {config_name: large, data_files: data/train*}\n---\n"
    )
    assert refused(f"hf:{files}").endswith(f'It has small, large: write "hf:{files}/small".')
    assert sum(sizes(open_dataset(f"hf:{files}/small")).values()) == 6
    assert open_dataset(f"hf:{files}/large:train").name == f"hf:{files}/large:train"


def test_splits_of_other_names_are_refused_with_what_to_write(tmp_path):
    datasets.DatasetDict({"photos": rows(6), "drawings": rows(6)}).save_to_disk(tmp_path / "saved")
    assert refused(f"hf:{tmp_path}/saved") == (
        f"hf:{tmp_path}/saved has no split that is called train, validation or test but photos, drawings: write "
        f'"hf:{tmp_path}/saved:photos".'
    )


@pytest.mark.parametrize("split", [":stream=10", "train:stream=", "train:stream=0", "train:stream"])
def test_a_stream_without_its_numbers_is_refused(files, split):
    assert "a stream is written" in refused(f"hf:{files}:{split}")


def test_a_script_is_not_run(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/old.py").write_text("raise SystemExit")
    assert "Dataset scripts are no longer supported" in refused(f"hf:{tmp_path}/old")


def test_the_missing_extra_is_one_line(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refused(f"hf:{saved}") == f'hf:{saved} needs datasets, which is an extra: pip install "mixlab[data]"'
