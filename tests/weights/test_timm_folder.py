"""Folders that timm, transformers and mixlab read: the same model, labels and probabilities in each of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mixlab.data.preprocess import Preprocess
from mixlab.models.contract import height_and_width
from mixlab.prediction.predictor import Predictor
from mixlab.weights.adapt import Weights
from mixlab.weights.convert import Conversion
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.weights.timm_folder import TimmArchitecture, exact_timm_architecture, write_common_folder
from mixlab.zoo.architecture import architecture

NO_TIMM = 'needs timm: pip install "mixlab[baselines]"'
CLASSES = ("ant", "bee", "cat", "dog", "eel")
SMALL_MIXER = {"gelu": "erf", "image_size": (32, 64), "token_hidden": 99, "channel_hidden": 64}
BUILT = [
    ("davit_nano", {}, "davit_tiny"),
    ("davit_nano", {"head_order": "norm-pool", "image_size": 30}, "davit_tiny"),
    ("davit_nano", {"channel_attention": "florence2"}, "davit_tiny"),
    (
        "davit_nano",
        {"channels": (8, 16, 24), "depths": (1, 1, 1), "heads": (2, 4, 3), "window": 3, "merge_kernel": 3},
        "davit_tiny",
    ),
    ("mixer_s32", SMALL_MIXER, "mixer_s32_224"),
    ("vit_nano", {}, "vit_tiny_patch16_224"),
    ("vit_nano_learned", {}, "vit_tiny_patch16_224"),
    ("vit_nano_no_positions", {}, "vit_tiny_patch16_224"),
    ("timm:test_resnet", {"image_size": 32}, "test_resnet"),
]


def random_weights(name: str, **fields: Any) -> Weights:
    """Weights without zeros or ones, whose probabilities are far from uniform."""
    if name.startswith(("timm:", "vit")):
        pytest.importorskip("timm", reason=NO_TIMM)
    built = architecture(name, classes=len(CLASSES), **fields)
    model = built.build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter) + (parameter.dim() == 1))
    return Weights(built.family, built.config, model.state_dict())


def written(folder: Path, weights: Weights, preprocess: Preprocess | None = None) -> Path:
    built = exact_timm_architecture(weights)
    assert isinstance(built, TimmArchitecture), built
    folder.mkdir()
    size = height_and_width(weights.config["image_size"])
    write_common_folder(folder, built, weights, CLASSES, preprocess or Preprocess(size))
    return folder


def image_files(folder: Path) -> dict[str, Path]:
    """Files of odd sizes, by what is unusual about them."""
    rows, columns = np.mgrid[:75, :53]
    waves = [np.sin(rows / scale) * np.cos(columns / (scale + 3)) for scale in (5, 9, 14)]
    image = Image.fromarray(np.uint8(127.5 + 127.5 * np.stack(waves, -1)))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    transparent = image.convert("RGBA")
    transparent.putalpha(image.convert("L"))
    deep = Image.fromarray(np.array(image.convert("L"), np.uint16) * 16)
    files = {
        "photo.jpg": (image, {}),
        "grey.jpg": (image.convert("L"), {}),
        "cmyk.jpg": (image.convert("CMYK"), {}),
        "palette.png": (image.convert("P"), {}),
        "turned.jpg": (image, {"exif": exif}),
        "transparent.png": (transparent, {}),
        "deep.png": (deep, {}),
    }
    for name, (shown, options) in files.items():
        shown.save(folder / name, **options)
    return {name: folder / name for name in files}


def probabilities_in_timm(folder: Path, image: Image.Image) -> np.ndarray:
    from timm import create_model
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    model = create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_model_data_config(model))
    with torch.inference_mode():
        return model(transform(image.convert("RGB"))[None]).softmax(-1)[0].numpy()


@pytest.mark.parametrize(("name", "fields", "timm_name"), BUILT)
def test_timm_computes_the_logits_of_mixlab(tmp_path, name, fields, timm_name):
    timm = pytest.importorskip("timm", reason=NO_TIMM)
    weights = random_weights(name, **fields)
    folder = written(tmp_path / "folder", weights)
    assert json.loads((folder / "config.json").read_text())["architecture"] == timm_name
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(2, 3, *height_and_width(weights.config["image_size"]))
    with torch.inference_mode():
        expected, logits = build_with_weights(weights)(images), model(images)
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
    assert model.pretrained_cfg["label_names"] == list(CLASSES)


@pytest.mark.parametrize(("name", "fields", "timm_name"), BUILT)
def test_mixlab_reads_back_every_field_and_bit(tmp_path, caplog, name, fields, timm_name):
    weights = random_weights(name, **fields)
    preprocess = Preprocess(
        height_and_width(weights.config["image_size"]),
        "shorter_side",
        0.95,
        "bilinear",
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 1.0),
    )
    read = load_pretrained(written(tmp_path / "folder", weights, preprocess))
    assert (read.weights.family, dict(read.weights.config)) == (weights.family, dict(weights.config))
    assert (read.classes, read.has_class_names, read.preprocess) == (CLASSES, True, preprocess)
    assert read.weights.tensors.keys() == weights.tensors.keys()
    assert all(read.weights.tensors[name].equal(tensor) for name, tensor in weights.tensors.items())
    assert not caplog.records


@pytest.mark.parametrize(("name", "fields", "timm_name"), BUILT[:5])
def test_a_folder_for_timm_alone_is_read_back_as_well(tmp_path, name, fields, timm_name):
    weights = random_weights(name, **fields)
    pretrained = Pretrained(weights, CLASSES, Preprocess(height_and_width(weights.config["image_size"])))
    conversion = Conversion(pretrained, "timm", tmp_path / "folder")
    assert conversion.timm is not None and (conversion.timm.name, conversion.lost) == (timm_name, None)
    conversion.write()
    read = load_pretrained(tmp_path / "folder")
    assert (dict(read.weights.config), read.classes) == (dict(weights.config), CLASSES)
    assert all(read.weights.tensors[name].equal(tensor) for name, tensor in weights.tensors.items())


def test_a_folder_that_transformers_has_saved_again_has_the_classes_of_transformers(tmp_path):
    folder = written(tmp_path / "folder", random_weights("davit_nano"))
    config = json.loads((folder / "config.json").read_text())
    trained = {"model_type": "timm_wrapper", "label_names": ["oak", "elm", "ash", "fir", "yew"]}
    (folder / "config.json").write_text(json.dumps(config | trained))
    assert load_pretrained(folder).classes == ("oak", "elm", "ash", "fir", "yew")


def test_labels_and_probabilities_of_files_in_timm_are_those_of_mixlab(tmp_path):
    pytest.importorskip("timm", reason=NO_TIMM)
    folder = written(tmp_path / "folder", random_weights("davit_nano"))
    predictor = Predictor(folder, device="cpu")
    for name, file in image_files(tmp_path).items():
        expected = predictor(file).probabilities
        with Image.open(file) as image:
            same = np.abs(probabilities_in_timm(folder, image) - expected).max() < 1e-5
            assert same == (name not in ("turned.jpg", "transparent.png", "deep.png")), name
            if name == "turned.jpg":
                upright = ImageOps.exif_transpose(image)
                assert np.abs(probabilities_in_timm(folder, upright) - expected).max() < 1e-5


@pytest.mark.long
@pytest.mark.parametrize(("name", "fields"), [("davit_nano", {}), ("mixer_s32", SMALL_MIXER), ("vit_nano", {})])
def test_the_pipeline_of_transformers_has_the_labels_and_probabilities_of_mixlab(tmp_path, name, fields):
    transformers = pytest.importorskip("transformers", reason='needs pip install "mixlab[papers]"')
    pytest.importorskip("timm", reason=NO_TIMM)
    folder = written(tmp_path / "folder", random_weights(name, **fields))
    predictor = Predictor(folder, device="cpu")
    classify = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    for name, file in image_files(tmp_path).items():
        expected, answers = predictor(file), classify(str(file), top_k=len(CLASSES))
        probabilities = {answer["label"]: answer["score"] for answer in answers}
        difference = np.abs([probabilities[label] for label in CLASSES] - expected.probabilities).max()
        assert (difference < 1e-5) == (name not in ("transparent.png", "deep.png")), name
        assert difference > 1e-5 or answers[0]["label"] == expected.label


@pytest.mark.long
def test_every_convmixer_of_timm_has_the_probabilities_of_mixlab(tmp_path):
    pytest.importorskip("timm", reason=NO_TIMM)
    file = image_files(tmp_path)["photo.jpg"]
    for name in ("convmixer_768_32", "convmixer_1024_20", "convmixer_1536_20"):
        folder = written(tmp_path / name, random_weights(name, image_size=56))
        with Image.open(file) as image:
            expected = Predictor(folder, device="cpu")(file).probabilities
            assert np.abs(probabilities_in_timm(folder, image) - expected).max() < 1e-4, name


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("mixer_nano", {"gelu": "erf"}, "timm has no mixer with patch_size=4, channels=64, depth=6, and its functions"),
        ("mixer_s32", {"image_size": 32}, "timm's code has gelu=erf, and this model has gelu=tanh."),
        ("mixer_s32", {"gelu": "erf", "epsilon": 1e-5, "image_size": 32}, "timm's code has epsilon=1e-06, and this"),
        ("convmixer_nano", {}, "timm has no convmixer with patch_size=4, kernel_size=5, channels=160, depth=8, activ"),
        ("davit_nano", {"stem_padding": "same"}, "timm's code has stem_padding=symmetric, and this model has"),
        ("davit_nano", {"head_order": "norms-pool"}, "timm's code has head_order=pool-norm or norm-pool, and this"),
    ],
)
def test_a_model_that_timm_can_not_compute_is_described(name, fields, sentence):
    built = architecture(name, **fields)
    reason = exact_timm_architecture(Weights(built.family, built.config, {}))
    assert isinstance(reason, str) and reason.startswith(sentence)


def test_networks_that_only_mixlab_builds_are_not_in_timm():
    pytest.importorskip("timm", reason=NO_TIMM)
    residual = Weights("timm", architecture("resnet_nano").config, {})
    for weights in (residual, Weights("variant:metaformer", {}, {}), Weights("py:/home/me/mine.py:Mine", {}, {})):
        assert exact_timm_architecture(weights) == "timm does not have this network."


@pytest.mark.parametrize(
    ("timm_name", "arguments"),
    [
        ("mixer_s32_224", {"patch_size": 4}),
        ("mixer_s32_224", {"num_blocks": 2}),
        ("mixer_s32_224", {"embed_dim": 64}),
        ("convmixer_768_32", {"patch_size": 4}),
        ("convmixer_768_32", {"kernel_size": 5}),
        ("convmixer_768_32", {"dim": 160}),
        ("convmixer_768_32", {"depth": 8}),
    ],
)
def test_timm_takes_no_other_size_of_mixers_and_convmixers(timm_name, arguments):
    timm = pytest.importorskip("timm", reason=NO_TIMM)
    with pytest.raises(TypeError, match="multiple values for keyword argument"):
        timm.create_model(timm_name, **arguments)


def test_every_width_of_the_mlps_of_a_mixer_has_a_ratio_in_timm():
    config = architecture("mixer_b32", gelu="erf", image_size=32).config
    for hidden in range(1, 1000):
        weights = Weights("mixer", {**config, "token_hidden": hidden, "channel_hidden": 3 * hidden}, {})
        built = exact_timm_architecture(weights)
        assert isinstance(built, TimmArchitecture)
        assert [int(ratio * 768) for ratio in built.arguments["mlp_ratio"]] == [hidden, 3 * hidden]
