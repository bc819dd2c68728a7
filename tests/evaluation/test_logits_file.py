"""Saved logits: everything is recomputed from them, and files that do not fit end in a sentence."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from mixlab.errors import UserError
from mixlab.evaluation.logits_file import LogitsHeader, evaluate_logits, write_logits

CLASSES = tuple("abc")
HEADER = LogitsHeader("runs/first", "mixer_nano", "digits", "the test split", CLASSES)


def rows(images: int = 20, split: str = "test", names: list[str] | None = None):
    logits = torch.randn(images, 3, generator=torch.Generator().manual_seed(0)).numpy()
    return split, names or [f"{split}/{index}" for index in range(images)], np.arange(images) % 3, logits


def test_the_rows_are_read_as_they_were_written(tmp_path):
    written = [rows(12, "validation"), rows(20), rows(3, names=["x", "y", "z"])]
    write_logits(tmp_path / "l.parquet", HEADER, iter(written))
    saved = evaluate_logits(tmp_path / "l.parquet")
    assert saved.header == HEADER
    assert saved.names[:2] == ["test/0", "test/1"] and saved.names[-1] == "z" and len(saved.names) == 23
    assert len(saved.evaluation) == len(saved.scaled or ()) == 23 and len(saved.validation or ()) == 12


def test_a_file_without_validation_has_no_temperature(tmp_path):
    write_logits(tmp_path / "l.parquet", HEADER, iter([rows()]))
    saved = evaluate_logits(tmp_path / "l.parquet")
    assert (saved.validation, saved.temperature, saved.scaled) == (None, None, None)


def test_other_libraries_can_read_the_columns(tmp_path):
    write_logits(tmp_path / "l.parquet", HEADER, iter([rows()]))
    table = pyarrow.parquet.read_table(tmp_path / "l.parquet")
    assert table.column_names == ["image", "split", "label", "logits"]
    np.testing.assert_array_equal(np.stack(table["logits"].to_numpy()), rows()[3])


def write_with_nan(path: Path) -> None:
    split, names, labels, logits = rows()
    logits[7, 1] = np.nan
    write_logits(path, HEADER, iter([(split, names, labels, logits)]))


def write_twice(path: Path) -> None:
    write_logits(path, HEADER, iter([rows(), rows()]))


def write_validation_alone(path: Path) -> None:
    write_logits(path, HEADER, iter([rows(split="validation")]))


def write_foreign(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"image": ["a"], "label": [0]}), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_with_nan, "The logits of test/7 are NaN or infinite"),
        (write_twice, "has the image test/0 twice"),
        (write_validation_alone, "has no rows of the test split"),
        (write_foreign, "has no logits of mixlab: give a file that mixlab evaluate --save-logits wrote"),
        (lambda path: path.write_bytes(b"PAR1 broken"), "is not a parquet file or is damaged: write it again"),
        (lambda path: None, "does not exist: give a file that mixlab evaluate --save-logits wrote"),
    ],
)
def test_a_file_that_cannot_be_evaluated_ends_in_a_sentence(tmp_path, write, message):
    write(tmp_path / "l.parquet")
    with pytest.raises(UserError, match=message):
        evaluate_logits(tmp_path / "l.parquet")
