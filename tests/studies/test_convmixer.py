"""The study of ConvMixer from end to end on tiny images, and what it refuses before it trains."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.studies import convmixer
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.convmixer import Settings
from mixlab.studies.convmixer_claims import FACTORS
from mixlab.studies.result import study_page

SETTINGS = Settings(
    patch_sizes=("4", "2"),
    widths=("4", "8"),
    kernel_sizes=("1", "3"),
    depths=("1", "2"),
    base_patch_size=4,
    base_width=8,
    base_kernel_size=3,
    base_depth=1,
    seeds=2,
    epochs=1,
    images=40,
    image_size=8,
)
GRID = ["patch 2, width 4", "patch 4, width 4", "patch 2, width 8", "patch 4, width 8"]


def silent(sentence: str) -> None:
    pass


def few(split: Split, images: int) -> Split:
    return split.subset(np.arange(images))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    digits = open_dataset("digits", quiet=True)
    return replace(digits, splits={name: few(split, 60) for name, split in digits.splits.items()})


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset) -> TrainedArms:
    laboratory.datasets["digits"] = dataset
    return plan_arms(convmixer.arms(dataset, SETTINGS), dataset, silent, speed="off").train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return convmixer.conclude(trained, SETTINGS)


def configs(settings: Settings, dataset: Dataset) -> dict:
    return {name: recipes[0].config for name, recipes in convmixer.arms(dataset, settings).items()}  # pyright: ignore[reportAttributeAccessIssue]


def test_every_patch_size_has_every_width_and_the_base_network_is_changed_in_one_factor(dataset):
    found = configs(SETTINGS, dataset)
    assert list(found) == [*GRID, "kernel 1", "depth 2", *FACTORS]
    base = {"patch_size": 4, "channels": 8, "kernel_size": 3, "depth": 1}
    assert found["patch 4, width 8"] == base
    assert found["patch 2, width 4"] == base | {"patch_size": 2, "channels": 4}
    assert found["kernel 1"] == base | {"kernel_size": 1}
    assert found["depth 2"] == base | {"depth": 2}
    assert found["norm=layer"] == base | {"norm": "layer"}


def test_all_networks_have_the_recipe_of_convmixer_and_equal_steps(trained):
    recipes = [run.recipe for runs in trained.runs.values() for run in runs]
    for key in ("optimizer", "schedule", "augmentation", "loss"):
        assert all(recipe[key] == recipes[0][key] for recipe in recipes)
    assert len({training.steps for of_arm in trained.trainings.values() for training in of_arm}) == 1


def test_the_order_of_activation_and_norm_changes_neither_parameters_nor_multiply_accumulates(trained):
    base, changed = (trained.trainings[name][1].job for name in ("patch 4, width 8", "order=norm-activation"))
    assert changed.architecture.parameters == base.architecture.parameters
    assert changed.architecture.macs == base.architecture.macs


def test_a_base_network_outside_of_the_grid_is_one_more_arm(dataset):
    outside = replace(SETTINGS, base_width=16, factors=("norm=none",), depths=("1",))
    assert list(configs(outside, dataset)) == [*GRID, "patch 4, width 16", "kernel 1", "norm=none"]


def test_the_main_effect_of_patches_is_the_mean_over_the_widths(result):
    (effect,) = result.quantities
    assert effect.name == "patch 2 minus patch 4, mean of all widths"
    scores = {name: np.array(result[name].scores) for name in GRID}
    expected = (scores[GRID[0]] + scores[GRID[2]] - scores[GRID[1]] - scores[GRID[3]]) / 2
    assert effect.values == pytest.approx(expected)


def test_the_claim_of_larger_networks_is_the_interaction_of_patch_size_and_width(result):
    (finding,) = [finding for finding in result.findings() if "larger networks" in finding.claim.statement]
    assert finding.claim.contrast == (GRID[3], GRID[1], GRID[2], GRID[0])
    large, small = (
        np.subtract(result[a].scores, result[b].scores) for a, b in ((GRID[3], GRID[1]), (GRID[2], GRID[0]))
    )
    assert finding.difference.value == pytest.approx(np.mean(large - small))


def test_every_factor_has_a_claim_with_a_source(result):
    contrasts = [finding.claim.contrast for finding in result.findings()]
    base = "patch 4, width 8"
    assert contrasts[0] == ("patch 2 minus patch 4, mean of all widths",)
    assert contrasts[2:] == [(base, "kernel 1"), ("depth 2", base), *((factor, base) for factor in FACTORS)]
    assert all(finding.claim.source and finding.claim.regime for finding in result.findings())
    assert [finding.claim.expected for finding in result.findings()].count("equal") == 1


def test_the_page_has_the_accuracy_by_patch_size_for_each_width(result):
    html = study_page(result).html()
    for text in ("Accuracy by patch size for each width", "Accuracy with other factors", "norm=layer", "Chance is"):
        assert text in html
    table = result.tables()[0]
    assert [row["width"] for row in table.rows] == ["width 4", "width 8"]
    assert table.rows[0]["patch 2"] == result[GRID[0]].top1


def test_a_factor_with_one_value_has_no_claim(trained):
    cut = replace(SETTINGS, patch_sizes=("4",), depths=("1",), kernel_sizes=("3",), factors=("norm=none",))
    arms = {name: trained.runs[name] for name in (GRID[1], GRID[3], "norm=none")}
    found = convmixer.conclude(replace(trained, runs=arms), cut)
    assert [finding.claim.contrast for finding in found.findings()] == [("norm=none", GRID[3])]


def test_the_costs_count_what_is_not_in_the_store(laboratory, dataset, trained):
    started = len(laboratory.started)
    rows = plan_arms(convmixer.arms(dataset, replace(SETTINGS, seeds=3)), dataset, silent, speed="off").costs().rows
    assert (rows[-1]["trainings"], rows[-1]["missing"]) == (30, 10)
    assert len(laboratory.started) == started


def test_the_stated_cost_is_that_of_the_defaults(dataset):
    trainings = sum(map(len, convmixer.arms(dataset, Settings()).values()))
    assert f"{trainings} trainings of 25 epochs on 10,000 images" == convmixer.COST


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"patch_sizes": ("2", "x")}, '--patch-sizes 2,x has "x", which is not a whole number of 1 or more'),
        ({"widths": ("0",)}, '--widths 0 has "0", which is not a whole number of 1 or more'),
        ({"kernel_sizes": ("",)}, '--kernel-sizes  has "", which is not a whole number'),
        (
            {"patch_sizes": ("3",)},
            "--image-size 8 is not a multiple of patches of 3 pixels: give a multiple, such as 6",
        ),
        (
            {"base_patch_size": 16},
            "--image-size 8 is not a multiple of patches of 16 pixels: give a multiple, such as 16",
        ),
        ({"factors": ("norm=non",)}, 'Did you mean "norm=none"?'),
    ],
)
def test_settings_that_are_not_valid_are_refused(changes, sentence, dataset):
    with pytest.raises(UserError) as refusal:
        convmixer.arms(dataset, replace(SETTINGS, **changes))
    assert sentence in str(refusal.value)
