import numpy as np
import pytest
import torch

from mixlab.data.affine import Affine
from mixlab.data.augment import DRAWS, Augmentation, augmented
from mixlab.data.crop import RandomResizedCrop, crop_box
from mixlab.data.draws import picture_draws
from mixlab.errors import UserError

EVERYTHING = Augmentation(flip=True, affine=Affine(15.0, (0.8, 1.2), 0.1), pad_crop=2)


def drawn(pictures: int, **columns: float) -> np.ndarray:
    """Draws of 0.5, which move nothing, but in the named columns."""
    places = {"flip": 0, "angle": 1, "scale": 2, "row": 3, "column": 4, "crop_row": 5, "crop_column": 6}
    draws = np.full((pictures, DRAWS), 0.5)
    for name, value in columns.items():
        draws[:, places[name]] = value
    return draws


@pytest.fixture
def picture() -> torch.Tensor:
    """One smooth picture of 12 rows and 20 columns."""
    row, column = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 20), indexing="ij")
    return torch.stack([row, column, row * column])[None]


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(flip=True), Augmentation(affine=Affine(10.0)), Augmentation(pad_crop=3), EVERYTHING],
)
def test_a_picture_is_augmented_by_its_own_draws_whoever_is_in_its_batch(augmentation):
    images = torch.rand(37, 3, 16, 16)
    draws = picture_draws(0, 0, np.arange(37), DRAWS)
    together = augmented(images, draws, augmentation)
    for chosen in ([5], [36, 5], [*range(20, 3, -1)]):
        assert augmented(images[chosen], draws[chosen], augmentation).equal(together[chosen])


def test_eight_equal_pictures_become_eight_different_ones():
    images = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    results = augmented(images, picture_draws(0, 0, np.arange(8), DRAWS), EVERYTHING)
    assert len({result.numpy().tobytes() for result in results}) == 8


def test_without_augmentation_nothing_changes():
    images = torch.rand(2, 3, 8, 8)
    assert augmented(images, np.empty((2, 0)), Augmentation()).equal(images)


def test_flip_mirrors_about_half_of_the_pictures():
    images = torch.rand(2000, 1, 1, 2)
    flipped = augmented(images, picture_draws(0, 0, np.arange(2000), DRAWS), Augmentation(flip=True))
    mirrored = (flipped == images.flip(-1)).all(dim=(1, 2, 3))
    kept = (flipped == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 900 < mirrored.sum() < 1100


def test_an_affine_of_nothing_keeps_the_picture(picture):
    affine = Affine(30.0, (0.5, 1.5), 0.3)
    torch.testing.assert_close(augmented(picture, drawn(1), Augmentation(affine=affine)), picture, atol=1e-6, rtol=0)


def test_a_shift_moves_by_a_share_of_each_side(picture):
    affine = Affine(translate=0.25)
    moved = augmented(
        picture, drawn(1, row=1.0, column=0.0), Augmentation(affine=affine)
    )  # 3 rows down, 5 columns left
    torch.testing.assert_close(moved[..., 3:, :-5], picture[..., :-3, 5:], atol=1e-6, rtol=0)
    assert moved[..., :3, :-5].allclose(picture[..., :1, 5:], atol=1e-6)  # the edge goes on


def test_a_rotation_by_a_right_angle_is_exact():
    square = torch.rand(1, 3, 8, 8)
    turned = augmented(square, drawn(1, angle=1.0), Augmentation(affine=Affine(degrees=90.0)))
    torch.testing.assert_close(turned, square.rot90(-1, dims=(-2, -1)), atol=1e-5, rtol=0)  # positive is clockwise


def test_a_rotation_keeps_angles_in_a_rectangle():
    # A diagonal line turned by 90 degrees about the centre is the other diagonal: nothing is stretched to the sides.
    image = torch.zeros(1, 1, 9, 15)
    for step in range(-2, 3):
        image[..., 4 + step, 7 + step] = 1
    turned = augmented(image, drawn(1, angle=1.0), Augmentation(affine=Affine(degrees=90.0)))
    torch.testing.assert_close(turned, image.flip(-1), atol=1e-5, rtol=0)


def test_a_scale_above_one_enlarges(picture):
    larger = augmented(picture, drawn(1, scale=1.0), Augmentation(affine=Affine(scale=(1.0, 2.0))))
    torch.testing.assert_close(larger[:, :2], picture[:, :2] / 2, atol=1e-6, rtol=0)  # its ramps rise half as steeply


@pytest.mark.parametrize(("draw", "shift"), [(0.0, -2), (0.39, -1), (0.5, 0), (0.999, 2)])
def test_a_padded_crop_shifts_by_whole_pixels_and_reflects_the_edge(picture, draw, shift):
    shifted = augmented(picture, drawn(1, crop_row=draw), Augmentation(pad_crop=2))
    rows = [abs(row + shift) if row + shift < 12 else 22 - row - shift for row in range(12)]
    assert shifted.equal(picture[:, :, rows])


def test_every_whole_shift_is_equally_likely():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16).expand(5000, -1, -1, -1)
    shifted = augmented(ramp, picture_draws(0, 0, np.arange(5000), DRAWS), Augmentation(pad_crop=2))
    counts = torch.bincount(shifted[:, 0, 8, 8].long(), minlength=16)[6:11]
    assert counts.sum() == 5000
    assert (counts - 1000).abs().max() < 5 * np.sqrt(1000 * 0.8)


