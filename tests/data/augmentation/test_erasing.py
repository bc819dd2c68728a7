import random

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from mixlab.data.augmentation.erasing import UNIFORMS, RandomErasing, erase
from mixlab.errors import UserError

ALWAYS = RandomErasing(1.0)


def make_uniforms(images: int) -> np.ndarray:
    return np.random.default_rng(0).random((images, UNIFORMS))


def bright_images(images: int, rows: int = 12, columns: int = 20) -> torch.Tensor:
    """Images with the value 100, which noise never has."""
    return torch.full((images, 3, rows, columns), 100.0)


def test_eight_equal_images_become_eight_different_ones():
    assert len({image.numpy().tobytes() for image in erase(bright_images(8), make_uniforms(8), ALWAYS)}) == 8


def test_erasing_an_image_does_not_depend_on_its_batch():
    images, uniforms = torch.randn(37, 3, 12, 20), make_uniforms(37)
    whole_batch = erase(images, uniforms, RandomErasing(0.5))
    for indices in ([5], [36, 5], [*range(20, 3, -1)]):
        assert erase(images[indices], uniforms[indices], RandomErasing(0.5)).equal(whole_batch[indices])


def test_the_erased_area_is_one_rectangle_in_all_channels():
    for image in erase(bright_images(100), make_uniforms(100), ALWAYS) != 100:
        rows, columns = image[0].any(dim=1), image[0].any(dim=0)
        assert image.equal((rows[:, None] & columns).expand(3, -1, -1))


def test_the_marginal_distributions_are_those_of_timm():
    timm = pytest.importorskip("timm.data.random_erasing", reason='needs timm: pip install "mixlab[baselines]"')
    random.seed(0)
    torch.manual_seed(0)
    count = 4000
    reference = timm.RandomErasing(probability=0.25, mode="pixel", device="cpu")
    theirs = torch.stack([reference(image) for image in bright_images(count)]) != 100
    ours = erase(bright_images(count), make_uniforms(count), RandomErasing(0.25)) != 100
    for statistic in (
        lambda erased: erased[:, 0].flatten(1).double(),  # each pixel
        lambda erased: erased[:, 0].any(dim=2).sum(dim=1, keepdim=True).double(),  # height, 0 if nothing is erased
        lambda erased: erased[:, 0].any(dim=1).sum(dim=1, keepdim=True).double(),  # width
        lambda erased: erased[:, 0].flatten(1).sum(dim=1, keepdim=True).double() ** 2,  # area
    ):
        a, b = statistic(ours), statistic(theirs)
        error = ((a.var(dim=0) + b.var(dim=0)) / count).sqrt()
        assert ((a.mean(dim=0) - b.mean(dim=0)) / error).abs().max() < 5


def test_noise_is_standard_normal_and_uncorrelated():
    noise = erase(bright_images(400), make_uniforms(400), ALWAYS)
    assert kstest(noise[noise != 100].numpy(), norm.cdf).pvalue > 0.001
    for values, neighbours in (
        (noise[..., :-1], noise[..., 1:]),
        (noise[:, :, :-1], noise[:, :, 1:]),
        (noise[:, :-1], noise[:, 1:]),
        (noise[:-1], noise[1:]),
    ):
        both = (values != 100) & (neighbours != 100)
        assert abs(torch.corrcoef(torch.stack([values[both], neighbours[both]]))[0, 1]) < 5 / both.sum().sqrt()


def test_the_noise_has_its_own_random_number():
    uniforms = make_uniforms(8)
    before = erase(bright_images(8), uniforms, ALWAYS)
    uniforms[:, -1] = 1 - uniforms[:, -1]
    after = erase(bright_images(8), uniforms, ALWAYS)
    assert (before == 100).equal(after == 100)
    assert (before[before != 100] == after[after != 100]).double().mean() < 0.01


def test_fill_can_be_zero():
    noise, zero = (
        erase(bright_images(8), make_uniforms(8), RandomErasing(1.0, fill=fill)) for fill in ("noise", "zero")
    )
    assert (zero == 0).equal(noise != 100)


def test_double_precision_is_kept():
    images = bright_images(8).double()
    result = erase(images, make_uniforms(8), ALWAYS)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result.float(), erase(images.float(), make_uniforms(8), ALWAYS))


def test_images_are_unchanged_if_no_rectangle_fits_or_probability_is_zero():
    images = bright_images(8, 1, 20)
    assert erase(images, make_uniforms(8), ALWAYS).equal(images)
    assert erase(images, make_uniforms(8), RandomErasing(0.0)).equal(images)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((1.5,), "probability=1.5 is invalid: it must be between 0 and 1"),
        ((0.5, (0.5, 0.2)), "area=.0.5, 0.2. is invalid: .* 0 < low <= high < 1"),
        ((0.5, (0.1, 0.2), (0.0, 1.0)), "ratio=.0.0, 1.0. is invalid: .* 0 < low <= high"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation.random_erasing.{sentence}"):
        RandomErasing(*settings)
