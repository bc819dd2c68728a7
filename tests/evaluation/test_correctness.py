"""Files with one bit for each image."""

import json

import numpy as np
import pytest

from mixlab.errors import UserError
from mixlab.evaluation.correctness import is_correctness_file, read_correctness, write_correctness
from mixlab.evaluation.predictions import check_same_set
from paired_methods import run


@pytest.fixture
def path(tmp_path):
    write_correctness(tmp_path / "mixer.bits", run("mixer", [0, 7, 8, 59]))
    return tmp_path / "mixer.bits"


def test_a_file_has_the_correct_images_in_the_order_of_their_names(path):
    written, read = run("mixer", [0, 7, 8, 59]), read_correctness(path)
    assert (read.model, read.data, read.fingerprint) == ("mixer", "pets", written.fingerprint)
    assert (read.correct == written.correct).all()
    assert (read.names, read.classes, read.labels, read.predicted) == (None, None, None, None)


@pytest.mark.parametrize("images", [1, 7, 8, 9, 64, 1_000])
def test_any_number_of_images_is_read_back(tmp_path, images):
    wrong = np.flatnonzero(np.random.default_rng(images).random(images) < 0.4).tolist()
    write_correctness(tmp_path / "file", run("mixer", wrong, images=images))
    assert np.flatnonzero(~read_correctness(tmp_path / "file").correct[0]).tolist() == wrong


def test_ten_thousand_images_need_1250_bytes_and_a_header_of_less_than_300(tmp_path):
    write_correctness(tmp_path / "file", run("mixer_b16.goog_in21k", [], images=10_000))
    size = (tmp_path / "file").stat().st_size
    assert 1_250 < size < 1_250 + 300


def test_the_header_is_two_lines_of_text(path):
    magic, header, bits = path.read_bytes().split(b"\n", 2)
    assert magic == b"mixlab correctness"
    assert json.loads(header)["images"] == 60
    assert len(bits) == 8
    assert bits[0] == 0b0111_1110  # images 0 and 7 are wrong


def test_a_file_can_be_compared_with_an_evaluation_on_the_same_set_only(path):
    check_same_set(run("other", [1]), read_correctness(path))
    with pytest.raises(UserError, match="other and mixer were evaluated on different sets"):
        check_same_set(run("other", [1], prefix="x"), read_correctness(path))


def test_correctness_files_are_recognised_by_their_content(path, tmp_path):
    (tmp_path / "other").write_bytes(b"mixlab correctness of something")
    assert is_correctness_file(path)
    assert not is_correctness_file(tmp_path / "other")
    assert not is_correctness_file(tmp_path)
    assert not is_correctness_file(tmp_path / "missing")


def error(path) -> str:
    with pytest.raises(UserError) as caught:
        read_correctness(path)
    assert str(path) in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


def test_a_missing_file_and_another_file_are_rejected(path):
    path.write_bytes(b"PK\x03\x04 something else")
    assert error(path) == "FILE is no correctness file: give a file that `mixlab evaluate --save` has written."
    path.write_bytes(b"")
    assert error(path) == "FILE is no correctness file: give a file that `mixlab evaluate --save` has written."
    path.unlink()
    assert error(path) == "FILE does not exist: give a file that `mixlab evaluate --save` has written."


def test_a_truncated_file_and_one_that_is_too_long_are_rejected(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert error(path) == (
        "FILE is truncated: 60 images need 8 bytes after the header, and it has 7. Copy or write it again."
    )
    path.write_bytes(content + b"\n")
    assert error(path) == (
        "FILE is too long: 60 images need 8 bytes after the header, and it has 9. Copy or write it again."
    )
    path.write_bytes(content[:60])
    assert error(path) == "FILE is truncated in its header: copy or write it again."


@pytest.mark.parametrize(
    "header", [b"{", b"[]", b'{"schema": 1}', b'{"schema": 1, "model": "a", "data": "b", "images": "9"}', b"\xff"]
)
def test_a_damaged_header_is_rejected(path, header):
    path.write_bytes(b"mixlab correctness\n" + header + b"\n")
    assert error(path) == "The header of FILE is damaged: copy or write the file again."


def test_a_file_of_a_later_format_is_rejected(path):
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    assert error(path).startswith("FILE has the format 2, but this version of mixlab reads format 1: update mixlab")
