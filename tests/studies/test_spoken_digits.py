"""The study of spoken digits: its baseline, its recipes, and the whole study on generated tones."""

from pathlib import Path

import numpy as np
import pytest

from mixlab.data.sources import open_dataset
from mixlab.studies import spoken_digits
from mixlab.studies.result import study_page
from mixlab.studies.spoken_digits import CLAIMS, MODELS, SPECTROGRAM, Settings, arm_name, svm_accuracy
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe
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


def test_recipes_have_the_spectrogram_of_the_study_and_no_flips():
    for of_arm in spoken_digits._fold_arms(Settings(), 0).values():
        recipe = parse_training_recipe(of_arm[0], "recipe")
        assert recipe.preprocessing.spectrogram == SPECTROGRAM
        assert not recipe.augmentation.flip
        assert recipe.validation == "merged"


@pytest.mark.long
def test_the_study_runs_on_tones(digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(spoken_digits, "SPEAKERS", SPEAKERS)
    monkeypatch.setattr("mixlab.studies.spoken_digits.plan_arms", eager(spoken_digits.plan_arms))
    settings = Settings(folder=str(digits), seeds=2, epochs=1)
    result = spoken_digits.run(settings, quiet=True, log=lambda line: None)
    assert {claim.contrast for claim in CLAIMS} == {finding.claim.contrast for finding in result.findings()}
    assert len(result[arm_name("mixer_nano")].scores) == 2
    assert len(result[arm_name("support vector machine")].scores) == 2
    assert len(result.training_seconds) == 3 * 2 + 4 * 2
    assert "support vector machine" in " ".join(result.notes)
    assert "george, lucas" in result.methods
    assert "Accuracy by split" in study_page(result, ()).html()
    assert result.to_dict()["quantities"][0]["name"] == "gap of mixer_nano"


def eager(plan_arms):
    """The function without timing."""
    return lambda recipes, dataset, log: plan_arms(recipes, dataset, log, speed="off")
