"""Shards as webdataset writes them, on the disk and on a server on loopback."""

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
    """Writes a shard of `samples`, (name, label) each, with an image of noise, and `more` files."""
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


def test_shards_without_parts_are_cut_as_a_folder_is(shard):
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


def test_a_shards_name_or_folder_says_its_part(shard):
    shard("pets-train-0.tar", SAMPLES)
    shard("pets-train-1.tar", SAMPLES)
    shard("test/0.tar", SAMPLES[:9])
    root = shard("Val/0.tar", SAMPLES[:6])
    pets = open_dataset(f"wds:{root.parent}/{{pets-train-*,test/0,Val/0}}.tar")
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 60, "validation": 6, "test": 9}
    assert pets.splits["test"].names[0] == "test/0/0000.png"
    assert not pets.split_by_mixlab


def test_samples_are_those_that_webdataset_reads(shard):
    theirs = pytest.importorskip("webdataset.tariterators", reason="needs webdataset, which is in the extra dev")
    samples = [("a/0001", "1"), ("a/0002", "0"), ("b.c/0001", "1"), ("0003", "0")]
    root = shard("pets.tar", samples, more=[("a/0004.v2.png", b"0"), ("a/0004.cls", b"1"), ("readme", b"")])
    with (root / "pets.tar").open("rb") as file:
        expected = {
            (sample["__key__"], ending): (content, int(sample["cls"]))
            for sample in theirs.group_by_keys(theirs.tar_file_expander([{"url": "", "stream": file}]))
            for ending, content in sample.items()
            if ending.endswith("png")
        }
    ours = open_for_evaluation(f"wds:{root}/pets.tar", ("0", "1")).splits["test"]
    found = {}
    for image, label in zip(ours.images, ours.labels.tolist(), strict=True):
        assert isinstance(image, InArchive)
        ((key, ending),) = re.findall(r"^((?:.*/)?[^.]+)\.(.*)$", image.name)
        found[key, ending] = image.read_bytes(), label
    assert found == expected and len(found) == 5


@pytest.fixture
def served(serve, shard, tmp_path):
    """A server of the folder of shards."""
    return serve(tmp_path / "shards")


def test_shards_of_an_address_are_fetched_once_and_are_as_local_ones(shard, served):
    shard("train-0.tar", SAMPLES)
    root = shard("test-0.tar", SAMPLES)
    name = f"wds:{served.address}/{{train,test}}-0.tar"
    far, near = open_dataset(name), open_dataset(f"wds:{root}/{{train,test}}-0.tar")
    assert far.name == name and is_same_source(name, far.name)
    assert far.listing_digest == near.listing_digest and far.fingerprint == near.fingerprint
    open_dataset(name)
    assert served.asked == ["/train-0.tar", "/test-0.tar"]


def test_an_address_without_the_shard_says_what_to_fetch(served, cache):
    with pytest.raises(UserError, match=r"gone.tar can't be fetched \(the server answers 404 .*put it at .*gone.tar"):
        open_dataset(f"wds:{served.address}/gone.tar")


def test_a_class_may_be_said_in_json(shard):
    said = [(f"1{key}.json", json.dumps({"label": int(label), "caption": "a cat"}).encode()) for key, label in SAMPLES]
    root = shard("pets.tar", [], [*said, *((f"1{key}.jpg", key.encode()) for key, _ in SAMPLES)])
    dataset = open_as_provided(f"wds:{root}/pets.tar")
    assert dataset.classes == ("0", "1", "2")
    assert dataset.splits["train"].labels.tolist() == [int(label) for _, label in SAMPLES]


def test_a_cls_counts_more_than_json_beside_it(shard):
    root = shard("pets.tar", SAMPLES, [("0000.json", b'{"label": "elephant"}')])
    assert open_dataset(f"wds:{root}/pets.tar").classes == ("0", "1", "2")


def refused(name, root):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    return str(caught.value).replace(str(root), "ROOT")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            [("0099.jpg", b""), ("0099.json", b"{}")],
            "ROOT/a.tar has no class for the sample 0099: beside its image there has to be 0099.cls, with a number "
            'or a name in it, or 0099.json with one under "label" (there is jpg, json).',
        ),
        ([("0099.jpg", b""), ("0099.json", b"not")], "ROOT/a.tar has no class for the sample 0099"),
        ([("0099.jpg", b""), ("0099.cls", b" ")], "ROOT/a.tar has no class for the sample 0099"),
        ([("0001.png", b"")], "ROOT/a.tar has 0001.png twice: a sample has one file of an ending"),
    ],
)
def test_a_sample_that_cannot_be_used_is_refused(shard, more, sentence):
    root = shard("a.tar", SAMPLES, more)
    assert sentence in refused(f"wds:{root}/a.tar", root)


def test_samples_without_a_image_are_counted(shard):
    root = shard("a.tar", SAMPLES, [("0099.txt", b"a cat"), ("0099.cls", b"1")])
    assert open_dataset(f"wds:{root}/a.tar").notes[0] == "Left out because they have no image: 1 sample."


def test_shards_without_images_are_refused(shard):
    root = shard("a.tar", [], [("0001.txt", b"a cat")])
    assert refused(f"wds:{root}/a.tar", root) == (
        "wds:ROOT/a.tar has no images in 1 shard: a sample is a .jpg and a .cls or a .json."
    )


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    assert refused(f"wds:{tmp_path}/*.tar", tmp_path) == (
        "wds:ROOT/*.tar matches no file: give the path of one, or a pattern."
    )


def test_a_missing_shard_is_refused(shard):
    root = shard("a-0.tar", SAMPLES)
    assert "ROOT/a-1.tar, which is not there" in refused(f"wds:{root}/a-{{0..1}}.tar", root)


def test_a_folder_of_shards_is_refused(shard):
    root = shard("a-0.tar", SAMPLES)
    assert refused(f"wds:{root}", root) == 'wds:ROOT names a folder, ROOT: give the files in it, as "ROOT/*".'


def test_an_open_brace_is_refused(tmp_path):
    assert "has a brace that is not closed" in refused(f"wds:{tmp_path}/a-{{0..1.tar", tmp_path)


def test_a_shard_whose_name_says_no_part_among_others_is_refused(shard):
    shard("train-0.tar", SAMPLES)
    root = shard("more-0.tar", SAMPLES)
    assert "has files of train, and ROOT/more-0.tar, whose name says no part" in refused(f"wds:{root}/*.tar", root)


def test_the_missing_extra_is_one_line(shard, monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    root = shard("a.tar", SAMPLES)
    assert refused(f"wds:{root}/a.tar", root) == (
        'wds:ROOT/a.tar needs braceexpand, which is an extra: pip install "mixlab[data]"'
    )
