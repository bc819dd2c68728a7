"""The preview shows images as in the training."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.training.job import resolve
from mixlab.training.planning.preview import EPOCHS, Preview, preview, target_text
from mixlab.training.planning.preview_page import preview_page
from mixlab.training.recipes.parse import parse_training_recipe


@pytest.fixture
def previewed(shades: Dataset, tiny_recipe: dict[str, Any]):
    """A function that previews training images of the shades with the given augmentation."""

    def of(images: int = 6, dataset: Dataset = shades, **augmentation: Any) -> Preview:
        recipe = parse_training_recipe(tiny_recipe | {"augmentation": augmentation}, "tiny")
        return preview(resolve(recipe, dataset, torch.device("cpu")), images, quiet=True)

    return of


def test_without_augmentation_each_epoch_shows_the_image_as_it_is_evaluated(previewed, shades):
    for seen in previewed().images:
        place = shades.splits["train"].names.index(seen.name)
        assert np.array_equal(seen.original, shades.splits["train"].image(place))
        assert len(seen.epochs) == EPOCHS
        assert all(np.array_equal(image, seen.evaluated) for image in seen.epochs)


def test_images_are_selected_in_proportion_to_the_classes(previewed):
    assert [seen.label for seen in previewed(6).images] == ["dark"] * 3 + ["light"] * 3


def test_at_most_all_images_are_shown(previewed):
    assert len(previewed(1000).images) == 40


def test_versions_differ_between_epochs_and_are_reproducible(previewed):
    augmentation = {"pad_crop": 3, "flip": True}
    first, again = previewed(**augmentation), previewed(**augmentation)
    assert any(not np.array_equal(seen.epochs[0], seen.epochs[1]) for seen in first.images)
    for one, other in zip(first.images, again.images, strict=True):
        assert all(map(np.array_equal, one.epochs, other.epochs))


def test_mixed_images_have_their_targets(previewed):
    shown = previewed(mixup={"alpha": 1.0}).mixed
    assert len(shown) == 6
    assert all(one.target.endswith(("dark", "light")) for one in shown)
    assert any(", " in one.target for one in shown)


def test_without_mixing_there_is_no_mixed_batch(previewed):
    assert previewed().mixed == []


def test_a_preview_does_not_change_the_generator_of_torch(previewed):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    previewed(mixup={"alpha": 1.0})
    assert torch.equal(torch.rand(3), expected)


def test_unreadable_images_are_named_and_the_others_are_shown(previewed, shades, tmp_path):
    train = shades.splits["train"]
    broken = replace(train, images=[tmp_path / "gone.png", *train.images[1:]])
    found = previewed(40, dataset=replace(shades, splits=shades.splits | {"train": broken}))
    assert found.unreadable == {"train/0": "no such file or directory"}
    assert len(found.images) == 39
    html = preview_page(found).html()
    assert "train/0 can&#x27;t be read: no such file or directory." in html
    assert "39 images at 8x8\N{NO-BREAK SPACE}pixels" in html and "1 image can&#x27;t be read" in html


def test_without_readable_images_the_error_is_that_of_the_training(previewed, shades, tmp_path):
    train = shades.splits["train"]
    broken = replace(train, images=[tmp_path / "gone.png"] * len(train))
    with pytest.raises(UserError, match="40 images can't be read"):
        previewed(40, dataset=replace(shades, splits=shades.splits | {"train": broken}))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ([0.62, 0.38, 0.0], "62 % cat, 38 % dog"),
        ([0.38, 0.62, 0.0], "62 % dog, 38 % cat"),
        ([0.995, 0.0, 0.005], "100 % cat"),
        ([0.25, 0.25, 0.5], "50 % owl, 25 % cat, 25 % dog"),
    ],
)
def test_a_target_is_shown_in_per_cent(target, text):
    assert target_text(torch.tensor(target), ("cat", "dog", "owl")) == text


def test_the_page_shows_every_version_and_the_mixed_batch(previewed):
    found = previewed(mixup={"alpha": 1.0})
    html = preview_page(found).html()
    assert html.count("<img") == 6 * (2 + EPOCHS) + 6
    assert all(one.target in html for one in found.mixed)
    assert "[augmentation.mixup]" in html and "http" not in html.partition("<body>")[2]


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_the_window_without_browser_errors(previewed, opened, width):
    assert opened(preview_page(previewed(mixup={"alpha": 1.0})).html(), width) == (width, "")
