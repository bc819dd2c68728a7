"""Architectures outside the families: variants, and models in files of the user."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mixlab
from mixlab.errors import UserError
from mixlab.models.contract import input_dtype, input_shape
from mixlab.zoo import user_code
from mixlab.zoo.architecture import architecture, create_model, variant_names
from mixlab.zoo.code_names import split_name, with_file

CODE = '''
"""A linear model."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Config:
    image_size: int = 8
    image_channels: int = 3
    classes: int = 2
    width: int = 4


class Model(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        pixels = config.image_channels * config.image_size**2
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.width))
        self.body, self.norm = nn.Identity(), nn.Identity()
        self.head = nn.Linear(config.width, config.classes)

    def feature_maps(self, images):
        return (self.embed(images)[:, :, None, None],)

    def embed(self, images):
        return self.norm(self.body(self.stem(images)))

    def forward(self, images):
        return self.head(self.embed(images))


def wide(config: Config):
    return Model(Config(config.image_size, config.image_channels, config.classes, 2 * config.width))


def without_config(width):
    return nn.Linear(width, width)
'''


@pytest.fixture(autouse=True)
def nothing_trusted(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(user_code, "_trusts_all", False)


HEAD = "self.head = nn.Linear(config.width, config.classes)"
FORWARD = "return self.head(self.embed(images))"


@pytest.fixture
def file(tmp_path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(CODE)
    return file


SMALL = "image_size=32:patch_size=8:channels=16:token_hidden=8:channel_hidden=32:depth=2"
SMALL_VARIANTS = {
    "ablated_convmixer": "image_size=32:patch_size=8:channels=16:kernel_size=3:depth=2:residual=none:norm=layer",
    "ablated_davit": "image_size=32:channels=[8,16]:depths=[1,1]:heads=[1,2]:window=2:attention=channel-window",
    "attention_mixer": SMALL,
    "metaformer": "image_size=32:patch_size=8:channels=16:channel_hidden=32:depths=[1]:mixing=depthwise",
    "pooling_mixer": SMALL,
    "text_mixer": "tokens=6:features=3:channels=16",
    "text_transformer": "tokens=6:features=3:channels=16",
    "untied_mixer": f"{SMALL}:token_weights=per-channel:channel_weights=per-patch",
}


def test_every_file_of_the_variants_is_listed():
    folder = Path(mixlab.models.variants.__path__[0])
    assert variant_names() == sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")
    assert variant_names() == sorted(SMALL_VARIANTS)


@pytest.mark.parametrize("name", SMALL_VARIANTS)
def test_a_variant_is_built_by_its_name_and_fields(name):
    model = create_model(f"variant:{name}:{SMALL_VARIANTS[name]}", classes=5)
    assert model(torch.zeros(2, *input_shape(model.config), dtype=input_dtype(model.config))).shape == (2, 5)


def test_an_unknown_variant_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r'no variant "atention_mixer": .*Did you mean "attention_mixer"'):
        architecture("variant:atention_mixer")


def test_the_missing_fields_of_a_variant_are_named():
    with pytest.raises(UserError, match=r"variant:pooling_mixer lacks fields of its config \(.*'patch_size'"):
        architecture("variant:pooling_mixer", classes=5)


@pytest.mark.parametrize(("name", "width"), [("Model", 4), ("Model:width=6", 6), ("wide", 8)])
def test_a_class_or_a_function_of_a_file_is_built(file, name, width):
    model = create_model(f"py:{file}:{name}", classes=3)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert model.get_parameter("head.weight").shape == (3, width)


@pytest.mark.parametrize(
    "name", ["mixer_nano", f"variant:pooling_mixer:{SMALL}", "timm:resnet18", "py:{file}:Model:width=6"]
)
def test_a_pickled_architecture_builds_the_same_model(file, name):
    name = name.format(file=file)
    user_code.trust_code(file)
    built = architecture(name, classes=3)
    again = pickle.loads(pickle.dumps(built))
    assert again == built
    assert [tensor.shape for tensor in again.on_meta().parameters()] == [
        tensor.shape for tensor in built.on_meta().parameters()
    ]


def test_untrusted_code_is_not_run(file):
    marker = file.with_name("ran")
    file.write_text(f"open({str(marker)!r}, 'w').close()\n{CODE}")
    with pytest.raises(UserError, match=r"mine\.py is a model's code that was not run on this machine before: read it"):
        architecture(f"py:{file}:Model")
    assert not marker.exists()
    mixlab.trust_code(file)
    architecture(f"py:{file}:Model")
    assert marker.exists()


@pytest.mark.parametrize(
    ("change", "trusted"),
    [
        (lambda code: code, True),
        (lambda code: code.replace('"""A linear model."""', "# A comment."), True),
        (lambda code: code.replace("2 * config.width", "3 * config.width"), False),
    ],
    ids=["a copy", "another comment", "another number"],
)
def test_copies_of_trusted_code_are_trusted(file, tmp_path, change: Callable[[str], str], trusted):
    mixlab.trust_code(file)
    other = tmp_path / "elsewhere.py"
    other.write_text(change(CODE))
    if trusted:
        user_code.require_trusted(other)
    else:
        with pytest.raises(UserError, match="--trust-code"):
            user_code.require_trusted(other)


def test_trust_all_code_trusts_all_files_from_then_on(file):
    user_code.trust_all_code()
    assert architecture(f"py:{file}:Model").config["width"] == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("py:{file}", r"is incomplete: write py:FILE\.py:NAME"),
        ("py:{file}:Modell", r'mine\.py has no class or function Modell: .*Did you mean "Model"'),
        ("py:{file}:Model:widht=3", r'"widht" is not a field of Config: .*Did you mean "width"'),
        ("py:{file}:without_config", r"takes no config: give it one parameter that is annotated with a dataclass"),
        ("py:{file.parent}:Model", r"There is no file .*: give py:FILE\.py:NAME"),
        ("py:{file}x:Model", r"There is no file .*mine\.pyx: give py:FILE\.py:NAME"),
    ],
)
def test_a_name_that_can_not_be_built_is_refused(file, name, sentence):
    user_code.trust_code(file)
    with pytest.raises(UserError, match=sentence):
        architecture(name.format(file=file))


def test_the_path_of_a_file_may_have_colons(tmp_path):
    file = tmp_path / "run-10:30" / "mine.py"
    file.parent.mkdir()
    file.write_text(CODE)
    model = create_model(f"py:{file}:Model:width=3:classes=5")
    assert (model.config.width, model.config.classes) == (3, 5)  # pyright: ignore
    assert split_name("py:a:b.py:Model:width=3") == ("a:b.py", ["Model", "width=3"])
    assert with_file("py:a:b.py:Model:width=3", "/c.py") == "py:/c.py:Model:width=3"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FORWARD, "return self.head(self.embed(images)).detach()"),
        (HEAD, f"{HEAD}\n        self.requires_grad_(False)"),
    ],
)
def test_a_model_without_anything_to_train_is_refused_for_training(file, before, after):
    assert before in CODE
    file.write_text(CODE.replace(before, after, 1))
    model = create_model(f"py:{file}:Model", width=2)
    with pytest.raises(UserError, match="mine has nothing to train: its logits depend on no parameter with requires_"):
        user_code.require_trainable(model.to("meta"), "mine")


def test_a_file_that_is_not_python_is_refused(file):
    file.write_text("def broken(:\n")
    with pytest.raises(UserError, match=r"mine\.py is not valid Python \(.*\): correct it"):
        create_model(f"py:{file}:Model")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("config: Config):", "config):", r"Model takes no config: give it one parameter that is annotated with a"),
        ("@dataclass(frozen=True)\n", "", r"Model takes no config: give it one parameter that is annotated with a"),
        ("    classes: int = 2\n", "", r"has a config, Config, without classes: add these fields to the dataclass"),
        (", self.norm = nn.Identity(),", ", self.other = nn.Identity(),", r"has no norm: a model needs config, stem, "),
        ("self.head = ", "self.classifier = ", r"has no head: a model needs config, stem, body, norm, head, embed"),
        ("self.config = config", "pass", r"has no config: a model needs config, stem"),
        (FORWARD, "return self.embed(images)", r"returns \(2, 4\) for images of shape \(2, 3, 8, 8\): forward must"),
        (
            FORWARD,
            "return [images]",
            r"returns list for images of shape \(2, 3, 8, 8\): forward must return the logits",
        ),
        (
            FORWARD,
            "return self.head(images)",
            r"can't compute .* because line \d+ raises RuntimeError: .*\. Correct it",
        ),
        ("self.config = config", "config.depth", r"can't be built, because line \d+ raises AttributeError: "),
        ("from torch import nn\n", "import torhc\n", r"can't be imported, because line \d raises ModuleNotFoundError"),
        ("from torch import nn\n", "import torhc\n", r"without imports of your other files\)\. Correct it"),
        (
            "from torch import nn\n",
            "import sys\nsys.exit(0)\n",
            r"can't be imported, because line \d raises SystemExit",
        ),
        (
            "config: Config):",
            "config: 'Confg'):",
            r"has annotations that can't be read, because .* name 'Confg' is not",
        ),
    ],
)
def test_a_mistake_in_the_code_is_one_sentence_with_its_place(file, before, after, sentence):
    assert before in CODE
    file.write_text(CODE.replace(before, after, 1))
    with pytest.raises(UserError, match=rf"mine\.py.*{sentence}") as refused:
        create_model(f"py:{file}:Model")
    assert "\n" not in str(refused.value)
