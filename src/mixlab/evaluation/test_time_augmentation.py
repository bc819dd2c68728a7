"""Test-time augmentation: the logits of several views of an image are averaged.

    predict = below_confidence(model, flipped_and_shifted(model), confidence=0.9)

The views are those of airbench (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
https://arxiv.org/abs/2404.00498). A model is called once for each view, so evaluation takes that many times as long.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Predict = Callable[[Float[Tensor, "image 3 row column"]], Float[Tensor, "image class"]]
"""Maps preprocessed images to logits."""


def flipped(predict: Predict) -> Predict:
    """The mean logits of an image and its mirror image: two views."""
    return lambda images: (predict(images) + predict(images.flip(-1))) / 2


def flipped_and_shifted(predict: Predict) -> Predict:
    """The mean logits of an image, shifted by no pixel or by one pixel along the diagonal, and mirrored: six views.

    Half of the weight is on the two views without a shift, a quarter on those shifted by one pixel to the lower right,
    a quarter on those shifted to the upper left. Pixels beyond the border are mirrored.
    """
    mirrored = flipped(predict)

    def average(images: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image class"]:
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        shifted = mirrored(padded[:, :, :-2, :-2]) + mirrored(padded[:, :, 2:, 2:])
        return mirrored(images) / 2 + shifted / 4

    return average


def below_confidence(predict: Predict, augmented: Predict, confidence: float) -> Predict:
    """`augmented` for the images that `predict` is less sure of than `confidence`, and `predict` for the others.

    confidence  of an image: the largest softmax probability, in [0, 1]
    """

    def mixed(images: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image class"]:
        logits = predict(images)
        uncertain = logits.float().softmax(dim=1).amax(dim=1) < confidence
        if uncertain.any():
            logits = logits.clone()
            logits[uncertain] = augmented(images[uncertain])
        return logits

    return mixed


AUGMENTATIONS: dict[str, Callable[[Predict], Predict]] = {"flip": flipped, "flip-shift": flipped_and_shifted}
"""The augmentations by name."""
