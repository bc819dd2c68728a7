"""Class maps of images of any size, as a whole and by sliding windows."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.class_maps import ClassMapper, starts
from mixlab.speed.inference import Inference

PREPROCESS = Preprocess((8, 12), mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))


class Bright(nn.Module):
    """Logits that say whether a pixel is bright; it refuses images of another size than its own."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2:] == (8, 12)
        return torch.stack([127 - images[:, 0], images[:, 0] - 127], dim=1)


def mapper(overlap: float | None = None) -> ClassMapper:
    return ClassMapper(Inference(Bright(), torch.device("cpu")), PREPROCESS, overlap)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("size", [(8, 12), (9, 30), (23, 17), (40, 12)])
def test_windows_give_each_pixel_its_own_answer(size: tuple[int, int], overlap: float):
    bright = np.random.default_rng(0).random(size) < 0.5
    image = np.repeat(255 * bright[..., None].astype(np.uint8), 3, axis=2)
    np.testing.assert_array_equal(mapper(overlap)(image), bright)


@pytest.mark.parametrize("size", [(4, 6), (5, 40), (24, 36)])
@pytest.mark.parametrize("overlap", [None, 0.5])
def test_the_map_has_the_size_of_the_image_and_probabilities_add_up_to_one(
    size: tuple[int, int], overlap: float | None
):
    image = np.zeros((*size, 3), dtype=np.uint8)
    image[:, : size[1] // 2] = 255
    probabilities = mapper(overlap).probabilities(image)
    assert probabilities.shape == (2, *size)
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(size))
    expected = np.zeros(size, dtype=np.int64)
    expected[:, : size[1] // 2] = 1
    assert (mapper(overlap)(image) == expected).mean() >= 0.9


@pytest.mark.parametrize(
    ("side", "window", "overlap"), [(8, 8, 0.5), (9, 8, 0.0), (100, 8, 0.0), (100, 8, 0.5), (31, 8, 0.9)]
)
def test_windows_cover_a_side_and_overlap_enough(side: int, window: int, overlap: float):
    places = starts(side, window, overlap)
    assert places[0] == 0
    assert places[-1] == side - window
    assert all(after - before <= max(int(window * (1 - overlap)), 1) for before, after in itertools.pairwise(places))


def test_an_overlap_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"--windows 1.0 is out of range"):
        mapper(1.0)
