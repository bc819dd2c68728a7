"""Class probabilities for every image of a dataset, each from a model that was not fitted to this image or its label.

With weights, linear heads are fitted on their features. Without, a model is trained from scratch once for each fold of
the training images, and the test images are predicted by all of these models.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int64

from mixlab.comparison.candidates import make_candidate
from mixlab.comparison.cross_validation import cross_validate, require_every_class
from mixlab.comparison.trainings import predicted_probabilities
from mixlab.data.dataset import Dataset, Split
from mixlab.data.decoding import with_common_decoding
from mixlab.data.folds import make_folds, training_folds
from mixlab.data.holdout import group_samples
from mixlab.data.value_range import range_notes
from mixlab.evaluation.probes.features import features, open_backbone
from mixlab.evaluation.unseen_images import unseen_by_weights, unseen_in_training
from mixlab.measure import machine
from mixlab.report.numbers import duration
from mixlab.report.progress import Log
from mixlab.training.linear_probe.recipe import RIDGES
from mixlab.training.recipes.schema import Checkpoints, Subset
from mixlab.training.runner import plan_trainings, run_all
from mixlab.training.training import estimated_seconds

_BATCH = 32  # images


@dataclass(frozen=True, eq=False)
class LabelPredictions:
    """Out-of-fold predictions.

    images         the predicted images, split by split
    splits         the name of the split of each of them
    group_ids      copies and near duplicates have the same number
    probabilities  0 to 1
    left_out       the number of images that are not predicted, because the models have learned from them or a copy
    notes          sentences for the user
    """

    images: Split
    splits: tuple[str, ...]
    group_ids: Int64[np.ndarray, " image"]
    probabilities: Float[np.ndarray, "image class"]
    left_out: int
    notes: tuple[str, ...]


def predict_with_heads(dataset: Dataset, weights: str, folds: int, *, quiet: bool, log: Log) -> LabelPredictions:
    """Predict all images that `weights` has not learned from, by heads on its features in `folds` folds.

    The folds, the heads and the cache of the features are those of `mixlab.comparison.compare_pretrained`.

    Raises UserError if the weights can't be loaded, an image can't be read, no image of a class is left, or a class has
    too few different images.
    """
    backbone = open_backbone(weights)
    backbone = replace(backbone, preprocess=with_common_decoding(backbone.preprocess, dataset.splits["train"]))
    unseen = unseen_by_weights(dataset, tuple(dataset.splits), [weights], quiet=quiet)
    cv_folds = make_folds(unseen.dataset, folds, quiet=quiet)
    rounds = list(cv_folds.rounds())
    split = cv_folds.images.split
    require_every_class(dataset, split, rounds)
    notes = (*unseen.notes, *cv_folds.notes, *range_notes(backbone.preprocess))
    device = machine.pick_device()
    for note in (*notes, f"Features of {weights} on {machine.device_name(device)}."):
        log(note)
    computed = features(backbone, split, device, batch=_BATCH, quiet=quiet)
    predicted = cross_validate(computed, rounds, len(dataset.classes), RIDGES)
    return LabelPredictions(
        images=split,
        splits=_split_names(unseen.dataset),
        group_ids=cv_folds.images.group_ids,
        probabilities=predicted.probabilities,
        left_out=unseen.left_out,
        notes=notes,
    )


def predict_with_trainings(dataset: Dataset, model: str, folds: int, *, quiet: bool, log: Log) -> LabelPredictions:
    """Predict all images by `folds` trainings of `model` with its default recipe, each without one fold.

    The folds divide the train and validation splits. Test images are in no fold: their probabilities are the mean of
    those of all trainings, and those that are copies of other images are left out. Finished trainings are taken from
    the store.

    Raises UserError if the model does not fit the data, an image can't be read, or a class has fewer different images
    than there are folds.
    """
    merged = dataset.merge_validation()
    unseen = unseen_in_training(merged, quiet=quiet)
    cv_folds = training_folds(merged, folds)
    job = make_candidate(model, dataset, image_size=None, epochs=None, config={}).job
    notes = (*unseen.notes, *cv_folds.notes, *range_notes(job.image_preprocess))
    for note in notes:
        log(note)
    subsets = [Subset(folds=folds, left_out_fold=fold) for fold in range(folds)]
    recipes = [job.recipe.model_copy(update={"subset": each, "checkpoints": Checkpoints(keep=1)}) for each in subsets]
    trainings = plan_trainings(recipes, dataset, job.device, log)
    log(
        f"{folds} trainings of {model}, about {duration(estimated_seconds(trainings))} without those that are finished "
        "already."
    )
    train, test = cv_folds.images.split, unseen.dataset.splits["test"]
    rounds = list(cv_folds.rounds())
    of_train = np.empty((len(train), len(dataset.classes)))
    of_test = np.zeros((len(test), len(dataset.classes)))
    for index, run in run_all(trainings, log=log, quiet=quiet):
        fold = rounds[index].test
        evaluated = replace(merged, splits={"test": train.subset(fold).concat(test)})
        probabilities = predicted_probabilities(run, evaluated, job.device)
        of_train[fold] = probabilities[: len(fold)]
        of_test += probabilities[len(fold) :] / folds
    groups = cv_folds.images.group_ids
    return LabelPredictions(
        images=train.concat(test),
        splits=_split_names(replace(dataset, splits={**dataset.splits, "test": test})),
        group_ids=np.concatenate([groups, groups.max() + 1 + group_samples(test).group_ids]),
        probabilities=np.concatenate([of_train, of_test]),
        left_out=unseen.left_out,
        notes=notes,
    )


def _split_names(dataset: Dataset) -> tuple[str, ...]:
    """The split of each image, split by split."""
    return tuple(name for name, split in dataset.splits.items() for _ in range(len(split)))
