"""The transfer study from end to end on a few images, its class splits, and its results for given scores."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixlab.data.dataset import Dataset, Split
from mixlab.errors import UserError
from mixlab.report.table import render
from mixlab.studies import transfer as study
from mixlab.studies.arms import plan_arms, run_study
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.result import study_page
from mixlab.studies.transfer import AS_LONG, LONGER, PRETRAINED, PROBE, TUNED, Settings, class_splits
from mixlab.training.job import Job
from mixlab.training.linear_probe.train import LinearProbeJob
from mixlab.training.planning import autotune
from mixlab.zoo.user_code import trust_code

SETTINGS = Settings(seeds=2, images=16, epochs=1, shots=4, tuning_epochs=1)
NAMES = [PROBE, TUNED, AS_LONG, LONGER]
CLASSES = ("ant", "bee", "cat", "dog", "eel")


def silent(sentence: str) -> None:
    pass


@pytest.fixture(scope="module")
def colours() -> Dataset:
    """In memory: noisy images of 8x8 pixels in four colours; ten of each for training and three for the test."""
    random = np.random.default_rng(0)
    means = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [130, 130, 130]])

    def split(name: str, n_images: int) -> Split:
        labels = np.arange(n_images) % 4
        images = means[labels][:, None, None] + random.integers(-50, 50, size=(n_images, 8, 8, 3))
        return Split([f"{name}/{number}" for number in range(n_images)], labels, list(images.astype(np.uint8)))

    return Dataset(
        "colours", ("red", "green", "blue", "grey"), {"train": split("train", 40), "test": split("test", 12)}
    )


@pytest.fixture(scope="module")
def result(laboratory, colours: Dataset) -> ArmsResult:
    laboratory.datasets["colours"] = colours
    return run_study(study, colours, SETTINGS, quiet=True, log=silent)


@pytest.fixture(scope="module")
def jobs(result: ArmsResult, laboratory) -> dict[str, list[Job]]:
    """The jobs with steps by arm, one for each class split."""
    names = (PRETRAINED, AS_LONG, LONGER, TUNED)
    return {name: laboratory.jobs[2 * place : 2 * place + 2] for place, name in enumerate(names)}


@pytest.fixture(scope="module")
def probes(result: ArmsResult, laboratory) -> list[LinearProbeJob]:
    return list(laboratory.probes)


def test_every_arm_is_trained_and_evaluated_in_every_split(result, jobs, probes):
    assert [arm.name for arm in result.arms] == NAMES
    assert {(len(arm.scores), arm.top1.n) for arm in result.arms} == {(2, 2)}
    assert [len(of_arm) for of_arm in jobs.values()] == [2] * 4
    assert len(probes) == 2
    assert [len(job.dataset.splits["train"]) for job in jobs[PRETRAINED]] == [16, 16]
    correct = np.array([arm.scores for arm in result.arms]) * 6 / 100  # of six test images of the new classes
    assert correct == pytest.approx(correct.round(), abs=1e-9)


def test_the_stored_seconds_are_those_of_all_trainings(result):
    assert len(result.to_dict()["training_seconds"]) == 2 * (1 + len(NAMES))  # with the pre-training
    assert result.facts["Trainings"].startswith("10 trainings of ")


def test_known_and_new_classes_are_disjoint_and_all_arms_use_the_same_few_images(jobs, probes, colours):
    for seed, split in enumerate(class_splits(colours, 2)):
        assert jobs[PRETRAINED][seed].dataset.classes == split.known
        assert not set(split.known) & set(split.new)
        after = [jobs[name][seed] for name in (TUNED, AS_LONG, LONGER)]
        few = {tuple(job.dataset.splits["train"].names) for job in after}
        assert len(few) == 1
        (names,) = few
        assert len(names) == 8
        assert {job.dataset.classes for job in (*after, probes[seed])} == {split.new}
        chosen = [*probes[seed].dataset.splits["train"].names, *probes[seed].dataset.splits["validation"].names]
        assert sorted(chosen) == sorted(names)


def test_fine_tuning_starts_from_the_pretrained_body_and_a_zero_head_with_a_quarter_of_the_rate(jobs):
    before, tuned, scratch, longer = (jobs[name][0] for name in (PRETRAINED, TUNED, AS_LONG, LONGER))
    assert [job.weights is not None for job in (before, tuned, scratch, longer)] == [False, True, False, False]
    assert not tuned.weights.tensors["head.weight"].any()
    assert tuned.recipe.optimizer.learning_rate == scratch.recipe.optimizer.learning_rate / 4
    assert longer.recipe.epochs == 5 * scratch.recipe.epochs
    assert tuned.recipe.epochs == scratch.recipe.epochs


def test_the_linear_probe_is_selected_on_a_quarter_of_the_few_images(result, probes):
    for job in probes:
        sizes = {name: len(split) for name, split in job.dataset.splits.items()}
        assert sizes == {"train": 6, "validation": 2, "test": 6}
    recipe = probes[0].recipe.to_dict()
    before = recipe["initialization"] | {"weights": f"arm:{PRETRAINED}"}
    assert result.recipes[PROBE] == recipe | {"initialization": before}


def test_finished_trainings_are_taken_from_the_store(result, jobs, laboratory, colours, monkeypatch):
    laboratory.started.clear()
    monkeypatch.delattr(autotune, "time_job")
    again = run_study(study, colours, SETTINGS, quiet=True, log=silent)
    assert laboratory.started == []
    assert again.arms == result.arms


def test_the_methods_paragraph_says_what_was_trained_on_which_classes(result):
    assert result.methods.startswith(
        "In each of 2 random splits of the classes of colours into known and new ones, davit_nano was pre-trained for "
        "1 step on 16 images of the known classes. The new classes were learned from 4 images of each: by fine-tuning "
        "for 1 step, by a linear probe on frozen features, whose ridge and temperature were selected on a quarter of "
        "these images, and from scratch for 1 and 5 steps."
    )


def test_every_claim_compares_a_transfer_with_a_model_from_scratch(result):
    assert [claim.contrast for claim in result.claims] == [
        (arm, other) for arm in (TUNED, PROBE) for other in (AS_LONG, LONGER)
    ]
    assert {claim.expected for claim in result.claims} == {"higher"}


@pytest.fixture
def with_scores(result: ArmsResult) -> Callable[..., ArmsResult]:
    """The result with these scores of the arms in order, one per class split."""

    def make(*scores: tuple[float, float]) -> ArmsResult:
        pairs = zip(result.arms, scores, strict=True)
        return replace(result, arms=tuple(replace(arm, scores=given) for arm, given in pairs))

    return make


def test_differences_are_paired_by_split(with_scores):
    found = with_scores((60, 71), (65, 75), (50, 60), (50, 60))
    difference = found[PROBE].difference(found[AS_LONG])
    assert difference.value == pytest.approx(10.5)
    assert difference.spread == pytest.approx(np.std([10, 11], ddof=1))
    assert found.pairs == ((TUNED, PROBE), (TUNED, AS_LONG), (TUNED, LONGER), (PROBE, AS_LONG), (PROBE, LONGER))


@pytest.mark.parametrize(
    ("probe", "tuned", "verdicts"),
    [
        ((60.0, 60.1), (61.0, 61.1), ["agrees"] * 4),
        ((60.0, 60.1), (50.0, 70.0), ["undecided"] * 2 + ["agrees"] * 2),
        ((40.0, 60.0), (61.0, 61.1), ["agrees"] * 2 + ["undecided"] * 2),
        ((40.0, 60.0), (50.0, 70.0), ["undecided"] * 4),
        ((20.0, 20.1), (21.0, 21.1), ["disagrees"] * 4),
    ],
)
def test_verdicts_follow_from_the_scores(with_scores, probe, tuned, verdicts):
    found = with_scores(probe, tuned, (30.0, 30.101), (50.0, 50.101))
    assert [finding.verdict for finding in found.findings()] == verdicts


def test_the_table_the_page_and_the_results_agree(result, colours):
    (first, *others) = result.arms
    changed = replace(first, scores=(61.0, 62.0), top1=replace(first.top1, value=61.5))
    found = replace(result, arms=(changed, *others))
    assert found.to_dict()["arms"][0]["scores"] == [61.0, 62.0]
    assert "61.5" in render(found.tables()[0], "markdown")
    html = study_page(found).html()
    assert "61.5" in html
    for split in class_splits(colours, 2):
        assert f"{', '.join(split.known)} → {', '.join(split.new)}" in html


@pytest.fixture
def animals() -> Dataset:
    """Ten training images of each of five classes, four in the test split."""

    def split(name: str, n_images: int) -> Split:
        images = [np.full((4, 4, 3), number, dtype=np.uint8) for number in range(n_images)]
        return Split([f"{name}/{number}" for number in range(n_images)], np.arange(n_images) % 5, images)

    return Dataset("animals", CLASSES, {"train": split("train", 50), "test": split("test", 20)})


def test_class_splits_are_different_halves_and_reproducible(animals):
    splits = class_splits(animals, 10)
    assert len({split.known for split in splits}) == 10
    for split in splits:
        assert (len(split.known), len(split.new)) == (2, 3)
        assert sorted(split.known + split.new) == list(CLASSES)
    assert class_splits(animals, 3) == splits[:3]


def test_more_splits_than_possible_are_refused(animals):
    with pytest.raises(UserError, match=r"--seeds 11 is too large: .* be split in 10 ways only\. Give fewer --seeds"):
        class_splits(animals, 11)


def test_fewer_than_four_classes_are_refused(animals):
    with pytest.raises(UserError, match="animals has 3 classes, but the study needs at least 4"):
        class_splits(replace(animals, classes=CLASSES[:3]), 2)


def test_a_class_with_fewer_images_than_shots_is_refused(animals):
    study._require_shots(animals, 10)
    fewer = animals.splits["train"].subset([index for index in range(50) if index not in (2, 7)])
    with pytest.raises(UserError, match='animals has 8 training images of "cat", but the study needs 10 of each new'):
        study._require_shots(replace(animals, splits=animals.splits | {"train": fewer}), 10)


def test_a_model_of_timm_is_refused_because_of_the_linear_probe(colours):
    with pytest.raises(UserError, match="--model resnet_nano is a model of timm, and the study has a linear probe"):
        study.arms(colours, replace(SETTINGS, model="resnet_nano"))


def test_the_costs_of_a_model_of_a_user_are_estimated(colours, tmp_path):
    """The code of a model that starts from the weights of another arm is that in the folder of these weights."""
    file = tmp_path / "small.py"
    file.write_text(
        "from mixlab.models.mixer import Mixer, MixerConfig\n\n\n"
        "def Small(config: MixerConfig) -> Mixer:\n    return Mixer(config)\n"
    )
    trust_code(file)
    sizes = ":patch_size=4:channels=8:token_hidden=8:channel_hidden=8:depth=1"
    settings = replace(SETTINGS, model=f"py:{file}:Small{sizes}")
    planned = plan_arms(study.arms(colours, settings), colours, silent, speed="off")
    assert [row["missing"] for row in planned.costs().rows] == [2, 2, 2, 2, 2, 10]
    (stand_ins,) = {Path(str(training.job.recipe.initialization.weights)).parent for training in planned.planned[TUNED]}
    assert stand_ins.is_dir()
    del planned
    gc.collect()
    assert not stand_ins.exists()


@pytest.mark.parametrize("model", ["mixer_nano", "variant:pooling_mixer"])
def test_any_architecture_takes_the_place_of_the_default(colours, model):
    found = study.arms(colours, replace(SETTINGS, model=model))
    assert {recipe.model for recipes in found.values() for recipe in recipes} == {model}
