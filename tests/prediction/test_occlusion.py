"""Occlusion against analytic values, captum, and images in which the deciding place is known."""

from importlib.util import find_spec
from math import log

import pytest
import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.prediction.occlusion import Windows, cover_colour, default_window, log_odds, occlusion_map, place_windows
from mixlab.prediction.patches import patch_size
from mixlab.zoo.architecture import architecture, create_model

needs_captum = pytest.mark.skipif(not find_spec("captum"), reason='needs captum: pip install "mixlab[explain]"')


BLACK = torch.zeros(3, 1, 1)


def map_of(model, image, label, windows, colour=BLACK):
    with torch.inference_mode():
        return occlusion_map(model(windows.covered(image, colour, 0, len(windows) + 1)), label, windows)


class LinearModel(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", images, self.weights)


def test_the_log_odds_of_a_linear_model_fall_by_the_sum_of_the_covered_products():
    weights, image = torch.randn(2, 3, 8, 12), torch.randn(3, 8, 12)
    windows = place_windows((8, 12), window=4, stride=2)
    colour = torch.randn(3, 1, 1)
    products = ((weights[1] - weights[0]) * (image - colour)).sum(dim=0)
    expected = torch.stack(
        [products[top:bottom, left:right].sum() for top, bottom in windows.rows for left, right in windows.columns]
    )
    drops = torch.from_numpy(map_of(LinearModel(weights), image, 1, windows, colour).values)
    torch.testing.assert_close(drops.flatten().float(), expected, rtol=1e-4, atol=1e-4)


def test_windows_that_the_model_ignores_have_exactly_0():
    weights = torch.randint(-4, 5, (3, 3, 8, 8)).float()  # integers, so that sums are exact in any order
    weights[..., 4:] = 0
    image = torch.randint(1, 5, (3, 8, 8)).float()
    values = map_of(LinearModel(weights), image, 2, place_windows((8, 8), window=2, stride=2)).values
    assert (values[:, 2:] == 0).all()
    assert (values[:, :2] != 0).any()


@needs_captum
def test_the_map_is_that_of_captum():
    from captum.attr import Occlusion

    model = create_model("convmixer_nano", depth=1, channels=8, image_size=16, classes=5).eval()
    image = torch.randn(3, 16, 16)
    values = map_of(model, image, 2, windows := place_windows((16, 16), window=6, stride=5))
    reference = Occlusion(lambda images: log_odds(model(images), 2)).attribute(
        image[None],
        sliding_window_shapes=(3, 6, 6),
        strides=(3, 5, 5),
        baselines=0,
    )
    assert len(windows) == 9
    torch.testing.assert_close(torch.from_numpy(values.pixels()), reference[0, 0].double(), rtol=1e-4, atol=1e-5)


def test_log_odds_are_those_of_the_probability():
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    p = logits.softmax(dim=1)[0, 1].item()
    assert log_odds(logits, 1).item() == pytest.approx(log(p / (1 - p)))


def test_log_odds_are_not_limited_by_a_probability_that_is_rounded_to_1():
    assert log_odds(torch.tensor([[300.0, 0.0]]), 0).item() == 300


def test_the_colour_is_the_mean_of_the_model_or_of_the_image():
    image, mean = torch.randn(3, 4, 6), torch.randn(3, 1, 1)
    assert torch.equal(cover_colour(image, "model", mean), mean)
    assert torch.equal(cover_colour(image, "image", mean)[:, 0, 0], image.mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("size", "window", "stride"), [((32, 32), 4, 4), ((30, 20), 8, 8), ((9, 9), 4, 3), ((5, 5), 5, 1)]
)
def test_windows_have_the_same_size_and_contain_all_pixels(size, window, stride):
    windows = place_windows(size, window, stride)
    for spans, side in ((windows.rows, size[0]), (windows.columns, size[1])):
        assert {end - start for start, end in spans} == {window}
        assert {pixel for span in spans for pixel in range(*span)} == set(range(side))
        assert len(spans) == len(set(spans)) == -(-(side - window) // stride) + 1


def test_the_first_version_is_the_image_and_the_others_are_covered_in_row_major_order():
    image = torch.ones(3, 4, 6)
    versions = Windows(((0, 2), (2, 4)), ((0, 3), (3, 6))).covered(image, torch.full((3, 1, 1), 2.0), 0, 5)
    assert torch.equal(versions[0], image)
    assert versions[2, 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[1] * 6] * 2
    assert versions[3, 0].tolist() == [[1] * 6] * 2 + [[2, 2, 2, 1, 1, 1]] * 2


@pytest.mark.parametrize(
    ("window", "stride", "sentence"),
    [
        (0, 1, r"--window 0 is out of range: it must be from 1 to 16 pixels"),
        (17, 1, r"--window 17 is out of range: .* the images of 24 x 16 pixels"),
        (8, 0, r"--stride 0 is out of range: it must be from 1 to 8 pixels"),
        (8, 9, r"--stride 9 is out of range: .* pixels between the windows would never be covered"),
    ],
)
def test_windows_that_are_impossible_are_an_error(window, stride, sentence):
    with pytest.raises(UserError, match=sentence):
        place_windows((24, 16), window, stride)


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("mixer_b16", 16),
        ("mixer_b32", 32),
        ("mixer_nano", 4),
        ("convmixer_1536_20", 14),  # patches of 7 pixels, 32 in a row
        ("davit_tiny", 16),  # patches of 4 pixels, 56 in a row
        ("resnet_nano", 2),
        ("vit_nano", 4),
        ("timm:vit_tiny_patch16_224", 16),
        ("timm:mixer_b32_224", 32),
        ("timm:resnet18", 14),
    ],
)
def test_a_window_is_the_patch_or_as_many_that_16_or_fewer_are_in_a_row(name, window):
    model = architecture(name).on_meta()
    assert default_window(height_and_width(model.config.image_size), patch_size(model)) == window
