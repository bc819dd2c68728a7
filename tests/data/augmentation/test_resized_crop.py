import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from mixlab.data.augmentation.resized_crop import read_resized_crop, resize_crop, resize_fractional_crop
from mixlab.data.image_file import read_image
from mixlab.data.preprocess import RESAMPLING

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
BOXES = [(0, 0, 90, 70), (11, 7, 60, 64), (3, 40, 33, 45), (89, 69, 90, 70)]
SHARP = 40  # photographs


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A smooth image of 70 rows and 90 columns with some noise."""
    row, column = np.mgrid[:70, :90]
    waves = np.stack([np.sin(row / 9), np.cos(column / 7), np.sin((row + column) / 11)], axis=-1)
    return (127 + 90 * waves + np.random.default_rng(0).normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sharp_photographs(shared_data) -> list[bytes]:
    """JPEGs of 576 x 576 pixels, each of nine photographs at the resolution of their files."""
    file = shared_data / "grocery-192.tar"
    if not file.is_file():
        pytest.skip("needs grocery-192.tar in $MIXLAB_DATA or ../shared/data")
    tiles = []
    with tarfile.open(file) as archive:
        for member in archive:
            if len(tiles) < 9 * SHARP and member.name.endswith(".jpg") and member.offset % 5 == 0:
                content = archive.extractfile(member)
                assert content is not None
                tiles.append(read_image(content.read())[:192, :192])
    mosaics = np.array(tiles).reshape(SHARP, 3, 3, 192, 192, 3).swapaxes(2, 3).reshape(SHARP, 576, 576, 3)
    return [as_jpeg(mosaic) for mosaic in mosaics]


def as_jpeg(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="jpeg", quality=92)
    return content.getvalue()


class InMemory:
    """An image file in memory."""

    def __init__(self, content: bytes):
        self.content, self.size = content, len(content)

    def read_bytes(self) -> bytes:
        return self.content


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_the_resized_crop_of_torchvision(photograph, box, interpolation):
    left, top, right, bottom = box
    expected = functional.resized_crop(
        torch.from_numpy(photograph).permute(2, 0, 1),
        top,
        left,
        bottom - top,
        right - left,
        [24, 31],
        MODES[interpolation],
        antialias=True,
    )
    assert resize_crop(photograph, box, (24, 31), interpolation).equal(expected)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_differs_from_pillow_by_rounding_only(photograph, box, interpolation):
    expected = Image.fromarray(photograph).crop(box).resize((31, 24), RESAMPLING[interpolation])
    crop = resize_crop(photograph, box, (24, 31), interpolation)
    assert np.abs(crop.permute(1, 2, 0).numpy().astype(int) - np.array(expected)).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_fractional_crop_is_the_resized_box_of_pillow(photograph, interpolation):
    box = (3.25, 4.5, 70.5, 61.75)
    expected = Image.fromarray(photograph).resize((24, 20), RESAMPLING[interpolation], box=box)
    crop = resize_fractional_crop(photograph, box, (20, 24), interpolation).permute(1, 2, 0).numpy()
    inside = slice(2, -2)  # near the edge, Pillow also sees pixels outside the box
    assert np.array_equal(crop[inside, inside], np.array(expected)[inside, inside])


@pytest.mark.parametrize("box", [(0, 0, 90, 70), (11, 7, 60, 64)])
def test_a_file_without_reduction_has_the_crop_of_its_pixels(photograph, box):
    content = InMemory(as_jpeg(photograph))
    crop = read_resized_crop(content, lambda *_: box, (29, 25), "bicubic")
    assert crop.equal(resize_crop(read_image(content), box, (29, 25), "bicubic"))


def test_a_reduced_crop_has_at_least_twice_the_sides_of_the_result(monkeypatch):
    image = np.zeros((512, 512, 3), np.uint8)
    factors = []

    def record(_image, reduction, _value_range=None):
        factors.append(reduction(512, 512))
        raise StopIteration

    monkeypatch.setattr("mixlab.data.augmentation.resized_crop.read_reduced_image", record)
    for sides in ((512, 512), (511, 512), (512, 256), (255, 512), (128, 128), (127, 512), (20, 20)):
        with pytest.raises(StopIteration):
            read_resized_crop(InMemory(as_jpeg(image)), lambda *_, sides=sides: (0, 0, *sides), (32, 32), "bilinear")
    assert factors == [8, 4, 4, 2, 2, 1, 1]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_crop_of_a_sharp_photograph_differs_by_at_most_2_of_255_on_average(
    sharp_photographs, factor, interpolation
):
    generator = np.random.default_rng(factor)
    rows = columns = 192 // factor
    for content in sharp_photographs:
        width, height = generator.integers(2 * factor * rows, 577, 2)
        left, top = generator.integers(0, 577 - width), generator.integers(0, 577 - height)
        box = int(left), int(top), int(left + width), int(top + height)
        reduced = read_resized_crop(InMemory(content), lambda *_, box=box: box, (rows, columns), interpolation)
        full = resize_crop(read_image(content), box, (rows, columns), interpolation)
        difference = (reduced.float() - full.float()).abs().mean()
        assert 0 < difference <= 2
