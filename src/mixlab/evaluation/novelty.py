"""Novelty detection: is an image unlike all training images? A run stores the answer in novelty.safetensors.

The score of an image is the distance of its feature vector to the k-th nearest vector of the training images, after all
vectors are scaled to length 1 (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors", section
3). The threshold is a split-conformal quantile of the scores of validation images (Vovk et al. 2005, "Algorithmic
learning in a random world"; Lei et al. 2018, "Distribution-free predictive inference for regression", section 2.2).
Nothing is tuned on other images.

Axes:  image    an image to check
       stored   a training image whose features are stored
       channel  of the feature vector, which is the input of the head
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mixlab.errors import UserError
from mixlab.files import atomic_file, translate_read_errors
from mixlab.runs.folder import Run

MAX_STORED = 5_000
"""At most this many training images are stored."""

MAX_VALIDATION = 2_000
"""The threshold is computed from at most this many validation images."""

MIN_VALIDATION = 39
"""Below this number of validation images, the threshold would be the distance of a single image, the farthest one."""

_ONE_IN = 20
"""At most one in so many images that are like the validation images is flagged."""

FALSE_ALARM_RATE = 1 / _ONE_IN

_IMAGES_PER_NEIGHBOUR = 1_000
"""k is the number of stored images divided by this, and at least 1."""


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Flags images whose features are farther from those of the training images than is usual.

    features           of training images, with length 1
    neighbour          k: the distance to the k-th nearest of them is the score
    threshold          images with a larger distance are flagged; from 0 to 2
    validation_images  the number of images that the threshold was computed from
    """

    features: Float16[np.ndarray, "stored channel"]
    neighbour: int
    threshold: float
    validation_images: int

    def distances(self, vectors: Float32[np.ndarray, "image channel"]) -> Float32[np.ndarray, " image"]:
        """The distance of each feature vector to the k-th nearest stored one, from 0 to 2."""
        cosines = _with_length_1(vectors) @ self._stored.T
        nearest = np.partition(cosines, -self.neighbour, axis=1)[:, -self.neighbour]
        return np.sqrt(np.maximum(2 - 2 * nearest, 0))

    def flags(self, vectors: Float32[np.ndarray, "image channel"]) -> Bool[np.ndarray, " image"]:
        """Whether each feature vector is unlike those of all training images; True if it is not finite."""
        return ~(self.distances(vectors) <= self.threshold)

    @property
    def false_alarm_interval(self) -> tuple[float, float]:
        """The range, from 0 to 1, that contains the false-alarm rate of 95 % of the detectors with as many validation
        images; over all of them, the mean rate is at most `FALSE_ALARM_RATE`.

        Given its validation images, the rate of a detector has a beta distribution (Vovk 2012, "Conditional validity of
        inductive conformal predictors", section 2).
        """
        from scipy.stats import beta

        flagged = _allowed_alarms(self.validation_images)
        low, high = beta.ppf([0.025, 0.975], flagged, self.validation_images + 1 - flagged)
        return float(low), float(high)

    def write(self, path: Path) -> None:
        """Write a safetensors file. Raises UserError if the disk is full."""
        arrays = {
            "features": self.features,
            "neighbour": np.array(self.neighbour),
            "threshold": np.array(self.threshold),
            "validation_images": np.array(self.validation_images),
        }
        with atomic_file(path) as temporary:
            temporary.write_bytes(save(arrays))

    @cached_property
    def _stored(self) -> Float32[np.ndarray, "stored channel"]:
        return _with_length_1(self.features.astype(np.float32))


def fit_novelty_detector(
    training: Float32[np.ndarray, "stored channel"], validation: Float32[np.ndarray, "image channel"]
) -> NoveltyDetector | None:
    """A detector from feature vectors; None if there are fewer than `MIN_VALIDATION` validation images.

    validation  of images that are not training images

    If a new image is drawn like the validation images (exchangeable with them), the probability that it is flagged is
    at most `FALSE_ALARM_RATE`.
    """
    if len(validation) < MIN_VALIDATION:
        return None
    features = _with_length_1(training).astype(np.float16)
    neighbour = max(1, round(len(features) / _IMAGES_PER_NEIGHBOUR))
    detector = NoveltyDetector(features, neighbour, 2.0, len(validation))
    return NoveltyDetector(features, neighbour, _threshold(detector.distances(validation)), len(validation))


def read_novelty_detector(path: Path) -> NoveltyDetector:
    """Read the file that `NoveltyDetector.write` wrote. Raises UserError if it is damaged."""
    try:
        with translate_read_errors(path), path.open("rb"), safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): copy the whole folder again.") from error
    numbers = {name: arrays[name].item() for name in ("neighbour", "threshold", "validation_images")}
    return NoveltyDetector(arrays["features"], **numbers)


def novelty_detector_of(source: str | Path) -> NoveltyDetector | None:
    """The detector in a run's folder; None for other weights, and for a run without one.

    source  any source that `mixlab.load` accepts

    Raises UserError if the file is damaged.
    """
    file = Run(Path(source).expanduser()).novelty
    return read_novelty_detector(file) if file.is_file() else None


def _threshold(distances: Float[np.ndarray, " image"]) -> float:
    """The smallest distance that flags at most one in `_ONE_IN` images, counting the new image as one of them."""
    return float(np.sort(distances)[len(distances) - _allowed_alarms(len(distances))])


def _allowed_alarms(validation_images: int) -> int:
    return (validation_images + 1) // _ONE_IN


def _with_length_1(vectors: Float32[np.ndarray, "image channel"]) -> Float32[np.ndarray, "image channel"]:
    """The vectors divided by their lengths. A vector of zeros is unchanged, so it is far from all others."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)
