from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision import transforms

from mixlab.data.augmentation.affine import Affine
from mixlab.data.augmentation.augment import (
    UNIFORMS,
    Augmentation,
    Mixup,
    MixupOrCutmix,
    augment_image,
    augment_normalised,
    crop_and_resize,
    rearrange_pixels,
)
from mixlab.data.augmentation.crop import InceptionCrop, RandomResizedCrop
from mixlab.data.augmentation.erasing import RandomErasing
from mixlab.data.augmentation.jitter import ColorJitter
from mixlab.data.augmentation.randaugment_tf import RandAugmentTf
from mixlab.data.augmentation.randaugment_timm import RandAugmentTimm
from mixlab.data.augmentation.randaugment_torchvision import RandAugmentTorchvision
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import image_uniforms
from mixlab.errors import UserError

EVERYTHING = Augmentation(
    flip=True, affine=Affine(15.0, (0.8, 1.2), 0.1), pad_crop=2, random_erasing=RandomErasing(0.5)
)
PREPROCESS = Preprocess((16, 16))
PER_IMAGE = {
    "randaugment_tf": RandAugmentTf(2, 15.0),
    "randaugment_timm": RandAugmentTimm(9.0),
    "randaugment_torchvision": RandAugmentTorchvision(2, 12),
    "color_jitter": ColorJitter(0.4, 0.4, 0.4),
}


def augment_batch(images: torch.Tensor, uniforms: np.ndarray, augmentation: Augmentation) -> torch.Tensor:
    """The whole second stage."""
    return augment_normalised(rearrange_pixels(images, uniforms, augmentation), uniforms, augmentation)


def make_uniforms(images: int, **columns: float) -> np.ndarray:
    """Random numbers of 0.5, which leave an image unchanged, except in the named columns."""
    column_index = {"flip": 0, "angle": 1, "scale": 2, "row": 3, "column": 4, "crop_row": 5, "crop_column": 6}
    uniforms = np.full((images, UNIFORMS), 0.5)
    for name, value in columns.items():
        uniforms[:, column_index[name]] = value
    return uniforms


@pytest.fixture
def image() -> torch.Tensor:
    """One smooth image of 12 rows and 20 columns."""
    row, column = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 20), indexing="ij")
    return torch.stack([row, column, row * column])[None]


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(flip=True), Augmentation(affine=Affine(10.0)), Augmentation(pad_crop=3), EVERYTHING],
)
def test_the_augmentation_of_an_image_does_not_depend_on_its_batch(augmentation):
    images = torch.rand(37, 3, 16, 16)
    uniforms = image_uniforms(0, 0, np.arange(37), UNIFORMS)
    whole_batch = augment_batch(images, uniforms, augmentation)
    for indices in ([5], [36, 5], [*range(20, 3, -1)]):
        assert augment_batch(images[indices], uniforms[indices], augmentation).equal(whole_batch[indices])


def test_a_batch_of_bytes_is_flipped_and_shifted_as_each_normalised_image():
    images = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8)
    uniforms = image_uniforms(0, 0, np.arange(50), UNIFORMS)
    preprocess = Preprocess((16, 16), mean=(0.2, 0.5, 0.7), std=(0.1, 0.2, 0.3))
    expected = []
    for image, numbers in zip(images, uniforms, strict=True):
        one = (image - 255 * torch.tensor([0.2, 0.5, 0.7])[:, None, None]) / (
            255 * torch.tensor([0.1, 0.2, 0.3])[:, None, None]
        )
        one = one.flip(-1) if numbers[0] < 0.5 else one
        row, column = (int(number * 5) for number in numbers[5:7])
        padded = functional.pad(one[None], (2, 2, 2, 2), mode="reflect")[0]
        expected.append(padded[:, row : row + 16, column : column + 16])
    before = images.clone()
    rearranged = rearrange_pixels(images, uniforms, Augmentation(flip=True, pad_crop=2))
    assert images.equal(before)
    assert preprocess.normalised(rearranged).equal(torch.stack(expected))


