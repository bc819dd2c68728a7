"""Images that weights have learned from are left out, and near copies are counted."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.evaluation import unseen_images as module
from mixlab.evaluation.training_images import TrainingImages, record_training_images
from mixlab.evaluation.unseen_images import UnseenImages, learned_validation_notes, leave_out, unseen_in_training
from mixlab.runs.folder import Run


def scene(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(values).resize((48, 40), Image.Resampling.BICUBIC))


def split(*images: np.ndarray, prefix: str = "") -> Split:
    """Images with the labels 0, 1, 0, 1 and so on."""
    return Split([f"{prefix}{index}" for index in range(len(images))], np.arange(len(images)) % 2, list(images))


LEARNED = [scene(seed) for seed in range(6)]
OTHERS = [scene(seed) for seed in range(100, 106)]
TRAINED = Dataset("trained", ("a", "b"), {"train": split(*LEARNED[:4]), "validation": split(*LEARNED[4:])})


def unseen(*images: np.ndarray, learned: TrainingImages | None = None) -> UnseenImages:
    """Evaluate images after a training on `LEARNED`."""
    record = record_training_images(TRAINED, quiet=True) if learned is None else learned
    dataset = Dataset("folder:new", ("a", "b"), {"test": split(*images)})
    return leave_out(dataset, ("test",), record, "runs/a", quiet=True)


def test_training_and_validation_images_are_left_out():
    result = unseen(*OTHERS[:2], LEARNED[0], LEARNED[5], *OTHERS[2:])
    assert result.dataset.splits["test"].names == ["0", "1", "4", "5", "6", "7"]
    assert (result.left_out, result.near_copies) == (2, 0)
    assert result.notes == ("Left out: 2 of 8 images, which are training or validation images of runs/a.",)


def test_a_dataset_without_training_images_is_unchanged():
    result = unseen(*OTHERS)
    assert (len(result.dataset.splits["test"]), result.left_out, result.notes) == (6, 0, ())


@pytest.mark.parametrize(("validation", "count"), [(LEARNED[3:], 3), (OTHERS, 0)])
def test_learned_validation_images_are_a_warning(tmp_path, validation, count):
    weights = Run(tmp_path).weights
    weights.touch()
    record_training_images(TRAINED, quiet=True).write(Run(tmp_path).training_images)
    dataset = Dataset("new", ("a", "b"), {"train": split(*OTHERS), "validation": split(*validation)})
    notes = learned_validation_notes(dataset, [str(weights)], quiet=True)
    expected = (
        f"Warning: {count} of 3 validation images are training or validation images of {weights}, so the validation "
        "accuracy of this training is too high.",
    )
    assert notes == (expected if count else ())


def test_near_copies_are_counted_and_named_and_stay():
    brighter = (LEARNED[0].astype(np.float32) * 1.1).clip(0, 255).astype(np.uint8)
    result = unseen(*OTHERS[:2], brighter)
    assert (len(result.dataset.splits["test"]), result.left_out, result.near_copies) == (3, 0, 1)
    assert result.notes == (
        "Warning: 1 of 3 evaluated images is a near copy of training or validation images of runs/a, so the accuracy "
        "may be too high: 2.",
    )


def test_near_copies_are_not_searched_among_many_images(monkeypatch):
    monkeypatch.setattr(module, "MAX_HASHED", 5)
    result = unseen(*OTHERS)
    assert result.near_copies is None
    assert result.notes == (
        "Near copies of training images, such as re-encoded ones, were not searched: the training images are only "
        "recorded by their digests, as in an exported model and for more than 5 images.",
    )


def test_without_a_record_the_notes_say_that_the_training_images_are_unknown():
    result = unseen(*LEARNED, learned=TrainingImages(unknown=("runs/a", "davit_tiny.msft_in1k")))
    assert (len(result.dataset.splits["test"]), result.near_copies) == (6, None)
    assert result.notes == (
        "The training images of runs/a and davit_tiny.msft_in1k are unknown: if evaluated images are among them, the "
        "accuracy is too high.",
    )


def test_an_evaluation_on_training_images_alone_is_refused():
    with pytest.raises(
        UserError,
        match="All 6 images of folder:new are training or validation images of runs/a, so no accuracy can be measured "
        "on them: give images that were not used in training",
    ):
        unseen(*LEARNED)


def test_a_class_of_training_images_alone_is_refused():
    with pytest.raises(
        UserError,
        match='folder:new has only training or validation images of runs/a in the class "b", so no accuracy can be '
        "measured: add images of this class that were not used in training, or remove the class",
    ):
        unseen(OTHERS[0], LEARNED[1], OTHERS[2], LEARNED[3])


def test_test_images_that_are_training_images_are_left_out_of_the_dataset_itself():
    dataset = replace(TRAINED, splits=TRAINED.splits | {"test": split(*OTHERS, LEARNED[2], prefix="test/")})
    result = unseen_in_training(dataset, quiet=True)
    assert result.dataset.splits["test"].names == [f"test/{index}" for index in range(6)]
    assert result.dataset.splits["train"] is dataset.splits["train"]
    assert result.notes[0] == "Left out: 1 of 7 images, which are training or validation images of trained."
