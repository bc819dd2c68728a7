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
    """A batch of constant images 0, 1, 2 ... of as many classes, mixed."""
    images = torch.arange(n_images, dtype=dtype)[:, None, None, None].expand(-1, 3, ROWS, COLUMNS)
    return mix(images, torch.eye(n_images, dtype=dtype), Augmentation(**settings))


def cutmix(probability: float = 1.0) -> MixupOrCutmix:
    return MixupOrCutmix(mixup=0.0, cutmix=1.0, probability=probability)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_without_mixing_the_batch_is_the_same():
    images, targets = torch.rand(3, 3, 4, 4), torch.eye(3)
    assert mix(images, targets, Augmentation(flip=True)) == (images, targets)


@pytest.mark.parametrize(
    "settings",
    [{"mixup": Mixup(0.5)}, {"mixup_or_cutmix": MixupOrCutmix(0.8, 1.0)}, {"mixup_or_cutmix": cutmix()}],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_sum_to_one_and_the_precision_stays(settings, dtype):
    for _ in range(20):
        images, targets = mix_images(dtype=dtype, **settings)
        assert images.dtype == targets.dtype == dtype
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(5, dtype=dtype))


def test_mixup_gives_a_image_the_larger_share_beside_the_one_before_it():
    for _ in range(20):
        images, targets = mix_images(mixup=Mixup(0.5))
        share = targets[0, 0].item()
        assert 0.5 <= share <= 1
        torch.testing.assert_close(
            targets, share * torch.eye(5).double() + (1 - share) * torch.eye(5).double().roll(1, 0)
        )
        torch.testing.assert_close(images[:, 0, 0, 0], targets @ torch.arange(5.0).double())


def test_either_mixes_a_image_with_its_mirror_image_in_the_batch():
    for _ in range(20):
        images, targets = mix_images(mixup_or_cutmix=MixupOrCutmix(0.8, 0.0))
        share = targets[0, 0].item()
        own = torch.eye(5, dtype=torch.float64)
        torch.testing.assert_close(targets, share * own + (1 - share) * own.flip(0))
        torch.testing.assert_close(images[:, 0, 0, 0], targets @ torch.arange(5.0).double())


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_shares_are_of_the_beta_distribution(alpha):
    shares = [mix_images(2, mixup_or_cutmix=MixupOrCutmix(alpha, 0.0))[1][0, 0].item() for _ in range(2000)]
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.001
    larger = [mix_images(2, mixup=Mixup(alpha))[1][0, 0].item() for _ in range(2000)]
    assert kstest(larger, lambda x: 2 * beta(alpha, alpha).cdf(x) - 1).pvalue > 0.001


def test_cutmix_s_share_is_what_is_left_of_a_rectangle_from_the_partner():
    for _ in range(200):
        images, targets = mix_images(4, mixup_or_cutmix=cutmix())
        foreign = images[0, 0] != 0
        rows, columns = foreign.any(dim=1), foreign.any(dim=0)
        assert foreign.equal(rows[:, None] & columns)
        assert set(images[0].unique().tolist()) <= {0.0, 3.0}
        assert targets[0, 0].item() == pytest.approx(1 - foreign.double().mean().item())
        assert targets[0, 3].item() == pytest.approx(foreign.double().mean().item())


@pytest.mark.parametrize(
    ("share", "row", "column", "box"),
    [  # by the formula: sides of sqrt(1 - share), 6 and 10 here, about the pixel, and cut at the edges
        (0.75, 0.5, 0.5, (3, 9, 5, 15)),
        (0.75, 0.0, 0.0, (0, 3, 0, 5)),
        (0.75, 0.99, 0.99, (8, 12, 14, 20)),
        (1.0, 0.5, 0.5, (6, 6, 10, 10)),
        (0.8, 0.5, 0.5, (4, 8, 6, 14)),  # 5 and 8: an odd side loses a pixel
    ],
)
def test_cutmix_s_box_is_the_formula_s(monkeypatch, share, row, column, box):
    uniforms = iter([0.0, 0.0, row, column])  # mixed, by CutMix, there
    monkeypatch.setattr(mixing, "_uniform", lambda: next(uniforms))
    monkeypatch.setattr(mixing, "_share", lambda _: share)
    images, targets = mix_images(2, mixup_or_cutmix=cutmix())
    top, bottom, left, right = box
    expected = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
    expected[top:bottom, left:right] = 1
    assert images[0, 0].equal(expected)
    assert targets[0, 0].item() == 1 - (bottom - top) * (right - left) / (ROWS * COLUMNS)


