"""Shards in webdataset format, on the disk and on a server on loopback."""

import io
import json
import re
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from mixlab.data.readers.archive import InArchive
from mixlab.data.sources import is_same_source, open_as_provided, open_dataset, open_for_evaluation
from mixlab.errors import UserError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    for module in ("archive", "shards"):
        monkeypatch.setattr(f"mixlab.data.readers.{module}.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def shard(tmp_path):
    """Writes a shard of `samples`, (name, label) each, with an image of noise, and the files `more`."""
    generator = np.random.default_rng(0)

    def write(name, samples, more=()):
        path = tmp_path / "shards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as archive:
            for key, label in samples:
                png = io.BytesIO()
                Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(png, "png")
                _add(archive, f"{key}.png", png.getvalue())
                _add(archive, f"{key}.cls", label.encode())
            for file, content in more:
                _add(archive, file, content)
        return path.parent

    return write


def _add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


SAMPLES = [(f"{number:04d}", str(number % 3)) for number in range(30)]


def test_shards_without_splits_are_divided(shard):
    shard("pets-0.tar", SAMPLES)
    root = shard("pets-1.tar", SAMPLES)
    pets = open_dataset(f"wds:{root}/pets-{{0..1}}.tar")
    assert pets.classes == ("0", "1", "2")
    assert {name: np.bincount(split.labels).tolist() for name, split in pets.splits.items()} == {
        "train": [14, 14, 14],
        "validation": [2, 2, 2],
        "test": [4, 4, 4],
    }
    assert pets.split_by_mixlab
    assert pets.splits["train"].image(0).shape == (4, 4, 3)
    assert {name.split("/")[0] for split in pets.splits.values() for name in split.names} == {"pets-0", "pets-1"}


def test_the_split_is_taken_from_the_name_of_the_shard_or_folder(shard):
    shard("pets-train-0.tar", SAMPLES)
    shard("pets-train-1.tar", SAMPLES)
    shard("test/0.tar", SAMPLES[:9])
    root = shard("Val/0.tar", SAMPLES[:6])
    pets = open_dataset(f"wds:{root.parent}/{{pets-train-*,test/0,Val/0}}.tar")
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 60, "validation": 6, "test": 9}
    assert pets.splits["test"].names[0] == "test/0/0000.png"
    assert not pets.split_by_mixlab


def test_samples_are_those_of_webdataset(shard):
    theirs = pytest.importorskip("webdataset.tariterators", reason="needs webdataset, which is in the extra dev")
    samples = [("a/0001", "1"), ("a/0002", "0"), ("b.c/0001", "1"), ("0003", "0")]
    root = shard("pets.tar", samples, more=[("a/0004.v2.png", b"0"), ("a/0004.cls", b"1"), ("readme", b"")])
    with (root / "pets.tar").open("rb") as file:
        expected = {
            (sample["__key__"], suffix): (content, int(sample["cls"]))
            for sample in theirs.group_by_keys(theirs.tar_file_expander([{"url": "", "stream": file}]))
            for suffix, content in sample.items()
            if suffix.endswith("png")
        }
    ours = open_for_evaluation(f"wds:{root}/pets.tar", ("0", "1")).splits["test"]
    actual = {}
    for image, label in zip(ours.images, ours.labels.tolist(), strict=True):
        assert isinstance(image, InArchive)
        ((key, suffix),) = re.findall(r"^((?:.*/)?[^.]+)\.(.*)$", image.name)
        actual[key, suffix] = image.read_bytes(), label
    assert actual == expected and len(actual) == 5


@pytest.fixture
def served(serve, shard, tmp_path):
    """A server for the folder of shards."""
    return serve(tmp_path / "shards")


def test_remote_shards_are_downloaded_once_and_equal_local_ones(shard, served):
    shard("train-0.tar", SAMPLES)
    root = shard("test-0.tar", SAMPLES)
    name = f"wds:{served.address}/{{train,test}}-0.tar"
    remote, local = open_dataset(name), open_dataset(f"wds:{root}/{{train,test}}-0.tar")
    assert remote.name == name and is_same_source(name, remote.name)
    assert remote.listing_digest == local.listing_digest and remote.fingerprint == local.fingerprint
    open_dataset(name)
    assert served.asked == ["/train-0.tar", "/test-0.tar"]


def test_a_missing_remote_shard_is_named(served, cache):
    with pytest.raises(
        UserError, match=r"missing.tar can't be downloaded \(the server returned 404 .*put it at .*missing.tar"
    ):
        open_dataset(f"wds:{served.address}/missing.tar")


