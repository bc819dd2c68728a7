"""Segmentation: each pixel has one class, or is ignored.

Axes:  image        images of the batch
       class        logits of a pixel
       row, column  pixels
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.mask_file import IGNORED
from mixlab.data.mask_sources import MASK_KINDS
from mixlab.data.masks import Masks
from mixlab.tasks.loss import Loss, given_class_weights
from mixlab.tasks.segmentation_metrics import confusion_of, mean_iou, pixel_accuracy, predicted_classes
from mixlab.tasks.task import Counts, SampleScore, Task

Logits = Float[Tensor, "image class row column"]
ClassIndices = Int64[Tensor, "image row column"]


def class_indices(masks: UInt8[Tensor, "image row column"], classes: int, loss: Loss) -> ClassIndices:
    """The class index of each pixel, or `IGNORED`."""
    return masks.long()


def unchanged(
    images: Float[Tensor, "image channel row column"], targets: ClassIndices, augmentation: Augmentation
) -> tuple[Float[Tensor, "image channel row column"], ClassIndices]:
    """Images and masks without mixing, which a recipe for this task can't have."""
    return images, targets


def class_pixel_weights(loss: Loss, labels: Masks, classes: tuple[str, ...]) -> Float[Tensor, " class"] | None:
    """The weights of `loss.class_weights`. "balanced" ones are inversely proportional to the pixels of a class.

    A class without pixels gets 0. Raises UserError if the number of weights is not that of `classes`.
    """
    if loss.class_weights != "balanced":
        return given_class_weights(loss, classes)
    pixels = labels.pixel_counts().sum(axis=0)
    weights = np.divide(pixels.sum(), len(classes) * pixels, out=np.zeros(len(classes)), where=pixels > 0)
    return torch.from_numpy(weights)


def pixel_loss(
    logits: Logits, targets: ClassIndices, loss: Loss, class_weights: Float[Tensor, " class"] | None = None
) -> Float[Tensor, ""]:
    """The mean over the images of the mean cross-entropy of their labelled pixels, so that all images count alike.

    An image without labelled pixels counts as 0. Class weights are factors of the terms of pixels.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = None if class_weights is None else class_weights.to(logits)
    smoothing = loss.label_smoothing
    terms = F.cross_entropy(logits, targets, weights, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
    labelled = (targets != IGNORED).sum(dim=(1, 2))
    return (terms.sum(dim=(1, 2)) / labelled.clamp(min=1)).mean()


def blank_targets(logits: Logits) -> ClassIndices:
    return torch.zeros_like(logits[:, 0], dtype=torch.int64)


def correct_pixels(logits: Logits, targets: ClassIndices) -> Counts:
    """Labelled pixels with the largest logit for their class, and all labelled pixels."""
    labelled = targets != IGNORED
    return {"correct_pixels": ((logits.argmax(dim=1) == targets) & labelled).sum(), "labelled_pixels": labelled.sum()}


def train_pixel_accuracy(sums: Counts, images: int) -> dict[str, float]:
    """{"pixel accuracy": per cent}."""
    return {"pixel accuracy": 100 * int(sums["correct_pixels"]) / max(int(sums["labelled_pixels"]), 1)}


def score(logits: Logits, masks: UInt8[Tensor, "image row column"]) -> Int64[np.ndarray, "true predicted"]:
    """The confusion matrix of a batch."""
    truth = masks.numpy(force=True).astype(np.int64)
    return confusion_of(truth, predicted_classes(logits), logits.shape[1]).sum(axis=0)


def validation_metrics(scores: Sequence[Int64[np.ndarray, "true predicted"]]) -> dict[str, float]:
    """{"mIoU": per cent, over the classes in truth or prediction, "pixel accuracy": per cent}; 0 where undefined."""
    confusion = np.sum(scores, axis=0)
    return {
        "mIoU": 100 * float(np.nan_to_num(mean_iou(confusion))),
        "pixel accuracy": 100 * float(np.nan_to_num(pixel_accuracy(confusion))),
    }


def miou_of_images(
    predicted: Int64[np.ndarray, "image row column"], masks: Int[np.ndarray, "image row column"]
) -> Float[np.ndarray, " image"]:
    """The mIoU of each image by itself; NaN without labelled pixels."""
    labelled = masks[masks != IGNORED]
    classes = int(max(predicted.max(), labelled.max(initial=0))) + 1
    return mean_iou(confusion_of(masks.astype(np.int64), predicted, classes))


def softmax(logits: Logits) -> Logits:
    return logits.softmax(dim=1)


SEGMENTATION = Task(
    name="segmentation",
    kinds=MASK_KINDS,
    losses=("softmax",),
    on_feature_maps=True,
    new_head=lambda head, loss: None,
    targets=class_indices,
    blank_targets=blank_targets,
    mix=unchanged,
    class_weights=class_pixel_weights,
    loss=pixel_loss,
    counts=correct_pixels,
    train_metrics=train_pixel_accuracy,
    score=score,
    metrics=validation_metrics,
    fitted=lambda scores: {},
    probabilities=softmax,
    predicted=lambda probabilities, fitted: np.argmax(probabilities, axis=0),
    sample_score=SampleScore(
        of=miou_of_images,
        key="image_miou",
        title="image mIoU",
        name="image mIoU",
        sentence="Its mean image mIoU on the test images is {value} %.",
        meaning="Image mIoU: the mean IoU of one image, over the classes in its mask or in the prediction.",
    ),
)
