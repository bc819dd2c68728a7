"""The study of position embeddings from end to end on tiny images, and what it refuses before it trains."""

from dataclasses import replace

import numpy as np
import pytest

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.studies import position
from mixlab.studies.arms import TrainedArms, plan_arms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.position import Settings
from mixlab.studies.position_claims import claims_about_images
from mixlab.studies.result import study_page
from mixlab.training.recipes.schema import Recipe

SETTINGS = Settings(positions=("learned",), seeds=2, epochs=2, images=40, channels=8, depth=1)
ARMS = ["Mixer, no positions", "Mixer, learned positions", "ViT, no positions", "ViT, learned positions"]
DIGITS = replace(SETTINGS, image_size=8)


def silent(sentence: str) -> None:
    pass


def with_few_images(name: str) -> Dataset:
    dataset = open_dataset(name, quiet=True)
    splits = {name: split.subset(np.arange(80)) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return with_few_images("two-shapes")


@pytest.fixture(scope="module")
def trained(laboratory, shapes: Dataset) -> TrainedArms:
    laboratory.datasets["two-shapes"] = shapes
    return plan_arms(position.arms(shapes, SETTINGS), shapes, silent, speed="off").train(log=silent, quiet=True)


@pytest.fixture(scope="module")
def result(trained: TrainedArms) -> ArmsResult:
    return position.conclude(trained, SETTINGS)


def recipes(dataset: Dataset, settings: Settings) -> dict[str, Recipe]:
    return {name: of_arm[0] for name, of_arm in position.arms(dataset, settings).items()}  # pyright: ignore[reportReturnType]


def test_the_arms_differ_in_mixing_and_position_only(shapes):
    found = recipes(shapes, SETTINGS)
    assert list(found) == ARMS
    factors = [(recipe.config["mixing"], recipe.config["position"]) for recipe in found.values()]
    assert factors == [(a, b) for a in ("token-mlp", "attention") for b in ("none", "learned")]
    others = [{k: v for k, v in one.config.items() if k not in ("mixing", "position")} for one in found.values()]
    assert all(other == others[0] for other in others)


def test_each_family_has_its_default_recipe(shapes):
    found = recipes(shapes, SETTINGS)
    assert [recipe.optimizer.weight_decay for recipe in found.values()] == [0.5, 0.5, 0.05, 0.05]


def test_generated_images_are_not_mirrored_or_shifted(shapes):
    digits = open_dataset("digits", quiet=True)
    augmentations = [recipe.augmentation for recipe in recipes(shapes, SETTINGS).values()]
    assert all((one.flip, one.pad_crop) == (False, 0) for one in augmentations)
    assert any(recipe.augmentation != augmentations[0] for recipe in recipes(digits, DIGITS).values())


def test_a_vit_without_positions_is_at_chance_and_does_not_distinguish_images_with_the_same_patches(result):
    (table,) = [table for table in result.tables() if table.title == "Images with the same patches"]
    rows = {row["name"]: row for row in table.rows}
    assert rows["ViT, no positions"]["single"] == 100
    assert float(rows["ViT, no positions"]["difference"]) < 1e-12
    assert result["ViT, no positions"].scores == (25.0, 25.0)
    for other in (ARMS[0], ARMS[1], ARMS[3]):
        assert float(rows[other]["difference"]) > 1e-6


def test_the_claims_about_generated_images_say_what_solves_them(result):
    contrasts = [finding.claim.contrast for finding in result.findings()]
    assert contrasts == [
        ("Mixer, no positions, minus 90 %",),
        ("Mixer, no positions", "ViT, no positions"),
        ("ViT, learned positions, minus 90 %",),
    ]
    (quantity,) = [one for one in result.quantities if one.name == contrasts[0][0]]
    assert quantity.values == pytest.approx([score - 90 for score in result["Mixer, no positions"].scores])


def test_the_page_has_the_accuracy_by_position_embedding(result):
    html = study_page(result).html()
    for text in ("Accuracy by position embedding", "learned positions", "Images with the same patches", "Chance is"):
        assert text in html


def test_other_images_have_claims_of_gains_and_of_equality(laboratory):
    digits = with_few_images("digits")
    laboratory.datasets["digits"] = digits
    planned = plan_arms(position.arms(digits, DIGITS), digits, silent, speed="off")
    found = position.conclude(planned.train(log=silent, quiet=True), DIGITS)
    assert [finding.claim.expected for finding in found.findings()] == ["higher", "equal", "higher"]
    assert found.findings()[2].claim.contrast == (ARMS[3], ARMS[2], ARMS[1], ARMS[0])
    assert "Images with the same patches" not in [table.title for table in found.tables()]


def test_without_other_positions_there_are_no_claims_about_gains():
    assert claims_about_images(("none",)) == ()
    assert len(claims_about_images(("none", "learned", "sincos"))) == 6


def test_the_costs_count_what_is_not_in_the_store(laboratory, shapes, trained):
    started = len(laboratory.started)
    rows = plan_arms(position.arms(shapes, replace(SETTINGS, seeds=3)), shapes, silent, speed="off").costs().rows
    assert (rows[-1]["trainings"], rows[-1]["missing"]) == (12, 4)
    assert len(laboratory.started) == started


def test_the_stated_cost_is_that_of_the_defaults(shapes):
    trainings = sum(map(len, position.arms(shapes, Settings()).values()))
    assert f"{trainings} trainings of 25 epochs on 10,000 images" == position.COST


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"positions": ("lerned",)},
            '--positions has "lerned": give some of none, learned, sincos. Did you mean "learned"?',
        ),
        ({"channels": 10}, "--channels 10 is not a multiple of 4, the heads of the ViT: give 8."),
        ({"patch_size": 5}, "--image-size 32 is not a multiple of --patch-size 5: change one of them."),
        ({"patch_size": 8}, "--patch-size 8: give --image-size 32 and --patch-size 1, 2 or 4"),
        ({"image_size": 64}, "two-shapes has images of 32 pixels with cells of 4, but --image-size is 64"),
    ],
)
def test_settings_that_are_not_valid_are_refused(changes, sentence, shapes):
    with pytest.raises(UserError) as refusal:
        position.arms(shapes, replace(SETTINGS, **changes))
    assert sentence in str(refusal.value)
