import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torchvision.transforms import ColorJitter as TorchvisionColorJitter

from mixlab.data.augmentation.jitter import ColorJitter, apply_jitter
from mixlab.errors import UserError

JITTER = ColorJitter(0.4, 0.3, 0.2)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.8])
@pytest.mark.parametrize(("index", "enhancer"), [(0, "Brightness"), (1, "Contrast"), (2, "Color")])
def test_a_factor_is_linear_in_its_random_number(image, uniform, index, enhancer):
    settings = [0.0, 0.0, 0.0]
    settings[index] = 0.4
    expected = getattr(ImageEnhance, enhancer)(image).enhance(0.6 + 0.8 * uniform)
    assert apply_jitter(image, np.full(4, uniform), ColorJitter(*settings)) == expected


def test_a_factor_is_at_least_zero(image):
    assert apply_jitter(image, np.zeros(4), ColorJitter(saturation=1.5)) == ImageEnhance.Color(image).enhance(0.0)


def test_the_order_is_random(image):
    uniforms = np.array([0.9, 0.1, 0.9, 0.0])
    results = set()
    for order in range(6):
        uniforms[3] = order / 6 + 0.01
        results.add(np.asarray(apply_jitter(image, uniforms, JITTER)).tobytes())
    assert len(results) == 6


def test_the_marginal_distributions_are_those_of_torchvision(image):
    uniforms = np.random.default_rng(0).random((3000, 4))
    ours = np.array([np.asarray(apply_jitter(image, row, JITTER), dtype=float) for row in uniforms])
    torch.manual_seed(0)
    reference = TorchvisionColorJitter(0.4, 0.3, 0.2)
    theirs = np.array([np.asarray(reference(image), dtype=float) for _ in range(3000)])
    for power in (1, 2):
        error = np.sqrt(((ours**power).var(axis=0) + (theirs**power).var(axis=0)) / 3000) + 1e-9
        assert (np.abs((ours**power).mean(axis=0) - (theirs**power).mean(axis=0)) / error).max() < 5


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_invalid_settings_are_refused(name):
    with pytest.raises(UserError, match=rf"^augmentation.color_jitter.{name}=-0.1 is invalid: .* at least 0"):
        ColorJitter(**{name: -0.1})
