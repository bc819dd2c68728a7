"""Grey images with more than 8 bits become 8 bits by one value range."""

import io
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from mixlab.data import deep_image
from mixlab.data.deep_image import ValueRange, union, uses_little
from mixlab.data.image_file import deep_values, read_image


@pytest.fixture(autouse=True)
def nothing_logged_yet() -> None:
    deep_image._warn_about_range.cache_clear()


def tiff(values: Sequence[float], dtype: type, kind: str = "tiff", **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.array([values], dtype=dtype)).save(content, format=kind, **options)
    return content.getvalue()


def packed_tiff(packed: bytes, columns: int, bits: int) -> bytes:
    """An uncompressed grey TIFF of one row with `bits` per sample."""
    tags = [(256, columns), (257, 1), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, len(packed))]
    start = 8 + len(packed)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, start) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def shades(content: bytes, value_range: ValueRange | None = None) -> list[int]:
    return read_image(content, value_range)[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 1, 128, 255], np.int32, [0, 1, 128, 255]),
        ([0, 257, 32896, 65535], np.int32, [0, 1, 128, 255]),
        ([0.0, 0.2, 1.0], np.float32, [0, 51, 255]),
        ([0.0, 0.2, 0.4], np.float32, [0, 51, 102]),
        ([0.0, 51.0, 102.0], np.float32, [0, 51, 102]),
        ([0, 1023], np.uint16, [0, 255]),
        ([0, 1024, 4095], np.uint16, [0, 64, 255]),
        ([0, 16383], np.int32, [0, 255]),
        ([0, 32767, 20000], np.uint16, [0, 127, 78]),
        ([0.0, 257.0, 32896.0], np.float32, [0, 1, 128]),
        ([-1.0, 0.0, 3.0], np.float32, [0, 64, 255]),
        ([-1000, 0, 3000], np.int32, [0, 64, 255]),
        ([0, 35000, 70000], np.int32, [0, 128, 255]),
    ],
)
def test_values_of_a_type_without_a_range_are_scaled_by_the_smallest_range_that_contains_them(values, dtype, expected):
    assert shades(tiff(values, dtype)) == expected


@pytest.mark.parametrize("kind", ["png", "tiff", "ppm"])
def test_a_dark_image_of_16_bits_is_not_brightened_in_the_range_of_its_dataset(kind):
    assert shades(tiff([0, 200, 255], np.uint16, kind), (0, 65535)) == [0, 1, 1]


def test_a_tiff_of_12_bits_per_sample_has_the_range_of_12_bits():
    content = packed_tiff(bytes([0xFF, 0xF8, 0x00]), columns=2, bits=12)
    assert shades(content) == [255, 128]
    values = deep_values(content)
    assert values is not None and (values.used, values.value_range) == ((2048, 4095), (0, 4095))


def test_a_ppm_of_integers_has_the_range_that_it_declares_and_one_of_floats_that_of_its_values():
    assert shades(tiff([0, 257, 512], np.uint16, "ppm")) == [0, 1, 2]
    assert shades(tiff([0, 0.2, 1], np.float32, "ppm")) == [0, 51, 255]


def test_a_given_range_replaces_that_of_the_file_and_clips():
    assert shades(tiff([0, 1000, 2000, 4095, 60000], np.uint16, "png"), (0, 4000)) == [0, 64, 128, 255, 255]
    assert shades(tiff([-1000, 0, 1000], np.int32), (-1000, 3000)) == [0, 64, 128]
    assert shades(tiff([0.5, 2.0], np.float32), (0, 1)) == [128, 255]


def test_a_given_range_has_no_effect_on_8_bits():
    assert shades(tiff([0, 100, 255], np.uint8, "png"), (0, 4095)) == [0, 100, 255]


def test_all_shades_of_12_bits_are_used_with_their_range():
    ramp = np.arange(4096).tolist()
    assert len(set(shades(tiff(ramp, np.uint16, "png"), (0, 4095)))) == 256
    assert len(set(shades(tiff(ramp, np.uint16, "png")))) == 256
    assert len(set(shades(tiff(ramp, np.uint16, "png"), (0, 65535)))) == 17


def test_the_exif_orientation_of_a_deep_image_is_applied_after_scaling():
    exif = Image.Exif()
    exif[0x0112] = 3
    assert shades(tiff([0, 257 * 10, 257 * 20], np.int32, exif=exif), (0, 65535)) == [20, 10, 0]


def test_values_are_only_reported_for_more_than_8_bits():
    assert deep_values(tiff([0, 255], np.uint8)) is None
    values = deep_values(tiff([7, 900], np.uint16, "png"))
    assert values is not None and (values.used, values.value_range) == ((7, 900), (0, 1023))


def test_one_warning_is_logged_for_all_images_that_use_little_of_a_range(caplog):
    for _ in range(3):
        read_image(tiff([0, 4095], np.uint16, "png"), (0, 65535))
    (record,) = caplog.records
    assert record.getMessage() == (
        "An image with more than 8 bits uses less than 1/16 of its value range, 0 to 65535, so few of its shades are "
        "left. `mixlab data check` shows the values of a dataset; set the recipe key preprocessing.value_range to "
        "train with another range."
    )


@pytest.mark.parametrize("value_range", [(0, 4094), (1, 4095)])
def test_one_warning_is_logged_for_all_images_with_values_outside_their_range(value_range, caplog):
    for _ in range(3):
        read_image(tiff([0, 4095], np.uint16, "png"), value_range)
    black, white = value_range
    (record,) = caplog.records
    assert record.getMessage() == (
        f"An image with more than 8 bits has values outside the value range, {black} to {white}, which become black or "
        "white. `mixlab data check` shows the values of a dataset; set the recipe key preprocessing.value_range to "
        "train with another range."
    )


def test_no_warning_is_logged_for_images_that_use_their_range(caplog):
    read_image(tiff([0, 4095], np.uint16, "png"), (0, 4095))
    read_image(tiff([0, 30000], np.uint16, "png"))
    read_image(tiff([700, 700], np.uint16, "png"))
    read_image(tiff([0, 3], np.uint8, "png"))
    assert not caplog.records


@pytest.mark.parametrize(
    ("used", "little"), [((0, 4095), True), ((0, 4096), False), ((60000, 60010), True), ((5, 5), False)]
)
def test_less_than_a_sixteenth_is_little(used, little):
    assert uses_little(used, (0, 65535)) is little


def test_the_union_of_ranges_contains_all():
    assert union([(0, 255), (-3, 40)]) == (-3, 255)
