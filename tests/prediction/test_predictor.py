"""Predictor: one answer an image, whatever the image comes as."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mixlab
from mixlab.data.dataset import Dataset
from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.prediction import predictor as predictor_module
from mixlab.prediction.predictor import Prediction, Predictor
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.weights.load import load


@pytest.fixture
def run(tmp_path: Path, shades: Dataset, tiny_recipe) -> Run:
    job = resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, torch.device("cpu"))
    return train(job, Plan("cpu", ComputeMode(), micro_batch=8), tmp_path / "run", quiet=True)


@pytest.fixture
def predictor(run: Run) -> Predictor:
    return mixlab.Predictor(run.path)


@pytest.fixture
def files(tmp_path: Path, shades: Dataset) -> list[Path]:
    files = [tmp_path / f"{index}.png" for index in range(4)]
    for index, file in enumerate(files):
        Image.fromarray(shades.splits["test"].image(index)).save(file)
    return files


def test_a_file_its_path_as_text_its_bytes_and_its_pixels_are_answered_alike(predictor, files, shades):
    pixels = shades.splits["test"].image(0)
    answers = [predictor(image) for image in (files[0], str(files[0]), files[0].read_bytes(), pixels)]
    assert all(np.array_equal(answer.probabilities, answers[0].probabilities) for answer in answers)


def test_probabilities_are_those_of_the_run_s_model_on_its_preprocessing(predictor, run, shades):
    image = shades.splits["test"].image(0)
    with torch.inference_mode():
        logits = load(run.path)(Preprocess.from_dict(run.config["preprocess"])(image)[None])
    assert predictor(image).probabilities == pytest.approx(logits.softmax(dim=1)[0].numpy(), abs=1e-6)


def test_a_image_of_another_size_is_resized(predictor):
    assert predictor(np.zeros((31, 17, 3), dtype=np.uint8)).label in predictor.classes


def test_the_labels_are_ranked_and_equal_ones_keep_the_classes_order():
    prediction = Prediction(("a", "b", "c"), np.array([0.25, 0.5, 0.25]))
    assert prediction.label == "b"
    assert prediction.top(3) == [("b", 0.5), ("a", 0.25), ("c", 0.25)]
    assert prediction.top(9) == prediction.top(3)


def test_batches_answer_as_single_images_do(predictor, files, monkeypatch):
    alone = [predictor(file).probabilities for file in files]
    for batch in (1, 3, 64):
        monkeypatch.setattr(predictor_module, "BATCH", batch)
        together = [answer.probabilities for answer in predictor.answers(files)]
        assert np.allclose(together, alone, atol=1e-6)


def test_a_file_that_cannot_be_read_is_answered_in_its_place_with_the_reason(predictor, files):
    files[1].write_bytes(b"")
    answers = list(predictor.answers(files))
    assert isinstance(answers[1], UnreadableImage) and answers[1].reason == "it is empty"
    assert [isinstance(answer, Prediction) for answer in answers] == [True, False, True, True]


def test_images_none_of_which_can_be_read_are_all_answered(predictor, tmp_path):
    answers = list(predictor.answers([tmp_path / "a.png", tmp_path / "b.png"]))
    assert [type(answer) for answer in answers] == [UnreadableImage] * 2


def test_one_file_that_cannot_be_read_is_an_error(predictor, tmp_path):
    with pytest.raises(UnreadableImage, match=r"gone\.png can't be read: no such file"):
        predictor(tmp_path / "gone.png")


@pytest.mark.parametrize(
    "array", [np.zeros((8, 8)), np.zeros((8, 8), dtype=np.uint8), np.zeros((3, 8, 8), dtype=np.uint8)]
)
def test_an_array_that_is_no_image_is_refused_with_the_rule(predictor, array):
    with pytest.raises(UserError, match=r"is no image: give uint8, from 0 to 255, with the shape \(rows, columns, 3\)"):
        predictor(array)


def test_a_source_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"published weights are mixer_b16\.goog_in1k.*create_model gives it fresh ones"
    ):
        Predictor("mixer_b16")
