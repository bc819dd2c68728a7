"""`Task`: everything in training, evaluation and prediction that depends on what is learned from the images.

A task is a value of functions, one module per task. Training and evaluation call these functions and know nothing else
about targets. docs/tasks.md describes how to add one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mixlab.data.any_preprocess import Inputs
from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.mask_batches import LabelTensor
from mixlab.data.sources import Kind
from mixlab.tasks.loss import Loss

Images = Inputs
"""Images, or the inputs of a task with others."""
Targets = Float[Tensor, "image ..."] | Int[Tensor, "image row column"]
"""What the loss compares the outputs with: one row per image. Rows that are mixed are floating-point."""
Outputs = Float[Tensor, "image ..."]
Counts = dict[str, Int[Tensor, "..."]]
"""Integers by name, which add up over batches and processes."""


@dataclass(frozen=True, kw_only=True)
class SampleScore:
    """How good the answer for one sample is, from 0 to 1. Comparisons of models compare the means over samples.

    of        (predicted, truth) -> the score of each sample; truth as in the labels of a split
    key       of the mean in JSON
    title     of the mean in tables and figures
    name      of the mean in sentences
    sentence  about a model, with the mean in per cent for {value} and the noun of a sample for {noun}
    meaning   what the score is, in a sentence; "" if its name says it
    """

    of: Callable[[np.ndarray, np.ndarray], Bool[np.ndarray, " sample"] | Float[np.ndarray, " sample"]]
    key: str
    title: str
    name: str
    sentence: str
    meaning: str = ""


@dataclass(frozen=True)
class Task:
    """What is learned from the images.

    name           as in recipes
    kinds          the forms of dataset names, and the readers of images and labels
    losses         the names of the losses that [loss] may have; the first one is the default
    on_feature_maps  whether a decoder on `feature_maps` takes the place of the model's head on `embed`
    new_head       initializes the new head of a model; weights from a file are not changed
    targets        (labels, number of classes, loss) -> targets, before mixing
    blank_targets  outputs -> targets of their shape, from which only the memory of the loss is estimated
    mix            (images, targets, augmentation) -> both, mixed with those of other images of the batch
    class_weights  (loss, labels of the training images, classes) -> the factor of each class in the loss, or None
    loss           (outputs, targets, loss, class weights) -> the mean loss over the images
    counts         (outputs, targets) -> counts of a training step
    train_metrics  (sums of counts over an epoch, number of images) -> metrics of the training images
    score          (outputs, labels) -> what is needed of a batch of validation images; can be pickled
    metrics        scores of all batches -> metrics of the validation images; the weights with the highest value of the
                   first one are saved
    fitted         scores of the best weights -> what prediction needs in addition to them, as JSON values
    probabilities  outputs -> probability of each class or label
    predicted      (probabilities of an image, fitted values) -> indices of what is predicted, the most probable first,
                   or the index of each pixel
    sample_score   what a comparison of models compares
    noun           what a sample is: "image" or "text"; models of a task read this kind of input
    """

    name: str
    kinds: Mapping[str, Kind]
    losses: tuple[str, ...]
    on_feature_maps: bool
    new_head: Callable[[nn.Module, Loss], None]
    targets: Callable[[LabelTensor, int, Loss], Targets]
    blank_targets: Callable[[Outputs], Targets]
    mix: Callable[[Images, Targets, Augmentation], tuple[Images, Targets]]
    class_weights: Callable[[Loss, Any, tuple[str, ...]], Float[Tensor, " class"] | None]
    loss: Callable[[Outputs, Targets, Loss, Float[Tensor, " class"] | None], Float[Tensor, ""]]
    counts: Callable[[Outputs, Targets], Counts]
    train_metrics: Callable[[Counts, int], dict[str, float]]
    score: Callable[[Outputs, LabelTensor], Any]
    metrics: Callable[[Sequence[Any]], dict[str, float]]
    fitted: Callable[[Sequence[Any]], dict[str, Any]]
    probabilities: Callable[[Outputs], Float[Tensor, "image class ..."]]
    predicted: Callable[[Float[np.ndarray, "class ..."], Mapping[str, Any]], Int[np.ndarray, "..."]]
    sample_score: SampleScore
    noun: str = "image"

    @property
    def embeds_images(self) -> bool:
        """Whether its models have an embedding of each image, by which an image can be compared with others."""
        return self.noun == "image" and not self.on_feature_maps


def add(sums: Counts, counts: Mapping[str, Tensor]) -> Counts:
    """The sums with the counts of another batch added."""
    return {name: sums[name] + count if name in sums else count for name, count in counts.items()}
