"""Parsing of recipes: errors name the key, and a written recipe is parsed to the same recipe."""

import tomllib
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from mixlab.errors import UserError
from mixlab.training.recipes import key_hints
from mixlab.training.recipes.key_hints import all_keys
from mixlab.training.recipes.parse import apply_overrides, parse_recipe, parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe, recipe_names
from mixlab.training.recipes.schema import Recipe


def test_an_unknown_key_is_refused_with_a_suggestion(tiny_recipe):
    with pytest.raises(UserError, match=r'^mine.toml: the key "batsch" is unknown\. Did you mean "batch"\?$'):
        parse_training_recipe(tiny_recipe | {"batsch": 4}, "mine.toml")


@pytest.mark.parametrize(
    ("section", "misspelt", "meant"),
    [
        ("optimizer", "learning_rat", "learning_rate"),
        ("schedule", "warm_up", "warmup"),
        ("augmentation", "flipp", "flip"),
        ("augmentation.affine", "degres", "degrees"),
        ("augmentation.random_resized_crop", "ration", "ratio"),
        ("loss", "labels_smoothing", "label_smoothing"),
        ("ema", "decya", "decay"),
        ("expected", "top_1", "top1"),
    ],
)
def test_an_unknown_key_of_a_section_is_refused_with_a_suggestion(tiny_recipe, section, misspelt, meant):
    fields = apply_overrides(tiny_recipe, [f"{section}.{misspelt}=1"])
    with pytest.raises(UserError, match=rf'the key "{section}\.{misspelt}" is unknown\. Did you mean "{meant}"\?$'):
        parse_training_recipe(fields, "mine.toml")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr", '"optimizer.learning_rate"'),
        ("optimizer.lr", '"optimizer.learning_rate"'),
        ("learning_rate", '"optimizer.learning_rate"'),
        ("learnign_rate", '"optimizer.learning_rate"'),
        ("weight_decay", '"optimizer.weight_decay"'),
        ("batch_size", '"batch"'),
        ("epoch", '"epochs"'),
        ("img_size", '"image_size"'),
        ("lr_scheduler", '"schedule.name"'),
        ("decay", '"ema.decay"'),
        ("teacher", '"distillation.teacher"'),
        ("loss.smoothing", '"loss.label_smoothing"'),
        ("weights", '"initialization.weights"'),
    ],
)
def test_the_names_of_other_tools_and_keys_without_their_section_are_refused_with_the_key(tiny_recipe, key, meant):
    with pytest.raises(UserError) as refused:
        parse_training_recipe(apply_overrides(tiny_recipe, [f"{key}=1"]), "mine.toml")
    assert str(refused.value) == f'mine.toml: the key "{key}" is unknown. Did you mean {meant}?'


@pytest.mark.parametrize("key", ["epochs", "optimizer.learning_rate"])
def test_keys_of_a_training_are_refused_in_a_linear_probe(key):
    fields = apply_overrides({"model": "mixer_b16.goog_in1k", "data": "digits", "linear_probe": {}}, [f"{key}=1"])
    with pytest.raises(UserError, match=r"This recipe is a linear probe, which has no training steps: remove the key"):
        parse_recipe(fields, "probe.toml")


def test_a_name_instead_of_a_section_is_refused_with_the_key(tiny_recipe):
    fields = apply_overrides(tiny_recipe, ["optimizer=sgd"])
    with pytest.raises(
        UserError, match=r"optimizer='sgd' is invalid: optimizer is a section\. Did you mean optimizer\.name\?$"
    ):
        parse_training_recipe(fields, "mine.toml")


def test_every_suggested_key_exists():
    known = {*all_keys(Recipe), "config.stochastic_depth"}
    assert set(key_hints._OTHER_NAMES.values()) <= known
    assert not set(key_hints._OTHER_NAMES) & set(signature(Recipe).parameters)


def test_an_unknown_key_without_a_similar_one_is_refused_with_all_keys_of_the_section(tiny_recipe):
    fields = apply_overrides(tiny_recipe, ["augmentation.affine.zoom=1"])
    with pytest.raises(UserError, match=r"zoom\" is unknown\. Known keys: degrees, scale, translate\.$"):
        parse_training_recipe(fields, "mine.toml")


def test_a_missing_key_is_named_with_its_section(tiny_recipe):
    with pytest.raises(UserError, match=r'^mine.toml: the key "optimizer.learning_rate" is missing'):
        parse_training_recipe(tiny_recipe | {"optimizer": {"weight_decay": 0.0}}, "mine.toml")