@pytest.mark.parametrize(
    "augmentation", [Augmentation(flip=True), Augmentation(pad_crop=3), EVERYTHING, replace(EVERYTHING, affine=None)]
)
def test_pixels_can_be_rearranged_before_they_are_normalised(augmentation):
    images = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8)
    uniforms = image_uniforms(0, 0, np.arange(20), UNIFORMS)
    first = PREPROCESS.normalised(rearrange_pixels(images, uniforms, augmentation))
    assert first.equal(rearrange_pixels(PREPROCESS.normalised(images), uniforms, augmentation))


def test_eight_equal_images_become_eight_different_ones():
    images = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    results = augment_batch(images, image_uniforms(0, 0, np.arange(8), UNIFORMS), EVERYTHING)
    assert len({result.numpy().tobytes() for result in results}) == 8


@pytest.mark.parametrize("augmentation", [Augmentation(affine=Affine(15.0, (0.8, 1.2), 0.1)), Augmentation(pad_crop=3)])
def test_each_batch_augmentation_differs_between_images(augmentation):
    images = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    results = augment_batch(images, image_uniforms(0, 0, np.arange(8), UNIFORMS), augmentation)
    assert len({result.numpy().tobytes() for result in results}) == 8


def test_the_marginal_distributions_are_those_of_torchvision():
    torch.manual_seed(0)
    image, count = torch.rand(3, 12, 12), 3000
    uniforms = image_uniforms(0, 0, np.arange(count), UNIFORMS)
    rotated_and_scaled = [
        transforms.Pad(24, padding_mode="edge"),
        transforms.RandomAffine(20, scale=(0.8, 1.2), interpolation=transforms.InterpolationMode.BILINEAR),
        transforms.CenterCrop(12),
    ]
    for augmentation, reference in (
        (Augmentation(flip=True), transforms.RandomHorizontalFlip()),
        (Augmentation(pad_crop=2), transforms.RandomCrop(12, 2, padding_mode="reflect")),
        # torchvision rounds shifts to whole pixels, so they are tested separately.
        (Augmentation(affine=Affine(20.0, (0.8, 1.2))), transforms.Compose(rotated_and_scaled)),
    ):
        ours = augment_batch(image.expand(count, -1, -1, -1), uniforms, augmentation).double()
        theirs = torch.stack([reference(image) for _ in range(count)]).double()
        for power in (1, 2):
            a, b = ours**power, theirs**power
            error = ((a.var(dim=0) + b.var(dim=0)) / count).sqrt() + 1e-9
            assert ((a.mean(dim=0) - b.mean(dim=0)) / error).abs().max() < 5


def test_double_precision_is_kept():
    images, uniforms = torch.rand(6, 3, 16, 16, dtype=torch.float64), image_uniforms(0, 0, np.arange(6), UNIFORMS)
    result = augment_batch(images, uniforms, EVERYTHING)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result.float(), augment_batch(images.float(), uniforms, EVERYTHING), atol=1e-4, rtol=0)


def test_without_augmentation_nothing_changes():
    images = torch.rand(2, 3, 8, 8)
    assert augment_batch(images, np.empty((2, 0)), Augmentation()).equal(images)


def test_flip_mirrors_about_half_of_the_images():
    images = torch.rand(2000, 1, 1, 2)
    flipped = augment_batch(images, image_uniforms(0, 0, np.arange(2000), UNIFORMS), Augmentation(flip=True))
    mirrored = (flipped == images.flip(-1)).all(dim=(1, 2, 3))
    unchanged = (flipped == images).all(dim=(1, 2, 3))
    assert (mirrored ^ unchanged).all()
    assert 900 < mirrored.sum() < 1100


def test_the_identity_transform_keeps_the_image(image):
    affine = Affine(30.0, (0.5, 1.5), 0.3)
    torch.testing.assert_close(
        augment_batch(image, make_uniforms(1), Augmentation(affine=affine)), image, atol=1e-6, rtol=0
    )


