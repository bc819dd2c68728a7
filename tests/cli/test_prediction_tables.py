"""The rows of sounds and their excerpts, and how many of them are flagged."""

from pathlib import Path

import numpy as np
import pytest

from mixlab.cli.prediction_tables import with_excerpts, with_labels
from mixlab.evaluation.novelty import NoveltyDetector
from mixlab.prediction.predictor import ExcerptPrediction, Prediction

DETECTOR = NoveltyDetector(np.ones((1, 1), np.float16), 1, 1e-3, 40)


def prediction(cat: float, *, unlike: bool | None, excerpts: tuple[ExcerptPrediction, ...] = ()) -> Prediction:
    label = "cat" if cat > 0.5 else "dog"
    return Prediction(("cat", "dog"), np.array([cat, 1 - cat]), (label,), unlike, excerpts)


@pytest.fixture
def sound() -> Prediction:
    parts = (prediction(0.75, unlike=True), prediction(0.25, unlike=False), prediction(0.125, unlike=True))
    excerpts = tuple(ExcerptPrediction(0.5 * place, 0.5 * place + 1, part) for place, part in enumerate(parts))
    return prediction(0.375, unlike=True, excerpts=excerpts)


def test_a_row_for_each_sound_counts_the_flagged_sounds(sound):
    kind = with_labels("sound", 2)
    table = kind.table(kind.rows_of(Path("a.wav"), sound), DETECTOR)
    assert table.title == "1 sound"
    assert table.rows == [
        {
            "sound": "a.wav",
            "label_1": "dog",
            "probability_1": 0.625,
            "label_2": "cat",
            "probability_2": 0.375,
            "unlike_training_sounds": "yes",
        }
    ]
    assert table.all_notes[0].startswith("unlike the training sounds: 1 sound. Do not trust the label of such a sound.")


def test_a_row_for_each_excerpt_counts_the_flagged_excerpts(sound):
    kind = with_excerpts(1)
    table = kind.table(kind.rows_of(Path("a.wav"), sound), DETECTOR)
    assert table.title == "3 excerpts"
    assert [list(row.values()) for row in table.rows] == [
        ["a.wav", 0.0, 1.0, "cat", 0.75, "yes"],
        ["a.wav", 0.5, 1.5, "dog", 0.75, "no"],
        ["a.wav", 1.0, 2.0, "dog", 0.875, "yes"],
    ]
    assert table.all_notes[0].startswith(
        "unlike the training sounds: 2 excerpts. Do not trust the label of such an excerpt."
    )


def test_without_a_detector_there_are_no_flags():
    kind = with_labels("image", 1)
    table = kind.table(kind.rows_of(Path("a.png"), prediction(0.75, unlike=None)), None)
    assert [column.key for column in table.columns] == ["image", "label", "probability"]
    assert table.all_notes == []
