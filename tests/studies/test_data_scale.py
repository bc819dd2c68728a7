"""The study of data scale from end to end on few images, its claims and growths, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.studies import data_scale
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.data_scale import DEFAULT_MODELS, REGULARISATIONS, SIZES, Settings
from mixlab.studies.data_scale_result import Cell, Trained, claims, gap_name, growth_name, quantities_of
from mixlab.studies.methods import trainings_protocol
from mixlab.studies.result import study_page
from mixlab.training.loop import _is_validated
from mixlab.training.recipes.schema import Recipe

SETTINGS = Settings(
    models=("mixer_nano", "resnet_nano"),
    sizes=("large",),
    regularisation=("paper",),
    shares=("50", "100"),
    seeds=2,
    epochs=1,
    images=40,
    batch=8,
    image_size=8,
    shots=3,
)
MIXER = Cell("mixer_nano", "large", "paper")


def silent(sentence: str) -> None:
    pass


@pytest.fixture(scope="module")
def colours() -> Dataset:
    """In memory: noisy images of 8x8 pixels in four colours; twenty of each for training."""
    random = np.random.default_rng(0)
    means = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [130, 130, 130]])

    def split(name: str, n_images: int) -> Split:
        labels = np.arange(n_images) % 4
        images = means[labels][:, None, None] + random.integers(-50, 50, size=(n_images, 8, 8, 3))
        return Split([f"{name}/{number}" for number in range(n_images)], labels, list(images.astype(np.uint8)))

    sizes = {"train": 80, "validation": 8, "test": 16}
    return Dataset("colours", ("red", "green", "blue", "grey"), {name: split(name, n) for name, n in sizes.items()})


@pytest.fixture(scope="module")
def trained(laboratory, colours: Dataset) -> TrainedArms:
    laboratory.datasets["colours"] = colours
    return plan_arms(data_scale.arms(colours, SETTINGS), colours, silent).train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return data_scale.conclude(trained, SETTINGS)


def recipes_of(settings: Settings, dataset: Dataset) -> dict[str, list[Recipe]]:
    return {name: list(recipes) for name, recipes in data_scale.arms(dataset, settings).items()}  # pyright: ignore


def test_all_trainings_have_equal_steps_and_batches(trained):
    every = [training for of_arm in trained.trainings.values() for training in of_arm]
    assert len(every) == 2 * 2 * 2
    assert {(training.steps, training.job.batch) for training in every} == {(40 // 8, 8)}


@pytest.mark.parametrize("shares", [("50", "100"), ("23", "70", "100"), ("10", "30", "33", "100")])
def test_all_trainings_are_validated_equally_often(colours, shares):
    settings = replace(SETTINGS, epochs=5, batch=2, shares=shares)
    for of_arm in recipes_of(settings, colours).values():
        for recipe in of_arm:
            assert recipe.steps is not None and recipe.subset is not None and recipe.subset.per_class is not None
            epochs = -(-recipe.steps // (2 * recipe.subset.per_class // settings.batch))
            validated = [epoch for epoch in range(epochs) if _is_validated(recipe, epoch) or epoch + 1 == epochs]
            assert len(validated) == 5


def test_the_result_has_the_seconds_of_every_training(result):
    seconds = result.to_dict()["training_seconds"]
    assert len(seconds) == 2 * 2 * 2 and min(seconds) > 0


def test_the_protocol_names_the_samples_of_the_dataset(trained):
    assert "training images of" in trainings_protocol(trained.trainings, trained.dataset)
    sentences = trainings_protocol(trained.trainings, replace(trained.dataset, noun="sound"))
    assert "20 to 40 training sounds of colours" in sentences
    assert "evaluated in fp32 on the 16 test sounds, without selection" in sentences


def test_subsets_are_nested_and_have_the_known_classes_only(trained):
    fewer, more = (trained.trainings[MIXER.arm(share)] for share in (50, 100))
    for small, large in zip(fewer, more, strict=True):
        names = [set(training.job.dataset.splits["train"].names) for training in (small, large)]
        assert names[0] < names[1]
        assert (len(names[0]), len(names[1])) == (20, 40)
        assert small.job.dataset.classes == large.job.dataset.classes
        assert len(small.job.dataset.classes) == 2
    assert fewer[0].job.dataset.classes != fewer[1].job.dataset.classes


def test_a_cell_sets_width_and_regularisation_and_nothing_else(colours):
    recipes = recipes_of(replace(SETTINGS, sizes=SIZES, regularisation=REGULARISATIONS), colours)
    small, large = (recipes[replace(MIXER, size=size).arm(100)][0] for size in ("small", "large"))
    assert large.config | {"stochastic_depth": 0.1} == large.config
    assert (large.config["channels"], large.config["token_hidden"], large.config["channel_hidden"]) == (128, 128, 512)
    assert small.model_copy(update={"config": large.config}) == large
    off = recipes[replace(MIXER, regularisation="off").arm(100)][0]
    assert (off.optimizer.weight_decay, large.optimizer.weight_decay) == (0.0, 0.1)
    assert (off.augmentation.mixup, off.augmentation.randaugment_tf) == (None, None)
    assert large.augmentation.mixup is not None and large.augmentation.randaugment_tf is not None
    assert off.loss.label_smoothing == large.loss.label_smoothing == 0
    assert "stochastic_depth" not in off.config


def test_the_checkpoint_is_selected_on_validation_images(colours):
    assert {one.validation for of_arm in recipes_of(SETTINGS, colours).values() for one in of_arm} == {"held_out"}


def test_the_score_is_the_accuracy_on_new_classes(result):
    arm = result[MIXER.arm(100)]
    per_draw = 100 / (3 * 8)  # three draws, eight test images of the two new classes
    assert all(score / per_draw == pytest.approx(round(score / per_draw)) for score in arm.scores)
    assert arm.details["images"] == [40, 40]
    assert {"train", "test", "gap"} <= set(arm.columns)
    for train, test, gap in zip(*(arm.details[key] for key in ("train", "test", "gap")), strict=True):
        assert gap == pytest.approx(train - test)


def test_the_growth_of_a_model_is_the_mean_slope_over_its_cells(result):
    few, many = (np.array(result[MIXER.arm(share)].scores) for share in (50, 100))
    by_name = {quantity.name: quantity.values for quantity in result.quantities}
    assert by_name[growth_name("mixer_nano")] == pytest.approx((many - few) / np.log10(2))

    def trained_on(cell: Cell, images: int, growth: float) -> Trained:
        scores = (20 + growth * np.log10(images), 25 + growth * np.log10(images))
        return Trained(cell, (images, images), scores, (90.0, 92.0), (80.0, 70.0))

    cells = [(Cell("mixer_nano", size, "off"), growth) for size, growth in (("small", 4.0), ("large", 10.0))]
    found = {cell.arm(n): trained_on(cell, n, growth) for cell, growth in cells for n in (10, 30, 100)}
    by_name = {quantity.name: quantity.values for quantity in quantities_of(["mixer_nano"], found)}
    assert by_name[growth_name("mixer_nano")] == pytest.approx((7, 7))
    assert [by_name[growth_name(cell.name)] for cell, _ in cells] == [pytest.approx((4, 4)), pytest.approx((10, 10))]


def test_the_gap_of_a_model_is_the_mean_over_its_cells_on_the_smallest_subset():
    cells = [Cell("mixer_nano", size, "off") for size in ("small", "large")]
    found = {
        cell.arm(n): Trained(cell, (n, n), (30.0, 40.0), (90.0, 92.0), (70.0 + n + place, 60.0))
        for place, cell in enumerate(cells)
        for n in (10, 20)
    }
    by_name = {quantity.name: quantity.values for quantity in quantities_of(["mixer_nano"], found)}
    assert by_name[gap_name("mixer_nano")] == pytest.approx((9.5, 32))


def test_the_page_has_claims_and_figures(result):
    assert [len(figure.panels) for figure in result.figures()] == [1, 1]
    contrasts = [finding.claim.contrast for finding in result.findings()]
    assert contrasts == [
        (growth_name("mixer_nano"), growth_name("resnet_nano")),
        (gap_name("mixer_nano"), gap_name("resnet_nano")),
    ]
    html = study_page(result).html()
    assert "mixlab study data-scale: colours, 2 class splits" in html
    assert "best accuracy on the validation images" in html
    assert "Split 2" in html


def test_correct_answers_are_those_on_the_known_classes(trained, result, tmp_path):
    trained.write_correctness(tmp_path / "correct")
    assert len(list((tmp_path / "correct").iterdir())) == 8


def test_options_cut_the_grid(colours):
    fewer = replace(SETTINGS, models=("mixer_nano",), sizes=("small",), regularisation=("paper",))
    assert list(recipes_of(fewer, colours)) == [Cell("mixer_nano", "small", "paper").arm(share) for share in (50, 100)]


def test_claims_are_about_the_first_mixer_resnet_and_vit():
    assert len(claims(DEFAULT_MODELS)) == 3
    assert [one.contrast[1] for one in claims(("vit_nano", "mixer_nano"))] == [growth_name("vit_nano")]
    assert claims(("convmixer_nano", "resnet_nano")) == ()


def test_the_stated_cost_is_that_of_the_defaults(colours):
    arms = recipes_of(replace(Settings(), batch=4, shots=3), colours)
    assert data_scale.COST.startswith(f"{sum(map(len, arms.values()))} trainings")
    assert f"{Settings().epochs} epochs on {Settings().images:,} images" in data_scale.COST


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shares": ("10",)}, "--shares 10 is a single share: give two or more"),
        ({"shares": ("0", "100")}, "--shares 0,100 is not a list of numbers above 0 and at most 100"),
        ({"shares": ("all", "100")}, "--shares all,100 is not a list of numbers"),
        ({"shares": ("50", "50")}, "--shares 50,50 has a value twice"),
        ({"sizes": ("huge",)}, '--sizes has "huge": give some of small, large.'),
        ({"models": ("mixer_nano", "mixer_nano")}, "--models mixer_nano,mixer_nano has a value twice"),
        ({"models": ("timm:resnet18",)}, "timm:resnet18 has no width in its config"),
        ({"batch": 32}, "50 % of the images of the known classes are 20, less than a batch of 32"),
        ({"shots": 30}, "has 22 training images of"),
        ({"seeds": 9}, "--seeds 9 is too large"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_training(changes, sentence, colours):
    with pytest.raises(UserError) as refusal:
        data_scale.arms(colours, replace(SETTINGS, **changes))
    assert sentence in str(refusal.value)


def test_data_without_validation_images_is_refused(colours):
    with pytest.raises(UserError, match=r"colours has no validation images, which select the checkpoint"):
        data_scale.arms(colours.merge_validation(), SETTINGS)
