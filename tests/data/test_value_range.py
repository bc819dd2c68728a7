"""One value range for all images of a dataset with more than 8 bits."""

import io

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.value_range import SAMPLE, common_range, range_notes, with_common_range


@pytest.fixture
def split_of(tmp_path):
    def split_of(*images: np.ndarray | bytes) -> Split:
        paths = []
        for number, image in enumerate(images):
            content = io.BytesIO()
            if isinstance(image, bytes):
                content.write(image)
            else:
                Image.fromarray(image).save(content, "png")
            paths.append(tmp_path / f"{number}.png")
            paths[-1].write_bytes(content.getvalue())
        return Split([path.name for path in paths], np.zeros(len(paths), np.int64), paths)

    return split_of


def grey(white: int, dtype: type = np.uint16) -> np.ndarray:
    return np.array([[0, white]], dtype=dtype)


def test_the_range_contains_those_of_all_images(split_of):
    assert common_range(split_of(grey(900), grey(200), grey(4000), grey(255, np.uint8))) == (0, 4095)


def test_images_of_8_bits_need_no_range(split_of):
    assert common_range(split_of(grey(255, np.uint8))) is None
    assert common_range(Split(["a"], np.zeros(1, np.int64), [np.zeros((2, 2, 3), np.uint8)])) is None


def test_images_with_one_value_in_common_have_no_range(tmp_path):
    Image.fromarray(np.full((2, 2), -5, np.int32)).save(tmp_path / "a.tif")
    assert common_range(Split(["a", "b"], np.zeros(2, np.int64), [tmp_path / "a.tif"] * 2)) is None


def test_files_that_cannot_be_read_are_left_out(split_of):
    assert common_range(split_of(b"no image", grey(900))) == (0, 1023)


def test_the_sample_has_the_first_and_the_last_image(split_of, monkeypatch):
    monkeypatch.setattr("mixlab.data.value_range.SAMPLE", 2)
    assert common_range(split_of(grey(4000), grey(65535), grey(200))) == (0, 4095)
    assert SAMPLE == 64


def test_a_given_range_is_kept(split_of):
    given = Preprocess((8, 8), value_range=(0, 3000))
    assert with_common_range(given, split_of(grey(900))) == given
    found = with_common_range(Preprocess((8, 8)), split_of(grey(900)))
    assert found == Preprocess((8, 8), value_range=(0, 1023))
    assert range_notes(found) == ("Value range of grey images with more than 8 bits: 0 is black and 1023 is white.",)
    assert range_notes(Preprocess((8, 8))) == ()
