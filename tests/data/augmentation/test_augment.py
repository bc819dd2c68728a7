import numpy as np
import pytest
import torch
from torchvision import transforms

from mixlab.data.augmentation.affine import Affine
from mixlab.data.augmentation.augment import (
    UNIFORMS,
    Augmentation,
    Mixup,
    MixupOrCutmix,
    augment_batch,
    augment_image,
    resized,
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
OF_EACH_IMAGE = {
    "randaugment_tf": RandAugmentTf(2, 15.0),
    "randaugment_timm": RandAugmentTimm(9.0),
    "randaugment_torchvision": RandAugmentTorchvision(2, 12),
    "color_jitter": ColorJitter(0.4, 0.4, 0.4),
}


def drawn(images: int, **columns: float) -> np.ndarray:
    """Draws of 0.5, which move nothing, but in the named columns."""
    places = {"flip": 0, "angle": 1, "scale": 2, "row": 3, "column": 4, "crop_row": 5, "crop_column": 6}
    uniforms = np.full((images, UNIFORMS), 0.5)
    for name, value in columns.items():
        uniforms[:, places[name]] = value
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
def test_a_image_is_augmented_by_its_own_draws_whoever_is_in_its_batch(augmentation):
    images = torch.rand(37, 3, 16, 16)
    uniforms = image_uniforms(0, 0, np.arange(37), UNIFORMS)
    together = augment_batch(images, uniforms, augmentation)
    for recommendation_summary in ([5], [36, 5], [*range(20, 3, -1)]):
        assert augment_batch(images[recommendation_summary], uniforms[recommendation_summary], augmentation).equal(
            together[recommendation_summary]
        )


def test_eight_equal_images_become_eight_different_ones():
    images = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    results = augment_batch(images, image_uniforms(0, 0, np.arange(8), UNIFORMS), EVERYTHING)
    assert len({result.numpy().tobytes() for result in results}) == 8


@pytest.mark.parametrize("augmentation", [Augmentation(affine=Affine(15.0, (0.8, 1.2), 0.1)), Augmentation(pad_crop=3)])
def test_each_of_the_batch_s_augmentations_draws_for_each_image(augmentation):
    images = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    results = augment_batch(images, image_uniforms(0, 0, np.arange(8), UNIFORMS), augmentation)
    assert len({result.numpy().tobytes() for result in results}) == 8


def test_the_marginals_are_those_of_torchvision_one_image_at_a_time():
    torch.manual_seed(0)
    image, count = torch.rand(3, 12, 12), 3000
    uniforms = image_uniforms(0, 0, np.arange(count), UNIFORMS)
    rotated_and_scaled = [
        transforms.Pad(24, padding_mode="edge"),
        transforms.RandomAffine(20, scale=(0.8, 1.2), interpolation=transforms.InterpolationMode.BILINEAR),
        transforms.CenterCrop(12),
    ]
    for augmentation, slow in (
        (Augmentation(flip=True), transforms.RandomHorizontalFlip()),
        (Augmentation(pad_crop=2), transforms.RandomCrop(12, 2, padding_mode="reflect")),
        # torchvision rounds shifts to whole pixels: they are tested by themselves.
        (Augmentation(affine=Affine(20.0, (0.8, 1.2))), transforms.Compose(rotated_and_scaled)),
    ):
        ours = augment_batch(image.expand(count, -1, -1, -1), uniforms, augmentation).double()
        theirs = torch.stack([slow(image) for _ in range(count)]).double()
        for power in (1, 2):
            a, b = ours**power, theirs**power
            error = ((a.var(dim=0) + b.var(dim=0)) / count).sqrt() + 1e-9
            assert ((a.mean(dim=0) - b.mean(dim=0)) / error).abs().max() < 5


def test_double_precision_stays_double_and_says_the_same():
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
    kept = (flipped == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 900 < mirrored.sum() < 1100


def test_an_affine_of_nothing_keeps_the_image(image):
    affine = Affine(30.0, (0.5, 1.5), 0.3)
    torch.testing.assert_close(augment_batch(image, drawn(1), Augmentation(affine=affine)), image, atol=1e-6, rtol=0)


def test_a_shift_moves_by_a_share_of_each_side(image):
    affine = Affine(translate=0.25)
    moved = augment_batch(
        image, drawn(1, row=1.0, column=0.0), Augmentation(affine=affine)
    )  # 3 rows down, 5 columns left
    torch.testing.assert_close(moved[..., 3:, :-5], image[..., :-3, 5:], atol=1e-6, rtol=0)
    assert moved[..., :3, :-5].allclose(image[..., :1, 5:], atol=1e-6)  # the edge goes on


def test_a_rotation_by_a_right_angle_is_exact():
    square = torch.rand(1, 3, 8, 8)
    turned = augment_batch(square, drawn(1, angle=1.0), Augmentation(affine=Affine(degrees=90.0)))
    torch.testing.assert_close(turned, square.rot90(-1, dims=(-2, -1)), atol=1e-5, rtol=0)  # positive is clockwise


def test_a_rotation_keeps_angles_in_a_rectangle():
    # A diagonal line turned by 90 degrees about the centre is the other diagonal: nothing is stretched to the sides.
    image = torch.zeros(1, 1, 9, 15)
    for step in range(-2, 3):
        image[..., 4 + step, 7 + step] = 1
    turned = augment_batch(image, drawn(1, angle=1.0), Augmentation(affine=Affine(degrees=90.0)))
    torch.testing.assert_close(turned, image.flip(-1), atol=1e-5, rtol=0)


def test_a_scale_above_one_enlarges(image):
    larger = augment_batch(image, drawn(1, scale=1.0), Augmentation(affine=Affine(scale=(1.0, 2.0))))
    torch.testing.assert_close(larger[:, :2], image[:, :2] / 2, atol=1e-6, rtol=0)  # its ramps rise half as steeply


@pytest.mark.parametrize(("draw", "shift"), [(0.0, -2), (0.39, -1), (0.5, 0), (0.999, 2)])
def test_a_padded_crop_shifts_by_whole_pixels_and_reflects_the_edge(image, draw, shift):
    shifted = augment_batch(image, drawn(1, crop_row=draw), Augmentation(pad_crop=2))
    rows = [abs(row + shift) if row + shift < 12 else 22 - row - shift for row in range(12)]
    assert shifted.equal(image[:, :, rows])


def test_every_whole_shift_is_equally_likely():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16).expand(5000, -1, -1, -1)
    shifted = augment_batch(ramp, image_uniforms(0, 0, np.arange(5000), UNIFORMS), Augmentation(pad_crop=2))
    counts = torch.bincount(shifted[:, 0, 8, 8].long(), minlength=16)[6:11]
    assert counts.sum() == 5000
    assert (counts - 1000).abs().max() < 5 * np.sqrt(1000 * 0.8)


def test_an_augmentation_keeps_its_draws_when_another_is_switched_on():
    images = torch.rand(6, 3, 8, 8)
    uniforms = image_uniforms(0, 0, np.arange(6), UNIFORMS)
    flipped = augment_batch(images, uniforms, Augmentation(flip=True))
    both = augment_batch(images, uniforms, Augmentation(flip=True, pad_crop=2))
    assert augment_batch(flipped, uniforms, Augmentation(pad_crop=2)).equal(both)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8))


