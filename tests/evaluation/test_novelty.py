"""Novelty detectors: distances, the threshold and its guarantee, and the file."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mixlab.errors import UserError
from mixlab.evaluation.novelty import (
    FALSE_ALARM_RATE,
    NoveltyDetector,
    fit_novelty_detector,
    novelty_detector_of,
    read_novelty_detector,
)


def vectors(n_images: int, seed: int, channels: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_images, channels)).astype(np.float32)


def fitted(n_training: int = 60, n_validation: int = 59) -> NoveltyDetector:
    detector = fit_novelty_detector(vectors(n_training, 0), vectors(n_validation, 1))
    assert detector is not None
    return detector


def brute_force(stored: np.ndarray, images: np.ndarray, neighbour: int) -> list[float]:
    """The distance of each vector to the `neighbour`-th nearest stored one, after scaling to length 1, in float64."""
    units = [row / np.sqrt((row**2).sum()) for row in stored.astype(np.float64)]
    return [
        sorted(float(np.sqrt(((image / np.sqrt((image**2).sum()) - unit) ** 2).sum())) for unit in units)[neighbour - 1]
        for image in images.astype(np.float64)
    ]


@pytest.mark.parametrize(("n_training", "neighbour"), [(1, 1), (60, 1), (1_499, 1), (1_501, 2), (2_600, 3), (5_000, 5)])
def test_the_score_is_the_distance_to_the_kth_nearest_training_image(n_training, neighbour):
    detector, images = fitted(n_training), vectors(20, 2)
    assert detector.neighbour == neighbour
    assert detector.distances(images) == pytest.approx(brute_force(detector.features, images, neighbour), abs=1e-5)


def test_stored_features_are_those_of_the_training_images_in_half_precision():
    training = vectors(60, 0)
    lengths = np.linalg.norm(training, axis=1, keepdims=True)
    assert fitted().features.dtype == np.float16
    assert fitted().features == pytest.approx(training / lengths, abs=2**-11)


def test_the_length_of_a_vector_does_not_matter():
    detector, images = fitted(), vectors(20, 2)
    assert detector.distances(1000 * images) == pytest.approx(detector.distances(images), abs=1e-6)


@pytest.mark.parametrize(("n_validation", "flagged"), [(39, 1), (58, 1), (59, 2), (199, 9), (2_000, 99)])
def test_the_threshold_is_the_conformal_quantile_of_the_validation_distances(n_validation, flagged):
    """The ceil((n + 1) (1 - 0.05))-th smallest of n distances is the threshold, and larger ones are flagged."""
    detector, validation = fitted(n_validation=n_validation), vectors(n_validation, 1)
    assert flagged == n_validation - -(-(n_validation + 1) * 19 // 20)
    assert detector.flags(validation).sum() == flagged
    assert detector.threshold == np.sort(detector.distances(validation))[-flagged - 1]
    assert detector.validation_images == n_validation


@pytest.mark.parametrize("n_validation", [0, 1, 38])
def test_with_few_validation_images_there_is_no_detector(n_validation):
    assert fit_novelty_detector(vectors(60, 0), vectors(n_validation, 1)) is None


@pytest.mark.long
@pytest.mark.parametrize("n_validation", [39, 130])
def test_the_rate_of_false_alarms_is_the_stated_one(n_validation):
    """2,000 detectors, each evaluated on 400 images like its validation images."""
    generator = np.random.default_rng(0)
    rates, inside = [], []
    for _ in range(2_000):
        training, validation, images = (
            generator.standard_gamma(2, size=(count, 4)).astype(np.float32) for count in (30, n_validation, 400)
        )
        detector = fit_novelty_detector(training, validation)
        assert detector is not None
        rates.append(detector.flags(images).mean())
        low, high = detector.false_alarm_interval
        noise = 2 * np.sqrt(rates[-1] * (1 - rates[-1]) / 400)  # of the rate on 400 images
        inside.append(low - noise <= rates[-1] <= high + noise)
    expected = (n_validation + 1) // 20 / (n_validation + 1)
    assert expected <= FALSE_ALARM_RATE
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / np.sqrt(len(rates)))
    assert np.mean(inside) > 0.95


def test_the_interval_of_the_rate_is_that_of_the_beta_distribution():
    """Beta(2, 38) for 39 images: its distribution function is the probability of 2 or more of 39 binomial successes."""
    low, high = fitted(n_validation=39).false_alarm_interval
    for rate, probability in ((low, 0.025), (high, 0.975)):
        assert 1 - (1 - rate) ** 39 - 39 * rate * (1 - rate) ** 38 == pytest.approx(probability, abs=1e-9)


def test_vectors_without_a_direction_are_flagged():
    images = np.zeros((3, 6), dtype=np.float32)
    images[1], images[2] = np.nan, np.inf
    detector = fitted()
    assert detector.distances(images[:1]) == pytest.approx(2**0.5)
    with np.errstate(invalid="ignore"):
        assert detector.flags(images).tolist() == [True, True, True]


def test_a_written_detector_is_read_unchanged(tmp_path):
    detector = fitted()
    detector.write(tmp_path / "novelty.safetensors")
    read = novelty_detector_of(tmp_path)
    assert read is not None and np.array_equal(read.features, detector.features)
    assert read.features.dtype == np.float16
    assert (read.neighbour, read.threshold, read.validation_images) == (1, detector.threshold, 59)
    assert np.array_equal(read.flags(vectors(50, 2)), detector.flags(vectors(50, 2)))


def test_the_number_of_the_neighbour_is_that_of_the_file(tmp_path):
    detector = NoveltyDetector(fitted().features, 4, 0.5, 59)
    detector.write(tmp_path / "file")
    assert load_file(tmp_path / "file")["neighbour"] == 4
    assert read_novelty_detector(tmp_path / "file").distances(vectors(9, 2)) == pytest.approx(
        brute_force(detector.features, vectors(9, 2), 4), abs=1e-5
    )


def test_a_damaged_file_is_an_error(tmp_path):
    file = tmp_path / "novelty.safetensors"
    fitted().write(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"novelty\.safetensors is damaged \(.*\): copy the whole folder again\."):
        novelty_detector_of(tmp_path)


@pytest.mark.parametrize("source", ["mixer_b16.goog_in1k", "hub:owner/name", Path("nowhere")])
def test_other_weights_have_no_detector(source):
    assert novelty_detector_of(source) is None


def test_a_weights_file_has_no_detector_because_its_preprocessing_is_unknown(tmp_path):
    fitted().write(tmp_path / "novelty.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert novelty_detector_of(tmp_path / "model.safetensors") is None
