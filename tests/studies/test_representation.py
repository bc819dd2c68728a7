"""Representations of runs: similarity, consistency and cues, on runs of a few steps."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.stats.intervals import mean_interval
from mixlab.studies import representation
from mixlab.studies.cue_conflict import partners, with_amplitudes_of
from mixlab.studies.representation import Settings, layers_of
from mixlab.studies.representation_claims import Alone, alone
from mixlab.studies.representation_result import Pair, RepresentationResult
from mixlab.studies.result import study_page
from mixlab.training.launch import launch
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.architecture import architecture
from report.test_references import entry_keys
from studies.test_result import written

CPU = torch.device("cpu")


@pytest.fixture
def result_of_pairs() -> Callable[[Mapping[tuple[str, str], float]], RepresentationResult]:
    """A result with this CKA of one layer for each pair of runs of the models a and b, and no kappa."""

    def made(similar: Mapping[tuple[str, str], float]) -> RepresentationResult:
        pairs = tuple(Pair(a, b, a[0] == b[0], np.array([[cka]]), None) for (a, b), cka in similar.items())
        models = {name: name[0] for name in ("a0", "a1", "a2", "b0", "b1", "b2")}
        nobody = Alone((np.array([], dtype=int),) * 2, 0.0, 1.0)
        given: dict[str, Any] = {
            "data": "shades",
            "settings": {"batch": 8},
            "accuracy": {},
            "names": (),
            "shape": {},
            "trainings": {},
        }
        given |= {"models": models, "pairs": pairs, "alone": nobody, "images": 8, "references": (), "environment": {}}
        return RepresentationResult(**given)

    return made


@pytest.fixture
def runs(tmp_path: Path, shades: Dataset, tiny_recipe: dict[str, Any]) -> tuple[str, ...]:
    """Two seeds of a Mixer, and a ConvMixer."""
    other = {"model": "convmixer_nano", "config": {"patch_size": 4, "channels": 8, "kernel_size": 3, "depth": 2}}
    folders = []
    for name, changes in (("a", {}), ("b", {"seed": 1}), ("c", other)):
        recipe = parse_training_recipe(tiny_recipe | changes, name)
        folders.append(str(launch(recipe, shades, CPU, tmp_path / name, log=lambda text: None, quiet=True).path))
    return tuple(folders)


def run(shades: Dataset, runs: tuple[str, ...], **settings: int) -> RepresentationResult:
    return representation.run(shades, Settings(runs=runs, **settings), quiet=True, log=lambda text: None)


def test_all_pairs_are_compared_layer_by_layer(shades, runs):
    result = run(shades, runs, batch=12)
    assert result.images == 12
    assert [(pair.same_model, pair.cka.shape) for pair in result.pairs] == [
        (True, (1, 1)),
        (False, (1, 2)),
        (False, (1, 2)),
    ]
    assert all(pair.similarity <= 1 + 1e-9 for pair in result.pairs)
    tables = result.tables()
    assert [row["pairs"] for row in tables[0].rows] == [1, 2]
    html = study_page(result).html()
    assert html.count("CKA of the layers of ") == 2  # pairs of models
    assert ("Shapes among answers with either cue (%)" in html) == any(map(sum, result.shape.values()))
    assert len(result.to_dict()["pairs"]) == 3


def test_a_copy_of_a_run_has_the_same_features_and_errors(shades, runs, tmp_path):
    copy = str(shutil.copytree(runs[0], tmp_path / "copy"))
    (pair,) = run(shades, (runs[0], copy), batch=12).pairs
    assert pair.cka == pytest.approx(np.ones((1, 1)))
    assert pair.consistency in (None, pytest.approx(1))


def test_runs_of_a_model_differ_in_their_seeds_only(shades, runs, tiny_recipe, tmp_path):
    recipe = parse_training_recipe(tiny_recipe | {"batch": 4, "seed": 3}, "longer")
    longer = str(launch(recipe, shades, CPU, tmp_path / "longer", log=lambda text: None, quiet=True).path)
    with pytest.raises(UserError, match=r"a and .*longer are runs of mixer_nano, but their recipes differ in batch, "):
        run(shades, (*runs, longer), batch=12)


def test_bad_runs_and_too_few_images_are_refused(shades, runs):
    with pytest.raises(UserError, match="give --runs with two or more folders"):
        run(shades, runs[:1])
    with pytest.raises(UserError, match=r"--runs .*a,.* has a value twice"):
        run(shades, (*runs, runs[0]))
    with pytest.raises(UserError, match="has 12 test images, but the study needs 64"):
        run(shades, runs)
    renamed = Dataset("others", ("black", "white"), shades.splits)
    with pytest.raises(UserError, match="trained on other classes"):
        run(renamed, runs)


def test_images_with_both_cues_have_the_phases_of_one_and_the_amplitudes_of_the_other():
    shapes, textures = torch.randn(2, 3, 3, 8, 10, dtype=torch.float64)
    made = torch.fft.fft2(with_amplitudes_of(shapes, textures))
    assert torch.allclose(made.abs(), torch.fft.fft2(textures).abs())
    phases = (made / torch.fft.fft2(shapes)).angle().flatten(2)[..., 1:]
    assert torch.allclose(phases, torch.zeros_like(phases), atol=1e-9)
    assert torch.allclose(with_amplitudes_of(shapes, shapes), shapes)


def test_a_partner_is_of_another_class():
    labels = np.arange(60) % 3
    assert (labels[partners(labels, seed=0)] != labels).all()


@pytest.mark.parametrize(
    ("name", "layers"),
    [("mixer_nano", 6), ("convmixer_nano", 8), ("davit_nano", 6), ("vit_nano", 5), ("resnet_nano", 4)],
)
def test_the_layers_of_a_model_are_its_blocks(name, layers):
    assert len(layers_of(architecture(name).on_meta())) == layers


def test_images_that_one_model_alone_classifies_correctly_are_found():
    """Three runs of each of three models: images 0 and 1 are right for the first model only, 2 for two of its runs."""
    correct = np.zeros((9, 40), dtype=bool)
    correct[:, 10:20] = True
    correct[0:3, 0:2] = True
    correct[0:2, 2] = True
    correct[3:6, 5] = True
    found = alone(correct, [0, 0, 0, 1, 1, 1, 2, 2, 2], seed=0)
    assert [images.tolist() for images in found.images] == [[0, 1], [5], []]
    assert found.p == pytest.approx(1 / 280, abs=0.004)  # of the 280 ways to form three groups of three
    assert found.expected == pytest.approx(3 * 3 / 84, abs=0.03)  # each image is that of one of 84 groups of three


def test_more_images_of_one_model_alone_than_by_chance_need_differences_between_models():
    correct = np.random.default_rng(0).random((9, 500)) < 0.3
    assert alone(correct, [0, 0, 0, 1, 1, 1, 2, 2, 2], seed=0).p > 0.05


def test_models_are_compared_with_seeds_in_claims(shades, runs, tmp_path):
    """Identical seeds and another model: the difference is that of the model."""
    copies = [
        str(shutil.copytree(name, tmp_path / f"copy-{number}"))
        for number, name in enumerate((runs[0], runs[0], runs[2], runs[2]))
    ]
    result = run(shades, (runs[0], *copies[:2], runs[2], *copies[2:]), batch=12)
    features, errors = result.findings()
    between = next(pair for pair in result.pairs if not pair.same_model)
    assert features.difference is not None and features.difference.n == 3
    assert features.difference.value == pytest.approx(between.similarity - 1)
    assert features.claim.expected == errors.claim.expected == "lower"
    assert "less similar than those of two seeds" in study_page(result).html()
    assert "2 claims of a direction were tested" in result.methods and "@article{student," in result.bibtex
    assert set(result.to_dict()["alone"]) == {"mixer_nano", "convmixer_nano"}


def test_methods_name_images_runs_and_the_sources_of_the_measures(shades, runs, tmp_path):
    result = run(shades, runs, batch=12)
    assert "3 runs of 2 models were compared on 12 test images of shades" in result.methods
    assert "means over batches of 12 images" in result.methods
    assert "t test" not in result.methods and "Student" not in result.methods  # there are no claims
    assert result.methods.endswith(f" on {result.environment['device']}.")
    measures = ["cka", "ckabatches", "hsic", "errorconsistency", "phase", "cueconflict", "permutationp", "wilson"]
    assert entry_keys(result.bibtex) == ["mixlab", "pytorch", "mixer", "convmixer", *measures]
    notes = result.tables()[-1].notes
    assert f"{runs[1]}: mixer_nano on shades, 6 steps, seed 1." in notes
    stored = written(result, tmp_path)
    assert (stored["methods"], stored["bibtex"]) == (result.methods, result.bibtex)


def test_a_claim_counts_no_pair_of_runs_as_a_sample(result_of_pairs):
    """All pairs with different seeds are used, and the interval has two degrees of freedom."""
    similar = {("a0", "a1"): 0.9, ("a0", "a2"): 0.8, ("a1", "a2"): 0.7, ("b0", "b1"): 0.5, ("b0", "b2"): 0.7}
    similar |= {("b1", "b2"): 0.9, ("a0", "b1"): 0.2, ("a1", "b0"): 0.4, ("a0", "b2"): 0.3, ("a2", "b0"): 0.3}
    similar |= {("a1", "b2"): 0.1, ("a2", "b1"): 0.5, ("a0", "b0"): 0.0, ("a1", "b1"): 0.0, ("a2", "b2"): 0.0}
    features, errors = result_of_pairs(similar).findings()
    below = {(0, 1): 0.3 - 0.7, (0, 2): 0.3 - 0.75, (1, 2): 0.3 - 0.8}
    expected = [below[0, 1] + below[0, 2] - below[1, 2], below[0, 1] + below[1, 2] - below[0, 2]]
    expected.append(below[0, 2] + below[1, 2] - below[0, 1])
    interval = mean_interval(expected, "CKA")
    assert features.difference is not None and features.difference.n == 3
    found = (features.difference.value, features.difference.low, features.difference.high)
    assert found == pytest.approx((interval.value, interval.low, interval.high))
    assert errors.difference is None and errors.verdict == "not testable at this scale"


def test_without_three_runs_of_two_models_there_are_no_claims(shades, runs):
    assert run(shades, runs, batch=12).findings() == []
