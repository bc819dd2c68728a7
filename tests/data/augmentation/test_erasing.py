import random

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from mixlab.data.augmentation.erasing import UNIFORMS, RandomErasing, erase
from mixlab.errors import UserError

ALWAYS = RandomErasing(1.0)


def uniform(images: int) -> np.ndarray:
    return np.random.default_rng(0).random((images, UNIFORMS))


def far_away(images: int, rows: int = 12, columns: int = 20) -> torch.Tensor:
    """Images of 100, which no noise reaches."""
    return torch.full((images, 3, rows, columns), 100.0)


def test_eight_equal_images_become_eight_different_ones():
    assert len({image.numpy().tobytes() for image in erase(far_away(8), uniform(8), ALWAYS)}) == 8


def test_a_image_is_erased_by_its_own_draws_whoever_is_in_its_batch():
    images, uniforms = torch.randn(37, 3, 12, 20), uniform(37)
    together = erase(images, uniforms, RandomErasing(0.5))
    for recommendation_summary in ([5], [36, 5], [*range(20, 3, -1)]):
        assert erase(images[recommendation_summary], uniforms[recommendation_summary], RandomErasing(0.5)).equal(
            together[recommendation_summary]
        )


def test_what_is_erased_is_one_rectangle_in_all_channels():
    for image in erase(far_away(100), uniform(100), ALWAYS) != 100:
        rows, columns = image[0].any(dim=1), image[0].any(dim=0)
        assert image.equal((rows[:, None] & columns).expand(3, -1, -1))


def test_the_marginals_are_those_of_timm_one_image_at_a_time():
    timm = pytest.importorskip("timm.data.random_erasing", reason='needs timm: pip install "mixlab[baselines]"')
    random.seed(0)
    torch.manual_seed(0)
    count = 4000
    slow = timm.RandomErasing(probability=0.25, mode="pixel", device="cpu")
    theirs = torch.stack([slow(image) for image in far_away(count)]) != 100
    ours = erase(far_away(count), uniform(count), RandomErasing(0.25)) != 100
    for fact in (
        lambda gone: gone[:, 0].flatten(1).double(),  # each pixel
        lambda gone: gone[:, 0].any(dim=2).sum(dim=1, keepdim=True).double(),  # height, 0 where nothing is erased
        lambda gone: gone[:, 0].any(dim=1).sum(dim=1, keepdim=True).double(),  # width
        lambda gone: gone[:, 0].flatten(1).sum(dim=1, keepdim=True).double() ** 2,  # area
    ):
        a, b = fact(ours), fact(theirs)
        error = ((a.var(dim=0) + b.var(dim=0)) / count).sqrt()
        assert ((a.mean(dim=0) - b.mean(dim=0)) / error).abs().max() < 5


def test_noise_is_standard_normal_and_knows_no_neighbour():
    noise = erase(far_away(400), uniform(400), ALWAYS)
    assert kstest(noise[noise != 100].numpy(), norm.cdf).pvalue > 0.001
    for own, neighbour in (
        (noise[..., :-1], noise[..., 1:]),
        (noise[:, :, :-1], noise[:, :, 1:]),
        (noise[:, :-1], noise[:, 1:]),
        (noise[:-1], noise[1:]),
    ):
        both = (own != 100) & (neighbour != 100)
        assert abs(torch.corrcoef(torch.stack([own[both], neighbour[both]]))[0, 1]) < 5 / both.sum().sqrt()


def test_the_noise_has_a_draw_of_its_own():
    uniforms = uniform(8)
    before = erase(far_away(8), uniforms, ALWAYS)
    uniforms[:, -1] = 1 - uniforms[:, -1]
    after = erase(far_away(8), uniforms, ALWAYS)
    assert (before == 100).equal(after == 100)
    assert (before[before != 100] == after[after != 100]).double().mean() < 0.01


def test_zero_takes_the_place_of_noise_where_asked_for():
    noise, zero = (erase(far_away(8), uniform(8), RandomErasing(1.0, fill=fill)) for fill in ("noise", "zero"))
    assert (zero == 0).equal(noise != 100)


def test_double_precision_stays_double():
    images = far_away(8).double()
    result = erase(images, uniform(8), ALWAYS)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result.float(), erase(images.float(), uniform(8), ALWAYS))


def test_images_are_left_alone_where_nothing_fits_or_is_drawn():
    images = far_away(8, 1, 20)
    assert erase(images, uniform(8), ALWAYS).equal(images)
    assert erase(images, uniform(8), RandomErasing(0.0)).equal(images)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((1.5,), "probability=1.5 is not possible: it must be between 0 and 1"),
        ((0.5, (0.5, 0.2)), "area=.0.5, 0.2. is not possible: .* 0 < low <= high < 1"),
        ((0.5, (0.1, 0.2), (0.0, 1.0)), "ratio=.0.0, 1.0. is not possible: .* 0 < low <= high"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation.random_erasing.{sentence}"):
        RandomErasing(*settings)
