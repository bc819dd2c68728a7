"""Explanations of whole models: the deciding place is found, and settings and images are checked."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.prediction import explainer as module
from mixlab.prediction.explainer import Explainer, Explanation
from mixlab.prediction.predictor import Predictor
from mixlab.prediction.randomised_weights import check_table, check_weights, with_shuffled_weights
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

needs_captum = pytest.mark.skipif(not find_spec("captum"), reason='needs captum: pip install "mixlab[explain]"')

SIDE, PATCH = 16, 4
QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
COLOURS = ("red", "green", "blue")
PREPROCESS = Preprocess((SIDE, SIDE))
MIXER = {"patch_size": PATCH, "channels": 16, "token_hidden": 16, "channel_hidden": 32, "depth": 1}
CONVMIXER = {"patch_size": PATCH, "channels": 16, "kernel_size": 1, "depth": 1}

Box = tuple[int, int, int, int]


def squares(count: int, seed: int, darkest: int = 98) -> tuple[np.ndarray, list[Box], np.ndarray, np.ndarray]:
    """Noise with one bright square of a colour on a patch, its box, its quadrant and its colour.

    `darkest` is the smallest value of the noise, which has a range of 60; with 98, its mean is in the middle.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(darkest, darkest + 60, size=(count, SIDE, SIDE, 3), dtype=np.uint8)
    rows, columns = rng.integers(0, SIDE // PATCH, size=(2, count)) * PATCH
    colours = rng.integers(0, 3, size=count)
    for image, top, left, colour in zip(images, rows, columns, colours, strict=True):
        image[top : top + PATCH, left : left + PATCH, colour] = 250
    boxes = [(int(x), int(y), int(x) + PATCH, int(y) + PATCH) for y, x in zip(rows, columns, strict=True)]
    quadrants = 2 * (rows >= SIDE // 2) + (columns >= SIDE // 2)
    return images, boxes, quadrants, colours


def trained(
    folder: Path,
    name: str,
    fields: dict[str, int],
    classes: tuple[str, ...],
    samples: np.ndarray,
    labels: np.ndarray,
) -> Path:
    """A model that has learned the labels of 512 samples, as a folder of weights."""
    torch.manual_seed(0)
    found = architecture(name, image_size=SIDE, classes=len(classes), **fields)
    model = found.build()
    images = PREPROCESS.finished(torch.from_numpy(samples).permute(0, 3, 1, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    loss = torch.tensor(float("inf"))
    for step in range(120):
        batch = torch.arange(64) + 64 * (step % 8)
        loss = nn.functional.cross_entropy(model(images[batch]), torch.from_numpy(labels)[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    folder.mkdir()
    write_model_folder(folder, Weights(found.family, found.config, model.state_dict()), classes, PREPROCESS)
    return folder


def hits(explanations: list[Explanation], boxes: list[Box]) -> int:
    """How often the most important box of the occlusion is that of the square."""
    found = [one.maps["occlusion"].most_important_box for one in explanations]
    return sum(one == box for one, box in zip(found, boxes, strict=True))


@pytest.fixture(scope="module")
def place_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mixer that tells the quadrant of the square."""
    samples, _, quadrants, _ = squares(512, seed=0)
    return trained(tmp_path_factory.mktemp("place") / "model", "mixer_nano", MIXER, QUADRANTS, samples, quadrants)


@pytest.fixture(scope="module")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ConvMixer that tells the colour of the square."""
    samples, _, _, colours = squares(512, seed=0)
    folder = tmp_path_factory.mktemp("colour") / "model"
    return trained(folder, "convmixer_nano", CONVMIXER, COLOURS, samples, colours)


def test_the_maximum_of_the_occlusion_is_at_the_square_whose_place_decides(place_model):
    images, boxes, quadrants, _ = squares(20, seed=1)
    explainer = Explainer(place_model)
    found = [explainer(image) for image in images]
    assert [one.label for one in found] == [QUADRANTS[quadrant] for quadrant in quadrants]
    assert hits(found, boxes) >= 18


def test_the_maximum_is_at_the_square_of_a_dark_image_if_windows_have_its_mean_colour(tmp_path):
    samples, _, labels, _ = squares(512, seed=0, darkest=0)
    folder = trained(tmp_path / "model", "mixer_nano", MIXER, QUADRANTS, samples, labels)
    images, boxes, _, _ = squares(20, seed=1, darkest=0)
    explainer = Explainer(folder, cover="image")
    assert hits([explainer(image) for image in images], boxes) >= 10, "it is 0 if windows are grey"


@needs_captum
@pytest.mark.parametrize("method", ["occlusion", "grad-cam"])
def test_the_maximum_of_both_maps_is_at_the_square_whose_colour_decides(colour_model, method):
    images, boxes, _, colours = squares(20, seed=1)
    explainer = Explainer(colour_model, methods=[method])
    for image, box, colour in zip(images, boxes, colours, strict=True):
        found = explainer(image)
        assert found.label == COLOURS[colour]
        assert found.maps[method].most_important_box == box


@needs_captum
def test_the_maps_of_a_trained_model_are_unlike_those_of_shuffled_weights(place_model):
    explainer = Explainer(place_model, methods=("occlusion", "grad-cam"))
    explanations = [explainer(image) for image in squares(4, seed=1)[0]]
    checks = check_weights(explainer, explanations, seeds=3)
    assert [check.method for check in checks] == ["occlusion", "grad-cam"]
    for check in checks:
        assert check.correlations.shape == (3, 4)
        assert check.mean.n == 3
        assert check.mean_absolute.value < 0.5
    (note,) = check_table(checks, "image").all_notes
    assert "averaged over 4 images" in note


def test_the_check_finds_a_map_that_does_not_depend_on_the_weights(place_model, monkeypatch):
    explainer = Explainer(place_model)
    explanation = explainer(squares(1, seed=1)[0][0])
    monkeypatch.setattr(explainer, "maps_with_weights_of", lambda model, explanation: explanation.maps)
    (check,) = check_weights(explainer, [explanation], seeds=2)
    assert check.mean.value == check.mean_absolute.value == pytest.approx(1)


def test_a_map_without_an_order_has_no_rank_correlation(place_model, monkeypatch):
    explainer = Explainer(place_model)
    explanation = explainer(squares(1, seed=1)[0][0])
    one = explanation.maps["occlusion"]
    constant = {"occlusion": replace(one, values=np.zeros_like(one.values))}
    monkeypatch.setattr(explainer, "maps_with_weights_of", lambda model, explanation: constant)
    (check,) = check_weights(explainer, [explanation], seeds=1)
    assert check.correlations.tolist() == [[0]]


def test_the_check_needs_five_cells(place_model):
    explainer = Explainer(place_model, window=8)
    with pytest.raises(UserError, match=r"--check needs maps with 5 cells or more, and the map of occlusion has 4"):
        check_weights(explainer, [explainer(squares(1, seed=1)[0][0])], seeds=1)


def test_shuffled_weights_have_the_values_of_the_trained_ones_in_another_order(place_model):
    model = Explainer(place_model).model
    first, again, other = (with_shuffled_weights(model, seed).state_dict() for seed in (0, 0, 1))
    for name, values in model.state_dict().items():
        assert torch.equal(first[name].flatten().sort().values, values.flatten().sort().values)
        assert torch.equal(first[name], again[name])
    assert not torch.equal(first["stem.weight"], model.get_parameter("stem.weight"))
    assert not torch.equal(first["stem.weight"], other["stem.weight"])


def test_the_probability_is_that_of_the_predictor(place_model):
    image = squares(1, seed=2)[0][0]
    explanation, prediction = Explainer(place_model)(image), Predictor(place_model)(image)
    np.testing.assert_allclose(explanation.prediction.probabilities, prediction.probabilities, rtol=1e-5)
    assert explanation.probability == pytest.approx(prediction.top(1)[0][1], rel=1e-5)
    assert np.array_equal(explanation.image, image)


def test_the_covered_probability_is_that_of_the_covered_image(place_model):
    image = squares(1, seed=2)[0][0]
    explanation = Explainer(place_model)(image)
    left, top, right, bottom = explanation.maps["occlusion"].most_important_box
    predictor = Predictor(place_model)
    covered = torch.from_numpy(image).permute(2, 0, 1) / 255
    covered[:, top:bottom, left:right] = 0.5  # the mean in the preprocessing; the closest 8-bit value is 128
    expected = dict(predictor(covered).top(4))[explanation.label]
    assert explanation.covered_probability == pytest.approx(expected, rel=0.05)


def test_another_label_can_be_explained(place_model):
    image, quadrant = squares(1, seed=2)[0][0], squares(1, seed=2)[2][0]
    other = QUADRANTS[(quadrant + 1) % 4]
    explanation = Explainer(place_model)(image, label=other)
    assert explanation.label == other
    assert explanation.probability < 0.5
    assert explanation.prediction.label == QUADRANTS[quadrant]


def test_an_unknown_label_is_an_error_with_the_classes(place_model):
    with pytest.raises(UserError, match=r'no class "uper left": its classes are .* Did you mean "upper left"\?'):
        Explainer(place_model)(squares(1, seed=2)[0][0], label="uper left")


def test_the_map_does_not_depend_on_the_batches(place_model, monkeypatch):
    image = squares(1, seed=3)[0][0]
    whole = Explainer(place_model, stride=2)(image).maps["occlusion"]
    monkeypatch.setattr(module, "BATCH", 7)
    parts = Explainer(place_model, stride=2)(image).maps["occlusion"]
    assert whole.values.shape == (7, 7)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-4)


def test_an_unreadable_image_is_yielded_as_its_error(place_model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    first, second = Explainer(place_model).explain([tmp_path / "broken.png", squares(1, seed=2)[0][0]])
    assert isinstance(first, UnreadableImage)
    assert not isinstance(second, UnreadableImage)


@pytest.fixture
def permuted(tmp_path: Path) -> Path:
    """Random weights of a model with an own permutation of the pixels."""
    found = architecture("mixer_nano", image_size=SIDE, classes=2, **MIXER)
    model = found.build()
    nn.init.normal_(model.get_parameter("head.weight"))
    preprocess = replace(PREPROCESS, transform=Transform("permute_all_pixels", seed=3))
    write_model_folder(tmp_path, Weights(found.family, found.config, model.state_dict()), ("a", "b"), preprocess)
    return tmp_path


def test_an_image_is_covered_before_its_pixels_are_permuted(permuted):
    image = np.full((SIDE, SIDE, 3), 200, dtype=np.uint8)
    explainer = Explainer(permuted)
    whole, covered = explainer._versions(torch.randn(3, SIDE, SIDE), 0, 2)[:, 0]
    assert (whole != covered).sum() == PATCH**2
    assert not (whole != covered)[:PATCH, :PATCH].all()
    assert explainer(image).maps["occlusion"].values.shape == (4, 4)


def test_a_model_that_permutes_pixels_has_no_grad_cam(permuted):
    with pytest.raises(UserError, match="permutes the pixels of its images, so that places of its feature maps"):
        Explainer(permuted, methods=["grad-cam"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"methods": ["gradcam"]}, r'no method "gradcam": give occlusion or grad-cam.* Did you mean "grad-cam"\?'),
        ({"methods": ["grad-cam"], "stride": 2}, "--stride has no effect without --method occlusion"),
        ({"cover": "grey"}, '--cover grey is not possible: give "model" or "image"'),
        ({"stage": 1}, "--stage has no effect without --method grad-cam"),
        ({"window": 40}, "--window 40 is out of range: it must be from 1 to 16 pixels"),
        ({"speed": "fast"}, "--speed fast is not possible"),
    ],
)
def test_settings_that_are_impossible_are_an_error(place_model, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Explainer(place_model, **settings)


def test_a_model_with_one_class_is_refused(tmp_path):
    found = architecture("mixer_nano", image_size=SIDE, classes=1, **MIXER)
    weights = Weights(found.family, found.config, found.build().state_dict())
    write_model_folder(tmp_path, weights, ("cat",), PREPROCESS)
    with pytest.raises(UserError, match="has one class, which is always its answer"):
        Explainer(tmp_path)
