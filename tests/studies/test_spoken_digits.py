"""The study of spoken digits: its baseline, its recipes, and the whole study on generated tones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.studies import spoken_digits
from mixlab.studies.arms import plan_arms
from mixlab.studies.pilot import pilot_arms
from mixlab.studies.result import study_page
from mixlab.studies.spoken_digits import CLAIMS, MODELS, OFFICIAL, SPECTROGRAM, Settings, arm_name, svm_accuracy
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.zoo.architecture import architecture
from sounds import tone, write_sound

SPEAKERS = ("george", "lucas")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Tones of ten pitches by two speakers, in place of the recordings."""
    rng = np.random.default_rng(0)
    for digit in range(10):
        for speaker, shift in zip(SPEAKERS, (1.0, 1.05), strict=True):
            for number in range(8):
                hz = 250 * 1.3**digit * shift * rng.uniform(0.99, 1.01)
                write_sound(
                    tmp_path / "digits/recordings" / f"{digit}_{speaker}_{number}.wav", tone(hz, 0.4, 8_000), 8_000
                )
    return tmp_path / "digits"


def test_the_baseline_distinguishes_tones(digits: Path):
    assert svm_accuracy(open_dataset(f"spoken-digits:{digits}", quiet=True)) > 90


def test_models_have_similar_costs():
    sizes = {"image_size": SPECTROGRAM.image_size, "classes": 10}
    configs = {model: read_recipe(f"sounds_{model.removesuffix('_nano')}").get("config", {}) for model in MODELS}
    macs = [architecture(model, **{**sizes, **configs[model], **config}).macs for model, config in MODELS.items()]
    assert min(macs) > 6e6 and max(macs) < 12.5e6


def test_recipes_have_the_spectrogram_of_the_study_and_no_flips(digits: Path):
    arms = spoken_digits.arms(open_dataset(f"spoken-digits:{digits}", quiet=True), Settings())
    assert sum(map(len, arms.values())) == 3 * 6 + 4 * 6
    for recipe in (recipe for recipes in arms.values() for recipe in recipes):
        assert isinstance(recipe, Recipe)
        assert recipe.preprocessing.spectrogram == SPECTROGRAM
        assert not recipe.augmentation.flip
        assert recipe.validation == "merged"


def test_each_repetition_leaves_another_speaker_out(digits: Path):
    dataset = open_dataset(f"spoken-digits:{digits}", quiet=True)
    arms = spoken_digits.arms(dataset, Settings())
    assert {recipe.data for recipe in arms[arm_name("mixer_nano", OFFICIAL)]} == {dataset.name}
    left_out = [recipe.data.removeprefix(dataset.name) for recipe in arms[arm_name("mixer_nano")]]
    assert left_out == [f":test=_{speaker}_" for speaker in spoken_digits.SPEAKERS]


@pytest.mark.parametrize("name", ["digits", "spoken-digits:test=_george_"])
def test_other_data_are_refused(name: str):
    dataset = replace(open_dataset("digits", quiet=True), name=name)
    with pytest.raises(UserError, match=rf"needs the Free Spoken Digit Dataset .*, not {name}: give --data spoken"):
        spoken_digits.arms(dataset, Settings())


def test_a_pilot_is_refused(digits: Path):
    dataset = open_dataset(f"spoken-digits:{digits}", quiet=True)
    with pytest.raises(UserError, match="trainings of this study are evaluated on other data, such as spoken-digits:"):
        pilot_arms(spoken_digits.arms(dataset, Settings()), dataset)


@pytest.mark.long
def test_the_study_runs_on_tones(digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(spoken_digits, "SPEAKERS", SPEAKERS)
    settings, dataset = Settings(epochs=1), open_dataset(f"spoken-digits:{digits}", quiet=True)
    planned = plan_arms(spoken_digits.arms(dataset, settings), dataset, silent, speed="off")
    trained = planned.train(log=silent, quiet=True)
    result = spoken_digits.conclude(trained, settings)
    assert {claim.contrast for claim in CLAIMS} == {finding.claim.contrast for finding in result.findings()}
    assert len(result[arm_name("mixer_nano")].scores) == 2
    assert len(result[arm_name("support vector machine")].scores) == 2
    assert len(result.training_seconds) == 3 * 2 + 4 * 2
    assert "support vector machine" in " ".join(result.notes)
    assert "george, lucas" in result.methods
    assert "Accuracy by split" in study_page(result, ()).html()
    assert result.to_dict()["quantities"][0]["name"] == "gap of mixer_nano"

    lucas = trained.predictions(arm_name("mixer_nano"))[1]
    assert lucas.names is not None and len(lucas.names) == 10 * 8
    assert all("_lucas_" in name for name in lucas.names)
    trained.write_correctness(tmp_path / "correct")
    assert len(list((tmp_path / "correct").iterdir())) == 3 * 2 + 4 * 2


def silent(line: str) -> None:
    pass
