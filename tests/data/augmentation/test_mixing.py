import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from mixlab.data.augmentation import mixing
from mixlab.data.augmentation.augment import Augmentation, Mixup, MixupOrCutmix
from mixlab.data.augmentation.mixing import mix
from mixlab.errors import UserError

ROWS, COLUMNS = 12, 20


def mix_images(n_images: int = 5, dtype: torch.dtype = torch.float64, **settings):
    """Mix a batch of constant images 0, 1, 2 ..., each of its own class."""
    images = torch.arange(n_images, dtype=dtype)[:, None, None, None].expand(-1, 3, ROWS, COLUMNS)
    return mix(images, torch.eye(n_images, dtype=dtype), Augmentation(**settings))


def cutmix(probability: float = 1.0) -> MixupOrCutmix:
    return MixupOrCutmix(mixup=0.0, cutmix=1.0, probability=probability)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_without_mixing_the_batch_is_unchanged():
    images, targets = torch.rand(3, 3, 4, 4), torch.eye(3)
    assert mix(images, targets, Augmentation(flip=True)) == (images, targets)


@pytest.mark.parametrize(
    "settings",
    [{"mixup": Mixup(0.5)}, {"mixup_or_cutmix": MixupOrCutmix(0.8, 1.0)}, {"mixup_or_cutmix": cutmix()}],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_sum_to_one_and_precision_is_kept(settings, dtype):
    for _ in range(20):
        images, targets = mix_images(dtype=dtype, **settings)
        assert images.dtype == targets.dtype == dtype
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(5, dtype=dtype))


def test_mixup_gives_an_image_the_larger_weight_and_mixes_it_with_the_previous_one():
    for _ in range(20):
        images, targets = mix_images(mixup=Mixup(0.5))
        weight = targets[0, 0].item()
        assert 0.5 <= weight <= 1
        torch.testing.assert_close(
            targets, weight * torch.eye(5).double() + (1 - weight) * torch.eye(5).double().roll(1, 0)
        )
        torch.testing.assert_close(images[:, 0, 0, 0], targets @ torch.arange(5.0).double())


def test_mixup_or_cutmix_mixes_images_at_mirrored_positions():
    for _ in range(20):
        images, targets = mix_images(mixup_or_cutmix=MixupOrCutmix(0.8, 0.0))
        weight = targets[0, 0].item()
        identity = torch.eye(5, dtype=torch.float64)
        torch.testing.assert_close(targets, weight * identity + (1 - weight) * identity.flip(0))
        torch.testing.assert_close(images[:, 0, 0, 0], targets @ torch.arange(5.0).double())


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_weights_have_a_beta_distribution(alpha):
    weights = [mix_images(2, mixup_or_cutmix=MixupOrCutmix(alpha, 0.0))[1][0, 0].item() for _ in range(2000)]
    assert kstest(weights, beta(alpha, alpha).cdf).pvalue > 0.001
    larger = [mix_images(2, mixup=Mixup(alpha))[1][0, 0].item() for _ in range(2000)]
    assert kstest(larger, lambda x: 2 * beta(alpha, alpha).cdf(x) - 1).pvalue > 0.001


def test_cutmix_targets_match_the_replaced_rectangle():
    for _ in range(200):
        images, targets = mix_images(4, mixup_or_cutmix=cutmix())
        replaced = images[0, 0] != 0
        rows, columns = replaced.any(dim=1), replaced.any(dim=0)
        assert replaced.equal(rows[:, None] & columns)
        assert set(images[0].unique().tolist()) <= {0.0, 3.0}
        assert targets[0, 0].item() == pytest.approx(1 - replaced.double().mean().item())
        assert targets[0, 3].item() == pytest.approx(replaced.double().mean().item())