def test_the_share_that_cutmix_leaves_has_timm_s_distribution():
    timm = pytest.importorskip("timm.data.mixup", reason='needs timm: pip install "mixlab[baselines]"')
    np.random.seed(0)
    size = 224  # where the pixel that timm has added since to an odd side is nothing
    theirs = [timm.cutmix_bbox_and_lam((3, size, size), np.random.beta(1.0, 1.0))[1] for _ in range(3000)]
    images = torch.zeros(2, 1, size, size)
    ours = [mix(images, torch.eye(2), Augmentation(mixup_or_cutmix=cutmix()))[1][0, 0].item() for _ in range(3000)]
    error = np.sqrt((np.var(theirs) + np.var(ours)) / 3000)
    assert abs(np.mean(theirs) - np.mean(ours)) < 4 * error + 0.005
    assert abs(np.std(theirs) - np.std(ours)) < 0.02


@pytest.mark.parametrize(("probability", "switch"), [(1.0, 0.5), (0.4, 0.25)])
def test_a_batch_is_mixed_and_switched_to_cutmix_as_often_as_asked(probability, switch):
    kinds = {"kept": 0, "mixup": 0, "cutmix": 0}
    for _ in range(2000):
        images, targets = mix_images(2, mixup_or_cutmix=MixupOrCutmix(0.8, 1.0, probability, switch))
        blended = ((images[0] > 0) & (images[0] < 1)).any()
        kinds["mixup" if blended else "cutmix" if targets[0, 0] < 1 else "kept"] += 1
    # A little of CutMix leaves nothing to see: its rectangle is empty.
    expected = {"mixup": probability * (1 - switch), "cutmix": probability * switch}
    assert abs(kinds["mixup"] / 2000 - expected["mixup"]) < 0.05
    assert abs(kinds["cutmix"] / 2000 - expected["cutmix"]) < 0.05


def test_mixing_repeats_with_torch_s_seed():
    first = mix_images(mixup_or_cutmix=MixupOrCutmix(0.8, 1.0))
    torch.manual_seed(0)
    again = mix_images(mixup_or_cutmix=MixupOrCutmix(0.8, 1.0))
    assert first[0].equal(again[0])
    assert first[1].equal(again[1])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Mixup(0.0), "mixup.alpha=0.0 is not possible: it must be above 0"),
        (lambda: MixupOrCutmix(-1.0, 1.0), "mixup_or_cutmix.mixup=-1.0 is not possible: it must be at least 0"),
        (lambda: MixupOrCutmix(1.0, -1.0), "mixup_or_cutmix.cutmix=-1.0 is not possible: it must be at least 0"),
        (lambda: MixupOrCutmix(0.0, 0.0), "mixup_or_cutmix of 0 and 0 is not possible: it must be above 0 in one"),
        (lambda: MixupOrCutmix(1.0, 1.0, 1.1), "mixup_or_cutmix.probability=1.1 is not possible: .* between 0 and 1"),
        (lambda: MixupOrCutmix(1.0, 1.0, 1.0, -0.1), "mixup_or_cutmix.switch=-0.1 is not possible: .* 0 and 1"),
    ],
)
def test_impossible_settings_are_refused(make, sentence):
    with pytest.raises(UserError, match=f"^augmentation.{sentence}"):
        make()
