"""The settings of `mixlab compare --tune` in a study."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from mixlab.comparison.tuning import Trial, Tuning
from mixlab.errors import UserError
from mixlab.studies import permutation, resolution
from mixlab.studies.tuned import Tuned, read_tuned
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.search_space import sample_settings

MODELS = ("mixer_nano", "convmixer_nano")


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """The folder of a comparison: of three trials, the second is the best of the Mixer, the third of the ConvMixer."""
    scores = {"mixer_nano": (50.0, 70.0, 60.0), "convmixer_nano": (80.0, 70.0, 90.0)}
    tuning = {
        model: Tuning(
            cast(Any, None),  # the candidate, which is not stored
            tuple(Trial(*trial, cross_entropy=1.0) for trial in zip(sample_settings(3), scores[model], strict=True)),
        ).to_dict()
        for model in MODELS
    }
    (tmp_path / "results.json").write_text(json.dumps({"data": {"name": "pets"}, "tuning": tuning}))
    return tmp_path


def arms_of(tuned: Tuned, dataset: Any, **settings: Any) -> dict[str, Any]:
    given = {"models": MODELS, "image_size": 8, "patch_size": 4, "seeds": 2}
    return dict(tuned.applied(permutation.arms(dataset, permutation.Settings(**given | settings))))


def test_all_arms_of_a_model_have_its_best_settings(compared, shades):
    arms = arms_of(read_tuned(compared), shades)
    best = dict(zip(MODELS, sample_settings(3)[1:], strict=True))
    for recipe in (recipe for recipes in arms.values() for recipe in recipes):
        assert recipe.optimizer.learning_rate == best[recipe.model].learning_rate
        assert recipe.optimizer.weight_decay == best[recipe.model].weight_decay
        assert recipe.augmentation.pad_crop == round(best[recipe.model].augmentation * 8 / 4)
    depths = {recipes[0].model: recipes[0].config.get("stochastic_depth") for recipes in arms.values()}
    assert depths == {"mixer_nano": best["mixer_nano"].stochastic_depth, "convmixer_nano": None}


def test_what_else_the_study_sets_stays(compared, shades):
    plain = permutation.arms(shades, permutation.Settings(models=MODELS, image_size=8, patch_size=4, seeds=2))
    changed = read_tuned(compared).applied(plain)
    for name, recipes in plain.items():
        for before, after in zip(recipes, changed[name], strict=True):
            assert not isinstance(before, LinearProbeRecipe) and not isinstance(after, LinearProbeRecipe)
            same = {"optimizer": before.optimizer, "augmentation": before.augmentation, "config": before.config}
            assert after.model_copy(update=same) == before


def test_a_model_that_was_not_tuned_is_refused(compared, shades):
    with pytest.raises(UserError, match=r"davit_nano was not tuned in .*, which has settings for mixer_nano and conv"):
        arms_of(read_tuned(compared), shades, models=("mixer_nano", "davit_nano"))


def test_a_study_that_varies_the_settings_itself_is_refused(compared, shades):
    settings = resolution.Settings(seeds=2)
    with pytest.raises(UserError, match="changes the optimizer or the augmentation of mixer_nano itself: leave it out"):
        read_tuned(compared).applied(resolution.arms(shades, settings))


@pytest.mark.parametrize("content", [None, "{}", "no json", '{"tuning": {"mixer_nano": {"best": 0, "trials": []}}}'])
def test_a_folder_without_tuned_settings_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match="is not the result of a comparison with tuned settings: give the folder that"):
        read_tuned(tmp_path)


def test_the_note_names_trials_and_data(compared):
    assert "the best of 3 trials of its model on training images of pets" in read_tuned(compared).note