@pytest.mark.parametrize("name", OF_EACH_IMAGE)
def test_each_image_s_augmentations_change_it_by_its_draws_alone(noise, name):
    augmentation = Augmentation(**{name: OF_EACH_IMAGE[name]})
    uniforms = image_uniforms(0, 0, np.arange(40), UNIFORMS)
    before = noise.clone()
    first, again = ([augment_image(noise, row, augmentation, PREPROCESS) for row in uniforms] for _ in range(2))
    assert noise.equal(before)
    assert all(one.equal(other) for one, other in zip(first, again, strict=True))
    assert len({result.numpy().tobytes() for result in first}) > 20


@pytest.mark.parametrize("name", OF_EACH_IMAGE)
def test_a_image_s_augmentation_keeps_its_draws_when_jitter_is_switched_on(noise, name):
    settings = {name: OF_EACH_IMAGE[name]}
    uniforms = image_uniforms(0, 0, np.arange(5), UNIFORMS)
    jitter = Augmentation(color_jitter=OF_EACH_IMAGE["color_jitter"])
    for row in uniforms:
        alone = augment_image(noise, row, Augmentation(**settings), PREPROCESS)
        both = augment_image(noise, row, Augmentation(**{**vars(jitter), **settings}), PREPROCESS)
        assert both.equal(alone if name == "color_jitter" else augment_image(alone, row, jitter, PREPROCESS))


def test_a_moved_image_of_timm_is_filled_with_the_mean_and_resampled_as_the_crop_is(noise):
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


def test_a_crop_is_resampled_as_it_says(noise):
    image = noise.permute(1, 2, 0).numpy()
    uniforms = image_uniforms(0, 0, np.array([3]), UNIFORMS)[0]
    results = {}
    for draw in (0.2, 0.7):
        uniforms[29] = draw
        for interpolation in ("same", "bilinear", "bicubic", "random"):
            crop = Augmentation(random_resized_crop=RandomResizedCrop(interpolation=interpolation))
            results[interpolation, draw] = resized(image, uniforms, crop, PREPROCESS).numpy().tobytes()
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
def test_two_of_a_kind_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation has {sentence}. Leave the others out.$"):
        Augmentation(**settings)


@pytest.mark.parametrize("value", [9, {"magnitude": 9}])
def test_a_randaugment_of_no_scale_is_refused_with_the_three(value):
    with pytest.raises(UserError) as refused:
        Augmentation(randaugment=value)
    assert str(refused.value) == (
        f"augmentation.randaugment={value} does not say on whose scale: write randaugment_tf, randaugment_timm or "
        "randaugment_torchvision in its place, whose magnitudes mean different things."
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Affine(degrees=-1.0), "affine.degrees=-1.0 is not possible: it must be between 0 and 180"),
        (lambda: Affine(scale=(1.2, 0.8)), "affine.scale=.1.2, 0.8. is not possible: .* 0 < low <= high"),
        (lambda: Affine(translate=1.0), "affine.translate=1.0 is not possible"),
        (lambda: Augmentation(pad_crop=-1), "pad_crop=-1 is not possible: it must be a number of pixels, at least 0"),
    ],
)
def test_impossible_settings_are_refused(make, sentence):
    with pytest.raises(UserError, match=f"^augmentation.{sentence}"):
        make()
