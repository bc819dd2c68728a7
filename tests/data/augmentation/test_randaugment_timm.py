"""Comparison with `rand-m9-mstd0.5-inc1` of timm: level functions, pixels and random choices."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.stats import kstest, norm

from mixlab.data.augmentation import randaugment_timm
from mixlab.data.augmentation.image_operations import LAYER_UNIFORMS, LAYERS, UNIFORMS, Canvas
from mixlab.data.augmentation.randaugment_timm import OPERATIONS, RandAugmentTimm, randaugment_as_timm
from mixlab.errors import UserError

timm = pytest.importorskip("timm.data.auto_augment", reason='needs timm: pip install "mixlab[baselines]"')

TIMM_NAMES = {
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}
SIZE = (37, 24)  # columns, rows
MEAN = (0.485, 0.456, 0.406)
FILL = (124, 116, 104)  # as `timm.data.transforms_factory` rounds 255 * MEAN
LEVELS = (0.0, 0.3, 2.5, 5.0, 8.7, 9.0, 9.99, 10.0)


@pytest.fixture
def pil_image() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BILINEAR)


@pytest.fixture(params=[-1, 1])
def sign(request, monkeypatch) -> int:
    """A sign, which timm also uses instead of a random one."""
    monkeypatch.setattr(timm, "_randomly_negate", lambda value: request.param * value)
    return request.param


def test_the_operations_are_the_increasing_set_of_timm():
    assert [TIMM_NAMES[name] for name in OPERATIONS] == timm._RAND_INCREASING_TRANSFORMS


@pytest.mark.parametrize("name", OPERATIONS)
def test_levels_are_those_of_timm(name, sign):
    level_function = timm.LEVEL_TO_ARG[TIMM_NAMES[name]]
    side = {"translate_x": SIZE[0], "translate_y": SIZE[1]}.get(name, 1)
    for level in LEVELS:
        expected = level_function(level, {})[0] * side if level_function else 0
        assert OPERATIONS[name][1](level, sign, SIZE) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_pixels_are_those_of_timm(pil_image, name, sign, resample):
    operation, amount = OPERATIONS[name]
    for level in LEVELS[:-1] if name == "posterize" else LEVELS:  # Pillow 13 refuses 0 bits
        settings = {"interpolation": resample, "img_mean": FILL}
        expected = timm.AugmentOp(TIMM_NAMES[name], prob=1.0, magnitude=level, hparams=settings)(pil_image)
        assert operation(pil_image, amount(level, sign, SIZE), Canvas(resample, FILL)) == expected


def test_posterize_with_0_bits_is_black(pil_image):
    operation, amount = OPERATIONS["posterize"]
    assert not np.asarray(operation(pil_image, amount(10.0, 1, SIZE), Canvas(Image.Resampling.BILINEAR, FILL))).any()


def test_random_choices_have_the_distributions_of_timm(pil_image, monkeypatch):
    calls_by_name: dict[str, list[tuple[float, int, Canvas]]] = {name: [] for name in OPERATIONS}

    def recording(name):
        def operation(image, level_and_sign, canvas):
            calls_by_name[name].append((*level_and_sign, canvas))
            return image

        return operation, lambda level, sign, _: (level, sign)

    monkeypatch.setattr(randaugment_timm, "_OPERATIONS", tuple(recording(name) for name in OPERATIONS))
    for uniforms in np.random.default_rng(0).random((4000, UNIFORMS)):
        randaugment_as_timm(pil_image, uniforms, RandAugmentTimm(9.0), "random", MEAN)
    counts = np.array([len(calls) for calls in calls_by_name.values()])
    assert abs(counts.sum() - 4000) < 5 * np.sqrt(2000)  # half of two per image
    assert np.abs(counts - 4000 / 15).max() < 5 * np.sqrt(4000 / 15)
    levels, signs, canvases = zip(*[call for calls in calls_by_name.values() for call in calls], strict=True)
    below = [level for level in levels if level < 10]
    assert kstest(below, lambda x: norm.cdf(x, 9, 0.5) / norm.cdf(2)).pvalue > 0.001
    assert abs(levels.count(10) / len(levels) - norm.sf(2)) < 0.012
    assert abs(np.mean(signs)) < 5 / np.sqrt(len(signs))
    assert {canvas.fill for canvas in canvases} == {FILL}
    bilinear = np.mean([canvas.resample == Image.Resampling.BILINEAR for canvas in canvases])
    assert abs(bilinear - 0.5) < 5 * 0.5 / np.sqrt(len(canvases))


@pytest.mark.parametrize(("skip", "applied"), [(0.499, True), (0.5, False)])
def test_a_layer_is_applied_with_probability_one_half(pil_image, skip, applied):
    uniforms = np.full((LAYERS, LAYER_UNIFORMS), 0.99)
    uniforms[0, :2] = 2.5 / 15, skip  # invert
    result = randaugment_as_timm(pil_image, uniforms.ravel(), RandAugmentTimm(9.0, layers=1), "bicubic", MEAN)
    assert result == (ImageOps.invert(pil_image) if applied else pil_image)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((10.5,), "magnitude=10.5 is invalid: it must be between 0 and 10"),
        ((9.0, -0.5), "deviation=-0.5 is invalid: it must be a standard deviation, at least 0"),
        ((9.0, 0.5, 0), "layers=0 is invalid: it must be between 1 and 8"),
    ],
)
def test_invalid_settings_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^augmentation.randaugment_timm.{sentence}"):
        RandAugmentTimm(*settings)
