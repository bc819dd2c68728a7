"""Views of an image, their weights, and augmentation of uncertain images only."""

import pytest
import torch

from mixlab.evaluation.test_time_augmentation import AUGMENTATIONS, below_confidence, flipped, flipped_and_shifted

WEIGHT = torch.randn(4, 3 * 5 * 6, generator=torch.Generator().manual_seed(0))


def predict(images):
    return (images**2).flatten(1) @ WEIGHT.T  # not linear in the images


@pytest.fixture
def images():
    return torch.randn(7, 3, 5, 6)


def test_flip_averages_the_logits_of_an_image_and_its_mirror_image(images):
    mirrored = torch.stack([torch.stack([channel.fliplr() for channel in image]) for image in images])
    torch.testing.assert_close(flipped(predict)(images), 0.5 * predict(images) + 0.5 * predict(mirrored))


def test_flip_shift_averages_six_views_with_the_weights_of_airbench(images):
    rows, columns = torch.arange(5), torch.arange(6)

    def shifted(by):  # positions beyond the border are mirrored at the border pixel
        def mirror(positions, size):
            return (size - 1 - (positions - (size - 1)).abs()).abs()

        return images[:, :, mirror(rows + by, 5)][:, :, :, mirror(columns + by, 6)]

    expected = sum(
        weight * (predict(view) + predict(view.flip(3)))
        for weight, view in ((1 / 4, images), (1 / 8, shifted(-1)), (1 / 8, shifted(1)))
    )
    torch.testing.assert_close(flipped_and_shifted(predict)(images), expected)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_weights_of_the_views_add_up_to_1(name, images):
    constant = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(
        AUGMENTATIONS[name](lambda views: constant.expand(len(views), 2))(images), constant.expand(7, 2)
    )


def test_only_images_below_the_confidence_are_augmented(images):
    confidence = predict(images).softmax(1).amax(1)
    threshold = float(confidence.median())
    logits = below_confidence(predict, flipped(predict), threshold)(images)
    sure = confidence >= threshold
    assert 0 < sure.sum() < 7
    assert logits[sure].equal(predict(images)[sure])
    torch.testing.assert_close(logits[~sure], flipped(predict)(images)[~sure])


def test_confident_images_cost_no_second_call(images):
    def never(views):
        raise AssertionError(len(views))

    assert below_confidence(predict, never, 0.0)(images).equal(predict(images))
