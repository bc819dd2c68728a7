"""The study of DaViT's two attentions from end to end on few images, and what it refuses before it trains."""

from dataclasses import replace

import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.models.variants.ablated_davit import PAIRS
from mixlab.studies import dual_attention
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.dual_attention import ARM_NAMES, CLAIMS, Settings
from mixlab.studies.result import study_page
from mixlab.training.recipes.schema import Recipe
from studies.test_permutation import image_folder, silent

SETTINGS = Settings(seeds=2, epochs=1, images=20, image_size=32, window=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(image_folder(tmp_path_factory.mktemp("noise"), classes=2, images=20), quiet=True)


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset) -> TrainedArms:
    return plan_arms(dual_attention.arms(dataset, SETTINGS), dataset, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return dual_attention.conclude(trained, SETTINGS)


def test_there_is_an_arm_for_each_pair_of_attentions(trained):
    assert set(ARM_NAMES) == set(PAIRS)
    attentions = {name: runs[0].recipe["config"]["attention"] for name, runs in trained.runs.items()}
    assert attentions == {name: pair for pair, name in ARM_NAMES.items()}


def test_parameters_and_multiply_accumulates_of_all_arms_are_equal(result):
    (costs,) = [table for table in result.tables() if table.title == "Costs"]
    assert len(costs.rows) == 4
    assert len({row["parameters"] for row in costs.rows}) == len({row["macs"] for row in costs.rows}) == 1


@pytest.mark.parametrize(("image_size", "window"), [(32, 2), (48, 2), (64, 4), (96, 4)])
def test_whole_windows_match_in_every_stage_at_any_size(image_size, window, dataset):
    arms = dual_attention.arms(dataset, replace(SETTINGS, image_size=image_size, window=window))
    trainings = plan_arms(arms, dataset, silent).trainings.values()
    assert len({of_arm[0].job.architecture.macs for of_arm in trainings}) == 1


def test_the_seeds_and_images_of_a_repetition_are_those_of_every_arm(dataset):
    few = replace(SETTINGS, images=10)
    per_arm = [[(one.seed, one.subset) for one in recipes] for recipes in _recipes(dataset, few)]
    assert all(one == per_arm[0] for one in per_arm)
    assert [seed for seed, _ in per_arm[0]] == [0, 1]
    assert [subset.per_class for _, subset in per_arm[0] if subset] == [5, 5]


def test_the_recipe_is_that_of_a_davit(dataset):
    recipe = _recipes(dataset, SETTINGS)[0][0]
    assert recipe.model == "variant:ablated_davit"
    assert (recipe.optimizer.weight_decay, recipe.config["stochastic_depth"]) == (0.05, 0.1)


def test_the_page_has_findings_costs_and_the_number_of_windows(result):
    html = study_page(result).html()
    for text in ("channel only", "Costs", "by stage: 4 x 4, 2 x 2", "complement each other", "Differences"):
        assert text in html
    assert [finding.claim for finding in result.findings()] == list(CLAIMS)


def test_claims_compare_both_attentions_with_one_and_with_the_reverse(result):
    scores = {"window-channel": 60.0, "window-window": 52.0, "channel-channel": 45.0, "channel-window": 58.0}
    arms = tuple(replace(result[name], scores=(scores[pair], scores[pair] + 1)) for pair, name in ARM_NAMES.items())
    differences = [one.difference and one.difference.value for one in replace(result, arms=arms).findings()]
    assert differences == [8, 15, 8 - (45 - 58), -2]


def test_the_stated_cost_is_that_of_the_defaults(tmp_path):
    images = open_dataset(image_folder(tmp_path, classes=2, images=4, side=32), quiet=True)
    recipes = _recipes(images, Settings())
    assert f"{sum(map(len, recipes))} trainings of 25 epochs on 10,000 images" == dual_attention.COST
    assert {recipe.epochs for of_arm in recipes for recipe in of_arm} == {25}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"window": 4}, "fewer than 2 x 2 windows of --window 4 in its last stage, so that window attention is global: "
         "give --image-size 64 or --window 2."),
        ({"image_size": 16}, "fewer than 2 x 2 windows of --window 2 in its last stage, so that window attention is "
         "global: give --image-size 32."),
        ({"image_size": 40}, "--image-size 40 is not a multiple of 16, .* Give --image-size 32 or 48."),
        ({"window": 3}, "32, 64 channels, which are not multiples of the 9 patches of a window of --window 3"),
        ({"model": "mixer_nano"}, "--model mixer_nano is not a DaViT: give a size of DaViT, such as davit_nano."),
        ({"model": "davit_nona"}, 'Did you mean "davit_nano"'),
    ],
)  # fmt: skip
def test_models_and_windows_that_do_not_fit_are_refused(changes, sentence, dataset):
    with pytest.raises(UserError, match=sentence):
        dual_attention.arms(dataset, replace(SETTINGS, **changes))


def test_four_stages_need_larger_images_for_the_same_window(dataset):
    with pytest.raises(UserError, match=r"davit_tiny has fewer than 2 x 2 windows .* give --image-size 128"):
        dual_attention.arms(dataset, replace(SETTINGS, model="davit_tiny", image_size=96, window=2))


def _recipes(dataset: Dataset, settings: Settings) -> list[list[Recipe]]:
    arms = dual_attention.arms(dataset, settings)
    return [[one for one in recipes if isinstance(one, Recipe)] for recipes in arms.values()]