def test_an_augmentation_keeps_its_draws_when_another_is_switched_on():
    images = torch.rand(6, 3, 8, 8)
    draws = picture_draws(0, 0, np.arange(6), DRAWS)
    flipped = augmented(images, draws, Augmentation(flip=True))
    both = augmented(images, draws, Augmentation(flip=True, pad_crop=2))
    assert augmented(flipped, draws, Augmentation(pad_crop=2)).equal(both)


def boxes(crop: RandomResizedCrop, rows: int, columns: int, count: int = 2000) -> np.ndarray:
    draws = picture_draws(0, 0, np.arange(count), DRAWS)
    return np.array([crop_box(crop, rows, columns, row[7:30]) for row in draws])


def test_a_crop_lies_inside_with_the_area_and_ratio_asked_for():
    left, top, right, bottom = boxes(RandomResizedCrop(scale=(0.2, 0.9), ratio=(0.5, 2.0)), 300, 400).T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 400
    assert bottom.max() <= 300
    width, height = right - left, bottom - top
    area, ratio = width * height / 120_000, width / height
    assert 0.19 < area.min() < 0.21  # every share of the area comes up, up to rounding to whole pixels
    assert 0.85 < area.max() < 0.91
    assert 0.49 < ratio.min() < 0.52
    assert 1.9 < ratio.max() < 2.02


def test_a_crop_can_touch_every_edge():
    left, top, right, bottom = boxes(RandomResizedCrop(scale=(0.2, 0.9)), 10, 12).T
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, 12, 10)


def test_a_crop_that_never_fits_is_the_largest_central_one():
    # All of a 100 x 10 strip cannot be had at a ratio of at most 4 : 3.
    box = crop_box(RandomResizedCrop(scale=(1.0, 1.0)), 10, 100, drawn(1)[0, 7:30])
    assert box == (43, 0, 56, 10)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Affine(degrees=-1.0), "affine.degrees=-1.0 is not possible: it must be between 0 and 180"),
        (lambda: Affine(scale=(1.2, 0.8)), "affine.scale=.1.2, 0.8. is not possible: .* 0 < low <= high"),
        (lambda: Affine(translate=1.0), "affine.translate=1.0 is not possible"),
        (lambda: RandomResizedCrop(scale=(0.0, 1.0)), "random_resized_crop.scale=.0.0, 1.0. is not possible"),
        (lambda: RandomResizedCrop(ratio=(2.0, 1.0)), "random_resized_crop.ratio=.2.0, 1.0. is not possible"),
        (lambda: Augmentation(pad_crop=-1), "pad_crop=-1 is not possible: it must be a number of pixels, at least 0"),
    ],
)
def test_impossible_settings_are_refused(make, sentence):
    with pytest.raises(UserError, match=f"^augmentation.{sentence}"):
        make()
