"""Predictor: predictions for files, paths, bytes and arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import mixlab
from mixlab.data.dataset import Dataset
from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.novelty import NoveltyDetector, read_novelty_detector
from mixlab.prediction import predictor as predictor_module
from mixlab.prediction.predictor import Prediction, Predictor
from mixlab.runs.folder import Run
from mixlab.speed.inference_plan import InferencePlan
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.weights.load import load, load_pretrained


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


def test_path_string_bytes_and_array_have_the_same_prediction(predictor, files, shades):
    pixels = shades.splits["test"].image(0)
    predictions = [predictor(image) for image in (files[0], str(files[0]), files[0].read_bytes(), pixels)]
    assert all(np.array_equal(other.probabilities, predictions[0].probabilities) for other in predictions)


def test_probabilities_are_those_of_the_model_with_its_preprocessing(predictor, run, shades):
    image = shades.splits["test"].image(0)
    with torch.inference_mode():
        logits = load(run.path)(Preprocess.from_dict(run.config["preprocess"])(image)[None])
    assert predictor(image).probabilities == pytest.approx(logits.softmax(dim=1)[0].numpy(), abs=1e-6)


def test_read_images_are_predicted_as_a_batch(predictor, files):
    together = predictor.predict_batch([predictor.read(file) for file in files])
    alone = [predictor(file).probabilities for file in files]
    assert np.array([each.probabilities for each in together]) == pytest.approx(np.array(alone), abs=1e-6)


def test_a_file_with_more_pixels_than_the_limit_is_rejected(predictor, files):
    assert predictor.read(files[0], 64).shape == (3, 8, 8)
    for image in (files[0], files[0].read_bytes()):
        with pytest.raises(UnreadableImage, match="it has more than 63 pixels, the maximum that mixlab decodes"):
            predictor.read(image, 63)


def test_the_digest_identifies_the_weights(predictor, run, tmp_path):
    assert predictor.digest == load_pretrained(run.path).source_digest
    other = load(run.path)
    with torch.no_grad():
        other.get_parameter("head.bias")[0] += 1
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    assert Predictor(tmp_path / "other.safetensors").digest != predictor.digest


def test_deep_images_are_read_with_the_value_range_of_the_training(tmp_path, shades, tiny_recipe):
    fields = tiny_recipe | {"preprocessing": {"value_range": [0, 4095]}}
    job = resolve(parse_training_recipe(fields, "tiny"), shades, torch.device("cpu"))
    run = train(job, Plan("cpu", ComputeMode(), micro_batch=8), tmp_path / "deep", quiet=True)
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp * 65).save(tmp_path / "deep.png")
    pixels = np.round(ramp * (65 * 255 / 4095)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    predictor = mixlab.Predictor(run.path)
    assert np.array_equal(predictor(tmp_path / "deep.png").probabilities, predictor(pixels).probabilities)


def test_an_image_of_another_size_is_resized(predictor):
    assert predictor(np.zeros((31, 17, 3), dtype=np.uint8)).label in predictor.classes


def test_labels_are_sorted_and_ties_keep_the_order_of_the_classes():
    prediction = Prediction(("a", "b", "c"), np.array([0.25, 0.5, 0.25]), ("b",))
    assert prediction.label == "b"
    assert prediction.top(3) == [("b", 0.5), ("a", 0.25), ("c", 0.25)]
    assert prediction.top(9) == prediction.top(3)


def test_batches_and_single_images_have_the_same_predictions(predictor, files, monkeypatch):
    single = [predictor(file).probabilities for file in files]
    for first, batch in ((1, 1), (1, 3), (2, 64), (8, 64)):
        monkeypatch.setattr(predictor_module, "_FIRST_BATCH", first)
        monkeypatch.setattr(predictor_module, "BATCH", batch)
        batched = [prediction.probabilities for prediction in predictor.predict(files)]
        assert np.allclose(batched, single, atol=1e-6)


def test_an_unreadable_file_yields_an_error_in_its_place(predictor, files):
    files[1].write_bytes(b"")
    results = list(predictor.predict(files))
    assert isinstance(results[1], UnreadableImage) and results[1].reason == "it is empty"
    assert [isinstance(result, Prediction) for result in results] == [True, False, True, True]


def test_a_batch_of_unreadable_files_yields_only_errors(predictor, tmp_path):
    results = list(predictor.predict([tmp_path / "a.png", tmp_path / "b.png"]))
    assert [type(result) for result in results] == [UnreadableImage] * 2


def test_a_single_unreadable_file_raises(predictor, tmp_path):
    with pytest.raises(UnreadableImage, match=r"gone\.png can't be read: no such file"):
        predictor(tmp_path / "gone.png")


@pytest.mark.parametrize("image", [Image.new("RGB", (0, 5)), Image.new("L", (5, 0))])
def test_an_image_without_pixels_is_refused(predictor, image):
    with pytest.raises(UnreadableImage, match=r"the PIL image can't be read: it has no pixels\."):
        predictor(image)


def test_a_list_has_a_list_of_predictions(predictor, files, shades, monkeypatch):
    monkeypatch.setattr(predictor_module, "_FIRST_BATCH", 2)
    monkeypatch.setattr(predictor_module, "BATCH", 2)
    images = [*files, shades.splits["test"].image(4)]
    batched = predictor(images)
    assert np.allclose([one.probabilities for one in batched], [predictor(image).probabilities for image in images])
    assert [one.label for one in predictor(tuple(images))] == [one.label for one in batched]
    assert predictor([]) == []


def test_an_unreadable_file_in_a_list_raises(predictor, files, tmp_path):
    with pytest.raises(UnreadableImage, match=r"gone\.png can't be read"):
        predictor([*files, tmp_path / "gone.png"])


def test_the_device_can_be_given(run):
    assert Predictor(run.path, device="cpu").classes == Predictor(run.path, device=torch.device("cpu")).classes
    with pytest.raises(UserError, match=r'^The device "tpu" is not available: this machine has cpu'):
        Predictor(run.path, device="tpu")


@pytest.fixture
def with_novelty(run: Run, shades: Dataset) -> Run:
    """The run with a detector whose threshold is among the distances of the test images."""
    preprocess, split = Preprocess.from_dict(run.config["preprocess"]), shades.splits["test"]
    with torch.inference_mode():
        features = load(run.path).embed(torch.stack([preprocess(split.image(i)) for i in range(len(split))])).numpy()
    detector = NoveltyDetector(features[:4].astype(np.float16), 1, 2.0, 39)
    replace(detector, threshold=float(np.median(detector.distances(features)))).write(run.novelty)
    return run


def test_the_first_answers_do_not_wait_for_a_plan(predictor, files, monkeypatch):
    planned: list[tuple[int, int]] = []
    monkeypatch.setattr(
        predictor._inference, "plan_for", lambda images, remaining: planned.append((len(images), remaining))
    )
    answers = predictor.predict(files * 20)  # 80 images
    assert isinstance(next(answers), Prediction) and not planned
    assert len(list(answers)) == 79
    assert planned == [(64, 72), (8, 8)]


def test_callers_use_one_thread_of_pytorch_if_another_runtime_computes(run, monkeypatch):
    predictor = Predictor(run.path, device="cpu", speed="off")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert predictor.torch_threads == 5
    monkeypatch.setattr(predictor._inference, "plan", InferencePlan("openvino"))
    assert predictor.torch_threads == 1


def test_without_a_detector_it_is_unknown_whether_images_are_unlike_the_training_images(predictor, files):
    assert predictor.novelty is None
    assert [prediction.unlike_training for prediction in predictor.predict(files)] == [None] * 4


def test_images_are_flagged_by_the_distance_of_their_embedding(with_novelty, shades):
    split, preprocess = shades.splits["test"], Preprocess.from_dict(with_novelty.config["preprocess"])
    detector = read_novelty_detector(with_novelty.novelty)
    images = [split.image(index) for index in range(len(split))]
    with torch.inference_mode():
        expected = detector.flags(load(with_novelty.path).embed(torch.stack([*map(preprocess, images)])).numpy())
    flags = [prediction.unlike_training for prediction in Predictor(with_novelty.path)(images)]
    assert flags == expected.tolist() and {*flags} == {True, False}


def test_flags_do_not_change_the_probabilities_and_need_no_second_pass(predictor, with_novelty, files):
    flagging = Predictor(with_novelty.path)
    passes: list[int] = []
    assert flagging._inference is not None
    flagging._inference._model.get_submodule("model.body").register_forward_hook(lambda *_: passes.append(1))
    for one, other in zip(flagging(files), predictor(files), strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)
    assert passes == [1]


def test_a_damaged_detector_is_an_error(with_novelty):
    with_novelty.novelty.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"novelty\.safetensors is damaged"):
        Predictor(with_novelty.path)


def test_a_size_without_weights_is_refused():
    with pytest.raises(
        UserError, match=r"published weights are mixer_b16\.goog_in1k.*For random weights, use mixlab.create_model"
    ):
        Predictor("mixer_b16")


def test_unknown_class_names_are_shown_by_index(run, caplog):
    predictor = Predictor(run.weights)  # the file alone, without config.json
    assert predictor.classes == tuple(f"class {index}" for index in range(len(run.config["classes"])))
    assert not any("timm" in record.getMessage() for record in caplog.records)
