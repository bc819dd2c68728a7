"""The accuracy of a run on classes that it was not trained on, and on its training images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.data.subset import subset
from mixlab.evaluation.probes.features import features, open_backbone
from mixlab.evaluation.probes.few_shot import SEEDS, FewShot
from mixlab.measure.machine import pick_device
from mixlab.runs.folder import Run
from mixlab.studies.answers import correct_of
from mixlab.weights.load import load_pretrained

_BATCH = 256
_TRAIN_IMAGES = 2000


def few_shot_top1(run: Run, dataset: Dataset, classes: Sequence[str], shots: int) -> float:
    """Top-1 in per cent on the test images of `classes` by a linear classifier on frozen features of the run.

    The classifier is that of the MLP-Mixer paper (`mixlab.evaluation.probes.few_shot`), fitted to `shots` training
    images of each class; the mean over its random draws. Raises UserError if a class has fewer images.
    """
    backbone, device = open_backbone(run.path), pick_device()
    method, images = FewShot(shots), dataset.merge_validation()
    draws = [subset(images, classes=classes, per_class=shots, share=None, seed=seed) for seed in SEEDS]
    test = features(backbone, draws[0].splits["test"], device, batch=_BATCH, quiet=True)
    scores = []
    for draw in draws:
        train = features(backbone, draw.splits["train"], device, batch=_BATCH, quiet=True)
        predicted = method.fit(train, None, draw.classes).classifier.predict(test.values)
        scores.append(100 * float((predicted == test.labels).mean()))
    return float(np.mean(scores))


def train_top1(run: Run, dataset: Dataset) -> float:
    """Top-1 in per cent on the train split of `dataset` without augmentation; at most 2,000 images of it.

    dataset  as the run was trained on, after the subset of its recipe
    """
    train = dataset.splits["train"]
    spread = np.linspace(0, len(train) - 1, min(len(train), _TRAIN_IMAGES)).astype(int)
    shown = replace(dataset, splits={"test": train.subset(spread)})
    return 100 * float(correct_of(load_pretrained(run.path), shown).mean())