def test_the_class_can_be_in_a_json_file(shard):
    labels = [
        (f"1{key}.json", json.dumps({"label": int(label), "caption": "a cat"}).encode()) for key, label in SAMPLES
    ]
    root = shard("pets.tar", [], [*labels, *((f"1{key}.jpg", key.encode()) for key, _ in SAMPLES)])
    dataset = open_as_provided(f"wds:{root}/pets.tar")
    assert dataset.classes == ("0", "1", "2")
    assert dataset.splits["train"].labels.tolist() == [int(label) for _, label in SAMPLES]


@pytest.mark.parametrize(("label", "name"), [(True, "True"), (3.0, "3"), (" cat ", "cat")])
def test_json_labels_of_plain_types_are_read(shard, label, name):
    root = shard("pets.tar", [], [("1.json", json.dumps({"label": label}).encode()), ("1.jpg", b"")])
    assert open_as_provided(f"wds:{root}/pets.tar").classes == (name,)


def test_a_cls_file_has_priority_over_a_json_file(shard):
    root = shard("pets.tar", SAMPLES, [("0000.json", b'{"label": "elephant"}')])
    assert open_dataset(f"wds:{root}/pets.tar").classes == ("0", "1", "2")


def error_message(name, root):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value).replace(str(root), "ROOT")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            [("0099.jpg", b""), ("0099.json", b"{}")],
            "ROOT/a.tar has no class for the sample 0099, only the files jpg, json: add 0099.cls with the number or "
            'name of the class, or 0099.json with a "label".',
        ),
        ([("0099.jpg", b""), ("0099.json", b"not")], "ROOT/a.tar has no class for the sample 0099"),
        ([("0099.jpg", b""), ("0099.cls", b" ")], "ROOT/a.tar has no class for the sample 0099"),
        (
            [("0099.jpg", b""), ("0099.json", b'{"label": [3, 5]}')],
            "ROOT/a.tar, sample 0099, is multi-label, with the classes [3, 5]: each image must have one class",
        ),
        (
            [("0099.jpg", b""), ("0099.cls", b"3\n5\n")],
            "ROOT/a.tar, sample 0099, is multi-label, with the classes '3\\n5\\n': each image must have one class",
        ),
        (
            [("0099.jpg", b""), ("0099.json", b'{"label": 0.5}')],
            "ROOT/a.tar, sample 0099, has the class 0.5 (float): it must be text, a whole number or a boolean.",
        ),
        (
            [("0001.seg.png", b"")],
            "ROOT/a.tar has several images for the sample 0001, 0001.png, 0001.seg.png: pack the shard with one image "
            "per sample.",
        ),
        ([("0001.png", b"")], "ROOT/a.tar has 0001.png twice: a sample has one file per suffix"),
    ],
)
def test_an_invalid_sample_is_refused(shard, more, sentence):
    root = shard("a.tar", SAMPLES, more)
    assert sentence in error_message(f"wds:{root}/a.tar", root)


def test_samples_without_image_are_counted(shard):
    root = shard("a.tar", SAMPLES, [("0099.txt", b"a cat"), ("0099.cls", b"1")])
    assert open_dataset(f"wds:{root}/a.tar").notes[0] == "Skipped because they have no image: 1 sample."


def test_shards_without_images_are_refused(shard):
    root = shard("a.tar", [], [("0001.txt", b"a cat")])
    assert error_message(f"wds:{root}/a.tar", root) == (
        "wds:ROOT/a.tar has no images in 1 shard: a sample needs an image, such as a .jpg, and a .cls or .json file."
    )


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    assert error_message(f"wds:{tmp_path}/*.tar", tmp_path) == (
        "wds:ROOT/*.tar matches no file: give the path of a file, or a pattern that matches some."
    )


def test_a_missing_shard_is_refused(shard):
    root = shard("a-0.tar", SAMPLES)
    assert "ROOT/a-1.tar, which does not exist" in error_message(f"wds:{root}/a-{{0..1}}.tar", root)


def test_a_folder_of_shards_is_refused(shard):
    root = shard("a-0.tar", SAMPLES)
    assert (
        error_message(f"wds:{root}", root)
        == 'wds:ROOT matches the folder ROOT: to use the files in it, write "ROOT/*".'
    )


def test_an_unmatched_brace_is_refused(tmp_path):
    assert "has an unmatched brace" in error_message(f"wds:{tmp_path}/a-{{0..1.tar", tmp_path)


def test_a_shard_without_a_split_among_others_is_refused(shard):
    shard("train-0.tar", SAMPLES)
    root = shard("more-0.tar", SAMPLES)
    assert "has files of train, but ROOT/more-0.tar has no split in its name" in error_message(
        f"wds:{root}/*.tar", root
    )


def test_a_missing_extra_is_named(shard, monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    root = shard("a.tar", SAMPLES)
    assert error_message(f"wds:{root}/a.tar", root) == (
        'wds:ROOT/a.tar needs the optional dependency braceexpand: pip install "mixlab[data]"'
    )
