"""int8 is offered only where it is faster and as accurate, and only with images to calibrate and to compare."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mixlab.data.dataset import Dataset
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation import evaluation_data
from mixlab.evaluation.evaluation_data import EvaluationData
from mixlab.evaluation.training_images import TrainingImages, digests_of
from mixlab.prediction import int8 as module
from mixlab.prediction.int8 import Int8Check, int8_forward
from mixlab.prediction.predictor import Predictor
from mixlab.speed.int8 import quantize_with_nncf
from mixlab.weights.adapt import Weights
from mixlab.weights.load import Pretrained, build_with_weights
from mixlab.zoo.architecture import architecture, create_model
from sounds import SPECTROGRAM

PREPROCESS = Preprocess((8, 8))
needs_deploy = pytest.mark.skipif(
    not all(find_spec(name) for name in ("openvino", "nncf", "onnxscript")),
    reason='needs openvino and nncf: pip install "mixlab[deploy]"',
)


@pytest.fixture(autouse=True)
def check_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache of comparisons: empty, and of this test only."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "int8"


@pytest.fixture
def pretrained() -> Pretrained:
    fields = {"depth": 1, "channels": 16, "token_hidden": 8, "channel_hidden": 16}
    found = architecture("mixer_nano", patch_size=4, image_size=8, classes=2, **fields)
    model = found.build()
    nn.init.normal_(model.get_parameter("head.weight"))
    return Pretrained(Weights(found.family, found.config, model.state_dict()), ("dark", "light"), PREPROCESS)


@pytest.fixture
def check_of(monkeypatch: pytest.MonkeyPatch, shades: Dataset) -> Any:
    """A function that replaces quantisation and comparison by checks with these accuracies and speed ratios."""

    def replace_by(*checks: tuple[float, float]) -> list[str]:
        remaining, corrections = list(checks), []

        def compare(*arguments: Any) -> Int8Check:
            corrections.append(arguments[-1])
            top1, ratio = remaining.pop(0)
            *_, preprocess, method = arguments
            return Int8Check(90.0, top1, 400, ratio, "bf16", method, preprocess.noun)

        monkeypatch.setattr(module, "_images", lambda *_: shades)
        monkeypatch.setattr(module, "cached_conversion", lambda *_: None)
        monkeypatch.setattr(module, "cached_network", lambda key, build: build())
        monkeypatch.setattr(module, "quantize", lambda network, images, bias_correction: bias_correction)
        monkeypatch.setattr(module, "compile_openvino", lambda network, precision: network)
        monkeypatch.setattr(module, "compare_int8", compare)
        return corrections

    return replace_by


def offered(pretrained: Pretrained) -> Any:
    return int8_forward(pretrained, "weights", None)


@pytest.fixture(params=[None, SPECTROGRAM], ids=["images", "sounds"])
def of_noun(request: pytest.FixtureRequest, pretrained: Pretrained) -> tuple[Pretrained, str]:
    """Weights for images and for sounds, with what a sample is."""
    preprocess = replace(PREPROCESS, spectrogram=request.param)
    return replace(pretrained, preprocess=preprocess), preprocess.noun


def test_int8_is_offered_with_a_loss_of_at_most_half_a_point(of_noun: tuple[Pretrained, str], check_of: Any):
    pretrained, noun = of_noun
    corrections = check_of((89.5, 1.4))
    forward, check = offered(pretrained)
    assert (forward, corrections) == ("fast", ["fast"])
    assert str(check) == (
        f"top-1 on 400 validation {noun}s: 90.0 % in fp32 and 89.5 % in int8; 1.40 times as fast as bf16"
    )


def test_a_loss_of_half_a_point_is_one_however_it_is_rounded():
    """98.4 - 97.9 is 0.5000000000000142 in floating point."""
    assert Int8Check(98.4, 97.9, 1000, 1.4, "bf16", "fast").is_accurate
    assert not Int8Check(98.4, 97.8, 1000, 1.4, "bf16", "fast").is_accurate


def test_the_sequential_bias_correction_is_tried_if_the_fast_one_loses_more(pretrained: Pretrained, check_of: Any):
    check_of((89.4, 1.4), (89.6, 1.3))
    forward, check = offered(pretrained)
    assert (forward, check.top1) == ("sequential", 89.6)


def test_int8_is_refused_with_the_best_accuracies_if_it_loses_more(of_noun: tuple[Pretrained, str], check_of: Any):
    pretrained, noun = of_noun
    check_of((80.0, 1.4), (85.0, 1.3))
    sentence = (
        rf"int8 loses more than 0.5 points for weights \(top-1 .* 85.0 % in int8.* give other {noun}s with --data"
    )
    with pytest.raises(UserError, match=sentence):
        offered(pretrained)


def test_int8_is_refused_if_it_is_not_faster(pretrained: Pretrained, check_of: Any):
    check_of((90.0, 1.04))
    with pytest.raises(UserError, match=r"int8 is not faster for weights on this machine .*1.04 times as fast"):
        offered(pretrained)


def test_without_a_run_and_without_data_int8_is_refused(of_noun: tuple[Pretrained, str], tmp_path: Path):
    pretrained, noun = of_noun
    sentence = rf"int8 needs training {noun}s to calibrate .* and validation {noun}s to .* give them with --data"
    with pytest.raises(UserError, match=sentence):
        int8_forward(pretrained, tmp_path / "weights.safetensors", None)


def test_a_run_that_was_trained_on_its_validation_images_needs_data(
    of_noun: tuple[Pretrained, str], monkeypatch: pytest.MonkeyPatch, shades: Dataset
):
    pretrained, noun = of_noun
    merged = Dataset("shades", shades.classes, {name: shades.splits[name] for name in ("train", "test")})
    monkeypatch.setattr(module, "run_of", lambda source: object())
    monkeypatch.setattr(module, "open_evaluation_data", lambda *_: EvaluationData(merged, ""))
    with pytest.raises(
        UserError, match=f"was trained on the validation {noun}s of .* so int8 can't .* give other {noun}s"
    ):
        int8_forward(pretrained, "runs/first", None)


def test_images_on_which_a_run_was_trained_are_refused_also_by_name(
    of_noun: tuple[Pretrained, str], monkeypatch: pytest.MonkeyPatch, shades: Dataset
):
    pretrained, noun = of_noun
    monkeypatch.setattr(module, "open_dataset", lambda data: replace(shades, name=data, classes=pretrained.classes))
    learned = TrainingImages(digests_of(shades.splits["validation"], quiet=True))
    monkeypatch.setattr(evaluation_data, "training_images_of", lambda source: learned)
    with pytest.raises(UserError, match=f"was trained on the validation {noun}s of folder:mine, so int8 can't be"):
        int8_forward(pretrained, "runs/first", "folder:mine")


def test_without_nncf_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(UserError, match=r'int8 needs the optional dependency .*: pip install "mixlab\[deploy\]"'):
        quantize_with_nncf(None, [])


def test_an_accepted_comparison_is_cached(pretrained: Pretrained, check_of: Any):
    corrections = check_of((80.0, 1.4), (89.6, 1.3))
    first = offered(pretrained)
    assert offered(pretrained) == first == ("sequential", Int8Check(90.0, 89.6, 400, 1.3, "bf16", "sequential"))
    assert corrections == ["fast", "sequential"], "both were compared once"


def test_a_comparison_in_which_int8_is_not_faster_is_repeated(pretrained: Pretrained, check_of: Any):
    check_of((90.0, 1.0), (90.0, 1.4))
    with pytest.raises(UserError, match="int8 is not faster"):
        offered(pretrained)
    assert offered(pretrained)[1].speed_ratio == 1.4


def test_a_damaged_comparison_is_repeated(pretrained: Pretrained, check_of: Any, check_cache: Path):
    corrections = check_of((90.0, 1.4), (90.0, 1.4))
    offered(pretrained)
    (file,) = check_cache.iterdir()
    file.write_text(file.read_text()[:-9])
    offered(pretrained)
    assert corrections == ["fast", "fast"]


def test_other_validation_images_or_labels_are_compared_again(
    pretrained: Pretrained, check_of: Any, shades: Dataset, monkeypatch: pytest.MonkeyPatch
):
    corrections = check_of((90.0, 1.4), (90.0, 1.4), (90.0, 1.4))
    offered(pretrained)
    validation, test = shades.splits["validation"], shades.splits["test"]
    for changed in (test, replace(validation, labels=1 - validation.labels)):
        dataset = replace(shades, splits={**shades.splits, "validation": changed})
        monkeypatch.setattr(module, "_images", lambda *_, dataset=dataset: dataset)
        offered(pretrained)
    assert len(corrections) == 3


@needs_deploy
@pytest.mark.long
def test_a_quantized_model_predicts_nearly_the_same_also_from_the_cache(
    pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch, shades: Dataset, no_shape_checks: None
):
    monkeypatch.setattr(module, "_images", lambda *_: shades)
    monkeypatch.setattr(module, "_MIN_SPEED_RATIO", 0.0)
    monkeypatch.setattr(module, "MAX_LOSS", 100.0)
    forward, check = offered(pretrained)
    (images,) = module._batches(shades.splits["test"], PREPROCESS)
    outputs, expected = forward(images)[0], build_with_weights(pretrained.weights)(images).detach()
    assert check.images == 12
    assert torch.corrcoef(torch.stack([outputs.flatten(), expected.flatten()]))[0, 1] > 0.95
    assert (outputs - expected).abs().max() > 1e-3, "it is quantised"
    monkeypatch.setattr(module, "quantize", None)
    again, same_check = offered(pretrained)
    assert same_check == check
    assert torch.equal(again(images)[0], outputs)


def test_an_unknown_precision_is_an_error(tmp_path: Path):
    from safetensors.torch import save_file

    save_file(create_model("mixer_nano", depth=1).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match='--precision int4 is not possible: give "auto" or "int8"'):
        Predictor(tmp_path / "weights.safetensors", precision="int4")
