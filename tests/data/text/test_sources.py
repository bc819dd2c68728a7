"""Published datasets of texts in their own files."""

import json
from pathlib import Path

import pytest

from mixlab.data.sources import open_dataset
from mixlab.data.text.sources import PUBLISHED, TEXT_KINDS, out_of_scope_texts
from mixlab.errors import UserError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of $MIXLAB_DATA."""
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path))
    (tmp_path / "trec").mkdir()
    return tmp_path


def lines(texts: int) -> bytes:
    return "".join(f"{index % 2} caf\xe9 number {index}\n" for index in range(texts)).encode("latin-1")


def test_a_published_dataset_is_found_by_its_name(data: Path):
    (data / "trec" / "TREC.train.all").write_bytes(lines(40))
    (data / "trec" / "TREC.test.all").write_bytes(lines(6))
    dataset = open_dataset("trec", TEXT_KINDS)
    assert dataset.name == "trec"
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 36, "validation": 4, "test": 6}
    assert open_dataset(f"trec:{data}/trec", TEXT_KINDS).name == f"trec:{data}/trec"


def test_its_texts_out_of_scope_are_found_as_well(data: Path):
    (data / "clinc150").mkdir()
    splits = {"train": [["a", "x"]], "val": [["b", "x"]], "test": [["c", "x"]], "oos_val": [["d", "oos"]]}
    (data / "clinc150" / "data_full.json").write_text(json.dumps(splits))
    assert out_of_scope_texts("clinc150") == {"validation": ["d"]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_one_ends_in_a_sentence_with_its_repository(data: Path, name: str):
    with pytest.raises(UserError, match=f"{name} is not in .*GitHub repository {PUBLISHED[name].repository}"):
        open_dataset(name, TEXT_KINDS)
