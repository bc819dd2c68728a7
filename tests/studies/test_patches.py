"""The study of patches from end to end on few images, how it chooses rates and matches networks, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.folds import training_folds
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.stats.intervals import mean_interval
from mixlab.studies import patches
from mixlab.studies.arms import Arms, TrainedArms, plan_arms
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.patches import FOLDS, Settings, arm_name
from mixlab.studies.patches_claims import claims
from mixlab.studies.patches_design import FEW, MANY, MIXINGS, STEMS, Cell, cells
from mixlab.studies.patches_result import Measured, chosen_rates
from mixlab.studies.result import study_page
from mixlab.training.recipes.schema import Recipe
from mixlab.zoo.architecture import architecture
from studies.test_permutation import image_folder, silent

SETTINGS = Settings(
    fraction="half", rates=("0.02", "0.001"), seeds=2, epochs=1, share=50, batch=8, image_size=8, patch_size=4,
    parameters=80_000, macs=320_000, tolerance=5.0, widths=("32",),
)  # fmt: skip
ANY = Cell("attention", "patch", "isotropic", MANY)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(image_folder(tmp_path_factory.mktemp("noise"), classes=2, images=20), quiet=True)


@pytest.fixture(scope="module")
def arms(dataset: Dataset) -> Arms:
    return patches.arms(dataset, SETTINGS)


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset, arms: Arms) -> TrainedArms:
    return plan_arms(arms, dataset, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return patches.conclude(trained, SETTINGS)


@pytest.mark.long
def test_there_is_an_arm_for_each_cell_and_rate(arms):
    assert list(arms) == [arm_name(cell, rate) for rate in (0.001, 0.02) for cell in cells("half")]


@pytest.mark.long
def test_networks_differ_in_their_factors_and_match_in_parameters_and_multiply_accumulates(arms):
    for cell in cells("half"):
        recipe = arms[arm_name(cell, 0.001)][0]
        config = {**recipe.config, "image_size": recipe.image_size, "classes": 2}
        assert config["stem"] == cell.stem and config["shape"] == cell.shape and config["position"] == "learned"
        assert config["mixing"].replace("-mlp", " MLP") == cell.mixing
        built = architecture(recipe.model, **config)
        assert built.parameters == pytest.approx(80_000, rel=0.05) and built.macs == pytest.approx(320_000, rel=0.05)


@pytest.mark.long
def test_only_the_rate_differs_between_the_rates_of_a_cell(arms):
    low, high = (arms[arm_name(ANY, rate)][0] for rate in (0.001, 0.02))
    assert (low.optimizer.learning_rate, high.optimizer.learning_rate) == (0.001, 0.02)
    assert low == high.model_copy(update={"optimizer": low.optimizer})


@pytest.mark.long
def test_few_images_are_a_part_of_many_at_equal_steps_and_each_seed_leaves_out_another_fold(trained):
    few, many = (
        next(cell for cell in cells("half") if cell.images == amount and cell.mixing == "attention")
        for amount in (FEW, MANY)
    )
    small, large = (trained.trainings[arm_name(cell, 0.001)] for cell in (few, many))
    assert {one.steps for of_arm in trained.trainings.values() for one in of_arm} == {3}
    for seed in range(2):
        images = [set(of_arm[seed].job.dataset.splits["train"].names) for of_arm in (small, large)]
        assert images[0] < images[1] and [len(one) for one in images] == [12, 24]
        folds = training_folds(trained.dataset.merge_validation(), FOLDS)
        left_out = np.array(folds.images.split.names)[folds.fold_of == seed]
        assert images[1].isdisjoint(left_out)


@pytest.mark.long
def test_the_rate_of_each_mixing_and_stem_is_the_best_on_the_left_out_images(result):
    (table,) = [table for table in result.tables() if "left-out images" in table.title]
    assert len(table.rows) == 6
    for row in table.rows:
        best = max(("0.001", "0.02"), key=lambda rate: row[rate])
        assert row["chosen"] == best
    chosen = {(row["mixing"], row["stem"]): float(row["chosen"]) for row in table.rows}
    for arm, cell in zip(result.arms, cells("half"), strict=True):
        assert arm.name == cell.name and arm.details["rate"] == chosen[cell.mixing, cell.stem]
        by_rate = {one["rate"]: one["scores"] for one in arm.details["by_rate"]}
        assert by_rate[arm.details["rate"]] == list(arm.scores)


@pytest.mark.long
def test_the_page_has_effects_at_each_rate_matched_costs_figures_and_claims(result):
    html = study_page(result).html()
    for text in (
        "Main effects",
        "Accuracy of all combinations",
        "Effects at each learning rate",
        "all at 0.02",
        "(token MLP over attention) x (many images over few images)",
        "Half of the combinations were trained.",
        "All networks have 80,000 parameters within",
    ):
        assert text in html
    assert "(pyramid over isotropic) x (many images over few images)" not in html
    assert [finding.claim for finding in result.findings()] == list(claims("half"))
    assert "chosen from 0.001, 0.02" in result.methods


@pytest.mark.long
def test_the_stated_cost_is_that_of_the_defaults(dataset):
    recipes = [recipe for of_arm in patches.arms(dataset, Settings(batch=2)).values() for recipe in of_arm]
    assert f"{len(recipes)} trainings of the length of 25 epochs on 10,000 images" == patches.COST
    assert {recipe.batch for recipe in recipes if isinstance(recipe, Recipe)} == {2}


def test_the_best_mean_over_cells_and_seeds_chooses_the_rate_and_the_smaller_one_of_equal_rates():
    def measured(validation: float) -> Measured:
        scores = (validation, validation + 1.0)
        return Measured(Arm("any", scores, mean_interval(scores, "%")), np.array(scores))

    favourite = dict(zip([(m, s) for m in MIXINGS for s in STEMS], [1, 2, 3] * 2, strict=True))
    by_rate = {
        rate / 10: {
            cell: measured(50.0 + (favourite[cell.mixing, cell.stem] == rate) * (1 if cell.images == FEW else 2))
            for cell in cells("full")
        }
        for rate in (1, 2, 3)
    }
    assert chosen_rates(by_rate) == {pair: rate / 10 for pair, rate in favourite.items()}
    equal = {rate: {cell: measured(50.0) for cell in cells("full")} for rate in (0.1, 0.2)}
    assert set(chosen_rates(equal).values()) == {0.1}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rates": ("0.001", "fast")}, "--rates 0.001,fast is not a list of numbers above 0 and at most 1: give"),
        ({"rates": ("0.001", "1e-3")}, "--rates 0.001,0.001 has a value twice: give each value once."),
        ({"widths": ("32", "40")}, "--widths 32,40 has 40, which is not a multiple of 32: the first stage"),
        ({"patch_size": 6}, "--patch-size 6 can't be reached by convolutions with stride 2, .*: give 4, 8, 16"),
        ({"patch_size": 2}, "--patch-size 2 can't be reached by convolutions with stride 2"),
        ({"image_size": 12}, "--image-size 12 is not a multiple of 8, .*: give --image-size 8, or a smaller"),
        ({"batch": 16}, "50 % of the training images are 12, but the study needs a batch of 16, .* --batch"),
        ({"images": 2}, "50 % of the training images are 2, but the study needs a batch of 8"),
        (
            {"macs": 10_000},
            "No network of attention, patch, isotropic matches the others: variant:metaformer can't have "
            r"parameters=80,000 and macs=10,000 within 5.0%.*\. The options are --widths, --tolerance, --parameters",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, sentence, dataset):
    with pytest.raises(UserError, match=sentence):
        patches.arms(dataset, replace(SETTINGS, **changes))