def test_a_shift_is_a_fraction_of_each_side(image):
    affine = Affine(translate=0.25)
    moved = augment_batch(
        image, make_uniforms(1, row=1.0, column=0.0), Augmentation(affine=affine)
    )  # 3 rows down, 5 columns left
    torch.testing.assert_close(moved[..., 3:, :-5], image[..., :-3, 5:], atol=1e-6, rtol=0)
    assert moved[..., :3, :-5].allclose(image[..., :1, 5:], atol=1e-6)  # the edge is repeated


def test_a_rotation_by_a_right_angle_is_exact():
    square = torch.rand(1, 3, 8, 8)
    rotated = augment_batch(square, make_uniforms(1, angle=1.0), Augmentation(affine=Affine(degrees=90.0)))
    torch.testing.assert_close(rotated, square.rot90(-1, dims=(-2, -1)), atol=1e-5, rtol=0)  # positive is clockwise


def test_a_rotation_keeps_angles_in_a_rectangular_image():
    # A diagonal line rotated by 90 degrees around the centre is the other diagonal, without distortion.
    image = torch.zeros(1, 1, 9, 15)
    for step in range(-2, 3):
        image[..., 4 + step, 7 + step] = 1
    rotated = augment_batch(image, make_uniforms(1, angle=1.0), Augmentation(affine=Affine(degrees=90.0)))
    torch.testing.assert_close(rotated, image.flip(-1), atol=1e-5, rtol=0)


def test_a_scale_above_one_enlarges(image):
    larger = augment_batch(image, make_uniforms(1, scale=1.0), Augmentation(affine=Affine(scale=(1.0, 2.0))))
    torch.testing.assert_close(larger[:, :2], image[:, :2] / 2, atol=1e-6, rtol=0)  # the ramps have half the slope


@pytest.mark.parametrize(("uniform", "shift"), [(0.0, -2), (0.39, -1), (0.5, 0), (0.999, 2)])
def test_a_padded_crop_shifts_by_whole_pixels_and_reflects_the_edge(image, uniform, shift):
    shifted = augment_batch(image, make_uniforms(1, crop_row=uniform), Augmentation(pad_crop=2))
    rows = [abs(row + shift) if row + shift < 12 else 22 - row - shift for row in range(12)]
    assert shifted.equal(image[:, :, rows])


def test_every_whole_shift_is_equally_likely():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16).expand(5000, -1, -1, -1)
    shifted = augment_batch(ramp, image_uniforms(0, 0, np.arange(5000), UNIFORMS), Augmentation(pad_crop=2))
    counts = torch.bincount(shifted[:, 0, 8, 8].long(), minlength=16)[6:11]
    assert counts.sum() == 5000
    assert (counts - 1000).abs().max() < 5 * np.sqrt(1000 * 0.8)


def test_enabling_another_augmentation_does_not_change_the_random_numbers():
    images = torch.rand(6, 3, 8, 8)
    uniforms = image_uniforms(0, 0, np.arange(6), UNIFORMS)
    flipped = augment_batch(images, uniforms, Augmentation(flip=True))
    both = augment_batch(images, uniforms, Augmentation(flip=True, pad_crop=2))
    assert augment_batch(flipped, uniforms, Augmentation(pad_crop=2)).equal(both)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8))


@pytest.mark.parametrize("name", PER_IMAGE)
def test_image_augmentations_are_deterministic_functions_of_the_random_numbers(noise, name):
    augmentation = Augmentation(**{name: PER_IMAGE[name]})
    uniforms = image_uniforms(0, 0, np.arange(40), UNIFORMS)
    original = noise.clone()
    first, second = ([augment_image(noise, row, augmentation, PREPROCESS) for row in uniforms] for _ in range(2))
    assert noise.equal(original)
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
    assert len({result.numpy().tobytes() for result in first}) > 20


