"""`hf:owner/name` with the hub's own client and a fake hub on loopback."""

import hashlib
import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image

from mixlab.data.sources import open_dataset
from mixlab.errors import UserError

COMMIT = "c0ffee" + "0" * 34
FILE = "data/train-00000.parquet"


@pytest.fixture(scope="module")
def content():
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in range(20)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])})
    rows = datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(20)]}, features=features)
    file = io.BytesIO()
    rows.to_parquet(file)
    return file.getvalue()


def hub_response(path, content):
    """Status, error code and content."""
    entry = {"type": "file", "path": FILE, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    match path.partition("?")[0].strip("/").split("/"):
        case ["api", "datasets", "owner", "pets", "tree", _]:
            return 200, "", [entry, {"type": "directory", "path": "data", "size": 0, "oid": "0"}]
        case ["api", "datasets", "owner", "pets", "tree", _, "data"] | ["api", "datasets", _, _, "paths-info", _]:
            return 200, "", [entry]
        case ["api", "datasets", "owner", "pets", *_]:
            metadata = {"_id": "0" * 24, "id": "owner/pets", "sha": COMMIT, "private": False, "tags": []}
            return 200, "", metadata | {"siblings": [{"rfilename": FILE}]}
        case ["datasets", "owner", "pets", "resolve", _, *file] if "/".join(file) == FILE:
            return 200, "", content
        case ["datasets", "owner", "pets", *_]:
            return 404, "EntryNotFound", {}
    return 404, "RepoNotFound", {}


@pytest.fixture
def requests(serve, hub_at, content, monkeypatch, tmp_path):
    """The requests to the hub: method, path, Range."""

    def reply(request):
        request.body()
        status, error_code, content_or_json = hub_response(request.path, content)
        body = content_or_json if isinstance(content_or_json, bytes) else json.dumps(content_or_json).encode()
        begin, end = 0, len(body)
        if status == 200 and (byte_range := request.headers["Range"]):
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            status, begin, end = 206, int(first), min(int(last or end) + 1, end)
        headers = {
            "Content_Range": f"bytes {begin}-{end - 1}/{len(body)}",
            "ETag": f'"{hashlib.sha1(body).hexdigest()}"',
            "X_Repo_Commit": COMMIT,
        }
        request.reply(body[begin:end], status, **headers, **({"X_Error_Code": error_code} if error_code else {}))

    server = serve(reply)
    hub_at(server.address)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", server.address)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("mixlab.data.readers.hub_dataset.cache_folder", lambda: tmp_path / "cache")
    return server.requests


def test_a_dataset_is_downloaded_once(requests):
    pets = open_dataset("hf:owner/pets")
    assert pets.name == "hf:owner/pets"
    assert pets.classes == ("dog", "cat")
    assert {name: len(split) for name, split in pets.splits.items()} == {"train": 14, "validation": 2, "test": 4}
    open_dataset("hf:owner/pets")
    assert sum(command == "GET" and path.endswith(FILE) for command, path, _ in requests) == 1


def test_a_stream_caches_its_first_rows(requests):
    first = open_dataset("hf:owner/pets:train:stream=10")
    assert sum(map(len, first.splits.values())) == 10
    requests.clear()
    assert open_dataset("hf:owner/pets:train:stream=10").listing_digest == first.listing_digest
    assert requests == []


def test_an_unknown_dataset_is_refused(requests):
    with pytest.raises(UserError) as caught:
        open_dataset("hf:nobody/nothing")
    assert str(caught.value) == (
        "hf:nobody/nothing is not on the hub, or it is private or gated: check the spelling, or run `hf auth login` "
        "with an account that has access."
    )
