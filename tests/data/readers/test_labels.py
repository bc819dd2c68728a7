"""Labels of every type: all readers of tables and shards name or refuse them by the same rule."""

import csv
import io
import json
import math
import tarfile
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from mixlab.data.sources import open_as_provided
from mixlab.errors import UserError

Write = Callable[[Path, Sequence[Any]], str]
"""Writes a source with an image for each label, and returns its name."""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr("mixlab.data.readers.archive.cache_folder", lambda: tmp_path / "cache")


def png(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number, dtype=np.uint8)).save(content, "png")
    return content.getvalue()


def write_csv(folder: Path, labels: Sequence[Any]) -> str:
    for number in range(len(labels)):
        (folder / f"{number}.png").write_bytes(png(number))
    with (folder / "pets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((f"{n}.png", label) for n, label in enumerate(labels))])
    return f"csv:{folder}/pets.csv"


def write_parquet(folder: Path, labels: Sequence[Any]) -> str:
    images = [png(number) for number in range(len(labels))]
    pyarrow.parquet.write_table(pa.table({"image": images, "label": labels}), folder / "pets.parquet")
    return f"parquet:{folder}/pets.parquet"


def write_categories(folder: Path, labels: Sequence[Any]) -> str:
    """Parquet with dictionary-encoded labels, as pandas writes categories."""
    return write_parquet(folder, pa.array(labels).dictionary_encode())  # pyright: ignore[reportArgumentType]


def write_saved(folder: Path, labels: Sequence[Any]) -> str:
    images = [png(number) for number in range(len(labels))]
    datasets.Dataset.from_dict({"image": images, "label": list(labels)}).save_to_disk(folder / "pets")
    return f"hf:{folder}/pets"


def _write_shard(folder: Path, label_files: Sequence[tuple[str, bytes]]) -> str:
    with tarfile.open(folder / "pets.tar", "w") as archive:
        for number, (suffix, content) in enumerate(label_files):
            for name, stored in ((f"{number}.png", png(number)), (f"{number}.{suffix}", content)):
                info = tarfile.TarInfo(name)
                info.size = len(stored)
                archive.addfile(info, io.BytesIO(stored))
    return f"wds:{folder}/pets.tar"


def write_cls(folder: Path, labels: Sequence[Any]) -> str:
    return _write_shard(folder, [("cls", f"{label}\n".encode()) for label in labels])


def write_json(folder: Path, labels: Sequence[Any]) -> str:
    return _write_shard(folder, [("json", json.dumps({"label": label}).encode()) for label in labels])


TEXT = [write_csv, write_cls]
TYPED = [write_parquet, write_saved, write_json]
SEVERAL = "is multi-label, with the classes "
MISSING = "has no class "


@pytest.mark.parametrize("write", [*TEXT, *TYPED, write_categories])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["dog", "cat"], ("cat", "dog")),
        ([" cat", "cat "], ("cat",)),
        (["10", "9"], ("9", "10")),
        (["01", "1"], ("01", "1")),
        (["e\u0301lan", "élan"], ("élan",)),
        ([10, 9], ("9", "10")),
        ([True, False], ("False", "True")),
    ],
)
def test_text_integers_and_booleans_are_named_alike_by_all_readers(write: Write, labels, classes, tmp_path):
    assert open_as_provided(write(tmp_path, labels)).classes == classes


@pytest.mark.parametrize("write", [*TYPED, write_categories])
def test_whole_floats_are_named_as_integers(write: Write, tmp_path):
    assert open_as_provided(write(tmp_path, [10.0, 9.0])).classes == ("9", "10")


@pytest.mark.parametrize("write", TEXT)
def test_the_text_of_a_number_is_not_changed(write: Write, tmp_path):
    assert open_as_provided(write(tmp_path, [10.0, "9"])).classes == ("9", "10.0")


@pytest.mark.parametrize(
    ("write", "labels", "sentence"),
    [
        *((write, ["cat", None], MISSING) for write in (*TYPED, write_categories)),
        *((write, [1.0, math.nan], MISSING) for write in TYPED),
        *((write, ["cat", "  "], MISSING) for write in (*TYPED, write_categories, write_cls)),
        *((write, ["cat", ""], "has no value in the column") for write in (write_csv,)),
        *((write, [[0, 1], [2]], f"{SEVERAL}[0, 1]") for write in TYPED),
        *((write, [["cat"], ["dog"]], f"{SEVERAL}['cat']") for write in TYPED),
        *((write, [{"cat": 1}, {"cat": 0}], f"{SEVERAL}{{'cat': 1}}") for write in TYPED),
        (write_cls, ["cat\ndog"], f"{SEVERAL}'cat\\ndog\\n'"),
        (write_csv, ["cat\ndog"], "has a line break"),
        *((write, [0.5, 1.0], "has the class 0.5 (float)") for write in (*TYPED, write_categories)),
        *((write, [b"cat", b"dog"], "has the class b'cat' (bytes)") for write in (write_parquet, write_saved)),
        *((write, [Decimal(1), Decimal(2)], "has the class Decimal('1') (Decimal)") for write in (write_parquet,)),
        *((write, [date(2020, 1, 1)], "has the class datetime.date(2020, 1, 1) (date)") for write in (write_parquet,)),
    ],
)
def test_missing_labels_several_labels_and_other_types_are_refused(write: Write, labels, sentence, tmp_path):
    with pytest.raises(UserError) as caught:
        open_as_provided(write(tmp_path, labels))
    assert sentence in str(caught.value)