@pytest.mark.parametrize("name", PER_IMAGE)
def test_enabling_jitter_does_not_change_the_random_numbers_of_other_image_augmentations(noise, name):
    settings = {name: PER_IMAGE[name]}
    uniforms = image_uniforms(0, 0, np.arange(5), UNIFORMS)
    jitter = Augmentation(color_jitter=PER_IMAGE["color_jitter"])
    for row in uniforms:
        without_jitter = augment_image(noise, row, Augmentation(**settings), PREPROCESS)
        both = augment_image(noise, row, Augmentation(**{**vars(jitter), **settings}), PREPROCESS)
        assert both.equal(
            without_jitter if name == "color_jitter" else augment_image(without_jitter, row, jitter, PREPROCESS)
        )


def test_timm_transforms_fill_with_the_mean_and_interpolate_like_the_crop(noise):
    uniforms = np.full(UNIFORMS, 0.99)
    uniforms[30:32] = 13.5 / 15, 0.0  # translate_x
    expected = {}
    for interpolation in ("same", "bilinear"):
        crop = RandomResizedCrop(interpolation=interpolation)
        augmentation = Augmentation(random_resized_crop=crop, randaugment_timm=RandAugmentTimm(9.0, layers=1))
        expected[interpolation] = augment_image(
            noise, uniforms, augmentation, Preprocess((16, 16), mean=(1.0, 0.5, 0.0))
        )
    assert expected["same"][:, :, -1].unique(dim=1).flatten().tolist() == [255, 128, 0]
    assert not expected["same"].equal(expected["bilinear"])


def test_a_crop_uses_its_interpolation(noise):
    image = noise.permute(1, 2, 0).numpy()
    uniforms = image_uniforms(0, 0, np.array([3]), UNIFORMS)[0]
    results = {}
    for uniform in (0.2, 0.7):
        uniforms[29] = uniform
        for interpolation in ("same", "bilinear", "bicubic", "random"):
            crop = Augmentation(random_resized_crop=RandomResizedCrop(interpolation=interpolation))
            results[interpolation, uniform] = crop_and_resize(image, uniforms, crop, PREPROCESS).numpy().tobytes()
    assert results["same", 0.2] == results["bicubic", 0.2] == results["bicubic", 0.7] == results["random", 0.7]
    assert results["bilinear", 0.2] == results["bilinear", 0.7] == results["random", 0.2]
    assert results["bilinear", 0.2] != results["bicubic", 0.2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"randaugment_tf": RandAugmentTf(2, 15.0), "randaugment_timm": RandAugmentTimm(9.0)},
            "both randaugment_tf and randaugment_timm: .* randaugment_tf, randaugment_timm or randaugment_torchvision",
        ),
        (
            {"random_resized_crop": RandomResizedCrop(), "inception_crop": InceptionCrop()},
            "both random_resized_crop and inception_crop: .* random_resized_crop or inception_crop",
        ),
        (
            {"mixup": Mixup(0.5), "mixup_or_cutmix": MixupOrCutmix(0.8, 1.0)},
            "both mixup and mixup_or_cutmix: .* mixup or mixup_or_cutmix",
        ),
    ],
)
def test_exclusive_augmentations_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation has {sentence} is allowed. Remove the others.$"):
        Augmentation(**settings)


@pytest.mark.parametrize("value", [9, {"magnitude": 9}])
def test_an_ambiguous_randaugment_is_refused_with_the_variants(value):
    with pytest.raises(UserError) as caught:
        Augmentation(randaugment=value)
    assert str(caught.value) == (
        f"augmentation.randaugment={value} is ambiguous: write randaugment_tf, randaugment_timm or "
        "randaugment_torchvision instead. Their magnitudes have different scales."
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Affine(degrees=-1.0), "affine.degrees=-1.0 is invalid: it must be between 0 and 180"),
        (lambda: Affine(scale=(1.2, 0.8)), "affine.scale=.1.2, 0.8. is invalid: .* 0 < low <= high"),
        (lambda: Affine(translate=1.0), "affine.translate=1.0 is invalid"),
        (lambda: Augmentation(pad_crop=-1), "pad_crop=-1 is invalid: it must be a number of pixels, at least 0"),
    ],
)
def test_invalid_settings_are_refused(make, sentence):
    with pytest.raises(UserError, match=f"^augmentation.{sentence}"):
        make()
