"""The study of model scale from end to end on few images, its series, claims and frontiers, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.benchmark import throughput
from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.studies import model_scale
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.model_scale import DEFAULT_MODELS, Settings
from mixlab.studies.model_scale_result import Member, Scaled, claims, growth_name
from mixlab.studies.result import study_page
from mixlab.zoo.architecture import architecture

SETTINGS = Settings(
    models=("mixer_nano", "resnet_nano"),
    widths=("0.5", "1"),
    depths=("0.5", "1"),
    seeds=2,
    epochs=1,
    images=16,
    image_size=8,
    batch=2,
)
NAMES = [
    "mixer_nano",
    "mixer_nano, width 0.5",
    "mixer_nano, depth 0.5",
    "resnet_nano",
    "resnet_nano, width 0.5",
]


def silent(sentence: str) -> None:
    pass


@pytest.fixture(scope="module")
def noise() -> Dataset:
    """In memory: noisy images of 8x8 pixels in two classes."""
    random = np.random.default_rng(0)

    def split(name: str, n_images: int) -> Split:
        images = random.integers(0, 256, size=(n_images, 8, 8, 3), dtype=np.uint8)
        return Split([f"{name}/{number}" for number in range(n_images)], np.arange(n_images) % 2, list(images))

    sizes = {"train": 20, "validation": 4, "test": 10}
    return Dataset("noise", ("even", "odd"), {name: split(name, n) for name, n in sizes.items()})


@pytest.fixture(scope="module")
def trained(laboratory, noise: Dataset) -> TrainedArms:
    laboratory.datasets["noise"] = noise
    return plan_arms(model_scale.arms(noise, SETTINGS), noise, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throughput, "interleaved", lambda calls: {name: [0.01] * 9 for name in calls})
        return model_scale.conclude(trained, SETTINGS)


def test_members_that_are_equal_after_rounding_are_trained_once(trained):
    assert list(trained.runs) == NAMES
    assert architecture("resnet_nano").config["arguments"]["layers"] == [1, 1, 1, 1]


def test_all_arms_have_equal_steps_images_and_seeds(trained):
    every = [training for of_arm in trained.trainings.values() for training in of_arm]
    assert len({training.steps for training in every}) == 1
    assert {len(training.job.dataset.splits["train"]) for training in every} == {16}
    for of_arm in trained.trainings.values():
        assert [training.job.recipe.seed for training in of_arm] == [0, 1]


def test_the_cost_is_the_number_of_multiply_accumulates_of_all_images(trained, result):
    for name in NAMES:
        training, details = trained.trainings[name][0], result[name].details
        assert details["images_seen"] == training.steps * training.job.batch
        assert details["training_macs"] == training.job.architecture.macs * details["images_seen"]
        assert details["images_per_second"] == pytest.approx(2 / 0.01)
    assert result["mixer_nano, width 0.5"].details["training_macs"] < result["mixer_nano"].details["training_macs"]


def test_an_arm_on_a_frontier_is_not_beaten_by_a_cheaper_one(result):
    for arm in result.arms:
        cheaper = [one for one in result.arms if one.details["training_macs"] < arm.details["training_macs"]]
        beaten = any(one.top1.value >= arm.top1.value for one in cheaper)
        assert ("cost" in arm.details["frontiers"]) == (not beaten)


def test_the_growth_is_the_slope_for_a_doubling_of_the_cost(result):
    narrow, wide = result["mixer_nano, width 0.5"], result["mixer_nano"]
    doublings = np.log2(wide.details["training_macs"] / narrow.details["training_macs"])
    (growth,) = (one for one in result.quantities if one.name == growth_name("mixer_nano"))
    assert growth.values == pytest.approx(np.subtract(wide.scores, narrow.scores) / doublings)


def test_the_page_has_a_figure_for_each_series_with_its_frontier(result):
    assert [figure.title for figure in result.figures()] == [
        "Accuracy by width, against cost and speed",
        "Accuracy by depth, against cost and speed",
    ]
    assert [len(figure.panels) for figure in result.figures()] == [2, 2]
    html = study_page(result).html()
    assert "mixlab study model-scale: noise, 2 seeds" in html
    assert ">frontier<" in html
    assert "Left out, because rounded they are equal to another arm: resnet_nano, depth 0.5." in html


def scaled(model: str, factor: float, scores: tuple[float, ...]) -> Scaled:
    member = Member(model, "width" if factor != 1 else None, factor, {})
    arm = Arm(member.arm, scores, mean_interval(scores, "%"))
    return Scaled(member, arm, architecture(model), 100, Estimate.exact(100.0, "images/s"))


def test_claims_are_about_the_first_mixer_resnet_and_vit_with_several_widths():
    every = [scaled(model, factor, (50.0, 51.0)) for model in DEFAULT_MODELS for factor in (0.5, 1, 2)]
    found = {one.member.arm: one for one in every}
    assert [one.contrast for one in claims(found, DEFAULT_MODELS)] == [
        (growth_name("mixer_nano"), growth_name("resnet_nano")),
        (growth_name("mixer_nano"), growth_name("vit_nano")),
        ("mixer_nano, width 2", "mixer_nano"),
    ]
    without_wide = {name: one for name, one in found.items() if one.member.factor <= 1}
    assert len(claims(without_wide, DEFAULT_MODELS)) == 2
    assert claims({name: one for name, one in found.items() if one.member.factor == 1}, DEFAULT_MODELS) == ()
    assert claims(found, ("convmixer_nano", "resnet_nano")) == ()


def test_the_stated_cost_is_that_of_the_defaults(noise):
    arms = model_scale.arms(noise, Settings())
    trainings = sum(map(len, arms.values()))
    assert f"{trainings} trainings of {Settings().epochs} epochs on {Settings().images:,} images" == model_scale.COST


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"widths": ("1",), "depths": ("1",)}, "--widths 1 --depths 1 has a single size of each model"),
        ({"widths": ("0", "1")}, "--widths 0,1 is not a list of numbers above 0 and at most 64"),
        ({"depths": ("deep",)}, "--depths deep is not a list of numbers"),
        ({"models": ("mixer_nano", "mixer_nano")}, "--models mixer_nano,mixer_nano has a value twice"),
        ({"models": ("timm:resnet18",)}, "timm:resnet18 has no width in its config"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_training(changes, sentence, noise):
    with pytest.raises(UserError) as refusal:
        model_scale.arms(noise, replace(SETTINGS, **changes))
    assert sentence in str(refusal.value)