def test_a_misspelt_section_is_reported_instead_of_a_missing_one(tiny_recipe):
    tiny_recipe["optimiser"] = tiny_recipe.pop("optimizer")
    with pytest.raises(UserError, match=r'the key "optimiser" is unknown\. Did you mean "optimizer"\?$'):
        parse_training_recipe(tiny_recipe, "mine.toml")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("batch=1", "batch=1 is invalid: it must be greater than or equal to 2 or 'auto'."),
        ("batch=many", "batch='many' is invalid: it must be a valid integer or 'auto'."),
        ("image_size=big", "image_size='big' is invalid: it must be a valid integer or a list."),
        ("speed=on", "speed='on' is invalid: it must be 'auto' or 'off'."),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate=inf is invalid: it must be a finite number."),
        ("optimizer.betas=[0.9]", "optimizer.betas=[0.9] is invalid: it must be a list of another length."),
        ("augmentation.affine=3", "augmentation.affine=3 is invalid: it must be a section with keys."),
        ("model.size=1", "model={'size': 1} is invalid: it must be a valid string."),
    ],
)
def test_an_invalid_value_is_reported_with_its_rule(tiny_recipe, setting, sentence):
    with pytest.raises(UserError) as refused:
        parse_training_recipe(apply_overrides(tiny_recipe, [setting]), "mine.toml")
    assert str(refused.value) == f"mine.toml: {sentence}"


def test_an_error_of_the_augmentation_is_reported_once_and_unchanged(tiny_recipe):
    with pytest.raises(UserError) as refused:
        parse_training_recipe(apply_overrides(tiny_recipe, ["augmentation.affine.degrees=500"]), "mine.toml")
    sentence = "augmentation.affine.degrees=500.0 is invalid: it must be between 0 and 180."
    assert str(refused.value) == f"mine.toml: {sentence}"


@pytest.mark.parametrize("lengths", [{}, {"epochs": 2, "steps": 9}])
def test_a_recipe_has_exactly_one_of_epochs_and_steps(tiny_recipe, lengths):
    del tiny_recipe["steps"]
    with pytest.raises(UserError, match=r"^mine.toml: a recipe needs exactly one of epochs and steps"):
        parse_training_recipe(tiny_recipe | lengths, "mine.toml")


@pytest.mark.parametrize(
    ("setting", "section", "value"),
    [
        ("seed=3", {}, {"seed": 3}),
        ("model=timm:resnet18", {}, {"model": "timm:resnet18"}),
        ("speed = 'off'", {}, {"speed": "off"}),
        ("image_size=[8, 12]", {}, {"image_size": [8, 12]}),
        ("a.b.c=true", {"a": {"x": 1}}, {"a": {"x": 1, "b": {"c": True}}}),
        ("a={ b = 2 }", {"a": {"x": 1}}, {"a": {"b": 2}}),
    ],
)
def test_a_setting_is_parsed_as_toml_or_is_a_string(setting: str, section: dict[str, Any], value: dict[str, Any]):
    assert apply_overrides(section, [setting]) == value


def test_a_setting_does_not_change_the_original_recipe():
    fields = {"optimizer": {"name": "adamw"}}
    apply_overrides(fields, ["optimizer.name=sgd"])
    assert fields == {"optimizer": {"name": "adamw"}}


def test_a_length_replaces_the_length_of_the_recipe():
    assert apply_overrides({"epochs": 30, "seed": 1}, ["steps=5"]) == {"seed": 1, "steps": 5}
    assert apply_overrides({"steps": 30}, ["epochs=5"]) == {"epochs": 5}


def test_a_setting_without_a_value_is_refused_with_an_example():
    with pytest.raises(UserError, match=r'--set "epochs" has no "=": .*for example --set optimizer\.name=sgd'):
        apply_overrides({}, ["epochs"])


def test_an_unknown_recipe_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r'no recipe "digits_mixxer": .*Did you mean "digits_mixer"\?$'):
        read_recipe("digits_mixxer")


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("model = \n")
    with pytest.raises(UserError, match=r"mine\.toml is not valid TOML: .*line 1.*Correct this line"):
        read_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_being_written_and_parsed(name: str):
    recipe = parse_training_recipe(read_recipe(name), name)
    assert parse_training_recipe(tomllib.loads(tomli_w.dumps(recipe.to_dict())), "again") == recipe
