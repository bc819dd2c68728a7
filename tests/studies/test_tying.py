"""The study of tied weights from end to end on few images, how it matches parameters, and what it refuses."""

from dataclasses import replace

import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.studies import tying
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.result import study_page
from mixlab.studies.tying import CLAIMS, MlpSizes, Settings, Widths, arm_name, matched_widths
from mixlab.training.recipes.schema import Recipe
from mixlab.zoo.architecture import architecture
from studies.test_permutation import image_folder, silent

SETTINGS = Settings(seeds=2, epochs=1, images=20, image_size=8)
MIXER = arm_name("shared", "shared")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(image_folder(tmp_path_factory.mktemp("noise"), classes=2, images=20), quiet=True)


@pytest.fixture(scope="module")
def trained(laboratory, dataset: Dataset) -> TrainedArms:
    return plan_arms(tying.arms(dataset, SETTINGS), dataset, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return tying.conclude(trained, SETTINGS)


def test_there_are_six_arms_as_they_are_and_five_matched(trained):
    names = list(trained.runs)
    assert (names[0], len(names), sum("matched" in name for name in names)) == (MIXER, 11, 5)


def test_the_arm_with_shared_weights_is_the_mixer_itself(dataset):
    (recipe, *_) = tying.arms(dataset, SETTINGS)[MIXER]
    assert isinstance(recipe, Recipe)
    assert recipe.model == "mixer_nano" and set(recipe.config) <= {"stochastic_depth"}


def test_all_arms_have_the_optimizer_of_the_mixer_and_equal_steps(trained):
    runs = [runs[0] for runs in trained.runs.values()]
    assert all(run.recipe["optimizer"] == runs[0].recipe["optimizer"] for run in runs)
    assert len({training.steps for of_arm in trained.trainings.values() for training in of_arm}) == 1


def test_untying_multiplies_parameters_but_no_multiply_accumulates(result):
    costs = costs_by_arm(result)
    mixer, untied = costs[MIXER], costs[arm_name("per channel", "shared")]
    assert untied["macs"] == mixer["macs"]
    assert untied["parameters"] - mixer["parameters"] == 6 * 63 * (2 * 4 * 64 + 64 + 4)
    assert untied["weights"] == pytest.approx(4e-6 * untied["parameters"])


def test_matched_arms_have_about_the_parameters_of_the_mixer(dataset):
    arms = tying.arms(dataset, Settings())
    parameters = {name: parameters_of(of_arm[0]) for name, of_arm in arms.items()}
    matched = {name: count for name, count in parameters.items() if "matched" in name}
    assert len(matched) == 5
    assert all(abs(count / parameters[MIXER] - 1) < 0.011 for count in matched.values())


def test_widths_are_those_of_the_shared_weights_if_nothing_is_untied():
    shared = Widths(64, 256)
    token, channel = MlpSizes(1, 64), MlpSizes(1, 32)
    wanted = token.parameters(64) + channel.parameters(256)
    assert matched_widths(wanted, token, channel, shared) == shared


def test_the_widths_of_a_single_untied_mlp_are_divided_by_its_copies():
    token, channel = MlpSizes(8, 64), MlpSizes(1, 32)
    wanted = MlpSizes(1, 64).parameters(64) + channel.parameters(256)
    assert matched_widths(wanted, token, channel, Widths(64, 256)).token in (7, 8)


def test_the_page_has_figure_costs_effects_and_claims(result):
    html = study_page(result).html()
    for text in (
        "Accuracy by weights",
        "Costs",
        "activations",
        "main effect of channel MLPs per place",
        "Matched arms",
    ):
        assert text in html
    assert [finding.claim for finding in result.findings()] == list(CLAIMS)


def test_main_effects_are_means_over_the_other_mlp(trained, monkeypatch):
    percent = {("shared", "shared"): 50, ("per channel", "shared"): 53, ("in groups", "shared"): 51}
    percent |= {("shared", "per place"): 40, ("per channel", "per place"): 41, ("in groups", "per place"): 47}
    scores = {arm_name(*weights): (value, value + 1.0) for weights, value in percent.items()}
    arm = TrainedArms.arm

    def with_scores(self: TrainedArms, name: str) -> Arm:
        return replace(arm(self, name), scores=scores.get(name, (0.0, 0.0)))

    monkeypatch.setattr(TrainedArms, "arm", with_scores)
    values = {one.name: one.values for one in tying.conclude(trained, SETTINGS).quantities}
    assert values == {
        "main effect of token MLPs in groups": (4, 4),  # of 1 and 7
        "main effect of token MLPs per channel": (2, 2),  # of 3 and 1
        "main effect of channel MLPs per place": pytest.approx((-26 / 3, -26 / 3)),
        "interaction of token MLPs per channel and channel MLPs per place": (-2, -2),
    }


def test_the_stated_cost_is_that_of_the_defaults(dataset):
    recipes = [recipe for of_arm in tying.arms(dataset, Settings()).values() for recipe in of_arm]
    assert f"{len(recipes)} trainings of 25 epochs on 10,000 images" == tying.COST
    assert {recipe.epochs for recipe in recipes if isinstance(recipe, Recipe)} == {25}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "davit_nano"}, "--model davit_nano is not a Mixer: give a size of Mixer, such as mixer_nano."),
        ({"image_size": 30}, "image_size=30 is not a multiple of patch_size=4"),
        ({"image_size": 256}, r"a block of mixer_nano at --image-size 256 has at least [\d,]+ parameters in its MLPs"),
    ],
)
def test_models_that_do_not_fit_are_refused(changes, sentence, dataset):
    with pytest.raises(UserError, match=sentence):
        tying.arms(dataset, replace(SETTINGS, **changes))


def test_groups_that_do_not_divide_the_channels_are_refused(dataset):
    with pytest.raises(UserError, match="channels=64 is not a multiple of token_groups=5"):
        plan_arms(tying.arms(dataset, replace(SETTINGS, groups=5)), dataset, silent)


def costs_by_arm(result: ArmsResult) -> dict[str, dict]:
    (costs,) = [table for table in result.tables() if table.title == "Costs"]
    return {str(row["name"]): dict(row) for row in costs.rows}


def parameters_of(recipe) -> int:
    return architecture(recipe.model, image_size=recipe.image_size, classes=2, **recipe.config).parameters