@pytest.mark.parametrize(
    ("weight", "row", "column", "box"),
    [  # by the formula: sides of sqrt(1 - weight), here 6 and 10, around the pixel, clipped at the edges
        (0.75, 0.5, 0.5, (3, 9, 5, 15)),
        (0.75, 0.0, 0.0, (0, 3, 0, 5)),
        (0.75, 0.99, 0.99, (8, 12, 14, 20)),
        (1.0, 0.5, 0.5, (6, 6, 10, 10)),
        (0.8, 0.5, 0.5, (4, 8, 6, 14)),  # 5 and 8: an odd side loses a pixel
    ],
)
def test_the_box_of_cutmix_follows_the_formula(monkeypatch, weight, row, column, box):
    uniforms = iter([0.0, 0.0, row, column])  # mix the batch, by CutMix, at this position
    monkeypatch.setattr(mixing, "_uniform", lambda: next(uniforms))
    monkeypatch.setattr(mixing, "_sample_weight", lambda _: weight)
    images, targets = mix_images(2, mixup_or_cutmix=cutmix())
    top, bottom, left, right = box
    expected = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
    expected[top:bottom, left:right] = 1
    assert images[0, 0].equal(expected)
    assert targets[0, 0].item() == 1 - (bottom - top) * (right - left) / (ROWS * COLUMNS)


def test_the_weights_of_cutmix_have_the_distribution_of_timm():
    timm = pytest.importorskip("timm.data.mixup", reason='needs timm: pip install "mixlab[baselines]"')
    np.random.seed(0)
    size = 224  # large, so that the extra pixel of later versions of timm is negligible
    theirs = [timm.cutmix_bbox_and_lam((3, size, size), np.random.beta(1.0, 1.0))[1] for _ in range(3000)]
    images = torch.zeros(2, 1, size, size)
    ours = [mix(images, torch.eye(2), Augmentation(mixup_or_cutmix=cutmix()))[1][0, 0].item() for _ in range(3000)]
    error = np.sqrt((np.var(theirs) + np.var(ours)) / 3000)
    assert abs(np.mean(theirs) - np.mean(ours)) < 4 * error + 0.005
    assert abs(np.std(theirs) - np.std(ours)) < 0.02


@pytest.mark.parametrize(("probability", "switch"), [(1.0, 0.5), (0.4, 0.25)])
def test_batches_are_mixed_with_the_given_probabilities(probability, switch):
    kinds = {"unchanged": 0, "mixup": 0, "cutmix": 0}
    for _ in range(2000):
        images, targets = mix_images(2, mixup_or_cutmix=MixupOrCutmix(0.8, 1.0, probability, switch))
        blended = ((images[0] > 0) & (images[0] < 1)).any()
        kinds["mixup" if blended else "cutmix" if targets[0, 0] < 1 else "unchanged"] += 1
    # CutMix sometimes has an empty rectangle, which leaves the batch unchanged.
    expected = {"mixup": probability * (1 - switch), "cutmix": probability * switch}
    assert abs(kinds["mixup"] / 2000 - expected["mixup"]) < 0.05
    assert abs(kinds["cutmix"] / 2000 - expected["cutmix"]) < 0.05


def test_mixing_is_reproducible_with_the_seed_of_torch():
    first = mix_images(mixup_or_cutmix=MixupOrCutmix(0.8, 1.0))
    torch.manual_seed(0)
    second = mix_images(mixup_or_cutmix=MixupOrCutmix(0.8, 1.0))
    assert first[0].equal(second[0])
    assert first[1].equal(second[1])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Mixup(0.0), "mixup.alpha=0.0 is invalid: it must be above 0"),
        (lambda: MixupOrCutmix(-1.0, 1.0), "mixup_or_cutmix.mixup=-1.0 is invalid: it must be at least 0"),
        (lambda: MixupOrCutmix(1.0, -1.0), "mixup_or_cutmix.cutmix=-1.0 is invalid: it must be at least 0"),
        (
            lambda: MixupOrCutmix(0.0, 0.0),
            "mixup_or_cutmix with mixup=0 and cutmix=0 is invalid: it must be above 0 for at least one",
        ),
        (lambda: MixupOrCutmix(1.0, 1.0, 1.1), "mixup_or_cutmix.probability=1.1 is invalid: .* between 0 and 1"),
        (lambda: MixupOrCutmix(1.0, 1.0, 1.0, -0.1), "mixup_or_cutmix.switch=-0.1 is invalid: .* 0 and 1"),
    ],
)
def test_invalid_settings_are_refused(make, sentence):
    with pytest.raises(UserError, match=f"^augmentation.{sentence}"):
        make()
