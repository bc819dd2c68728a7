"""Wrong labels of digits and of small folders: predictions, suspects, the table to correct, and the page."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.comparison import label_errors_page as label_errors_page_module
from mixlab.comparison import label_predictions, label_table
from mixlab.comparison.candidates import Candidate, make_candidate
from mixlab.comparison.label_errors import LabelErrors, default_model, find_label_errors
from mixlab.comparison.label_errors_page import class_table, label_errors_page, pair_table, suspects_table
from mixlab.comparison.label_table import write_label_table
from mixlab.comparison.trainings import predicted_probabilities
from mixlab.data import near_duplicate_groups
from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import training_folds
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.probes import features
from mixlab.measure.machine import pick_device
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.launch import launch
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.training import Training

MIXER = str(Path(__file__).parents[1] / "golden" / "google_mixer_tiny.npz")
SHARE = 0.05

silent: Callable[[str], None] = [].append


def flipped(dataset: Dataset) -> Dataset:
    """The dataset with other labels for a random twentieth of the images of each split."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, split in dataset.splits.items():
        labels = split.labels.copy()
        chosen = rng.choice(len(labels), round(SHARE * len(labels)), replace=False)
        labels[chosen] = (labels[chosen] + rng.integers(1, len(dataset.classes), len(chosen))) % len(dataset.classes)
        splits[name] = replace(split, labels=labels)
    return replace(dataset, splits=splits)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Every second digit of each split."""
    dataset = open_dataset("digits")
    return replace(dataset, splits={name: each.subset(range(0, len(each), 2)) for name, each in dataset.splits.items()})


@pytest.fixture(scope="module")
def found(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelErrors]:
    """Digits with flipped labels, by the features of a tiny Mixer with random weights."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for module in (features, near_duplicate_groups):
            patch.setattr(module, "cache_folder", lambda: cache)
        yield find_label_errors(flipped(digits), MIXER, 5, quiet=True, log=silent)


@pytest.fixture
def table(found: LabelErrors, tmp_path: Path) -> Path:
    assert write_label_table(found, tmp_path) == ()
    return tmp_path / "labels.csv"


@pytest.fixture
def features_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def wrong_images(found: LabelErrors, digits: Dataset) -> set[tuple[str, str]]:
    """The split and name of each flipped label."""
    return {
        (name, split.names[index])
        for name, split in found.dataset.splits.items()
        for index in np.flatnonzero(split.labels != digits.splits[name].labels)
    }


def test_most_flipped_digits_are_suspected_and_most_of_the_first_suspects_are_flipped(found, digits):
    wrong = wrong_images(found, digits)
    suspected = [(suspect.split, suspect.name) for suspect in found.suspects]
    assert len(wrong) == 45 and len(wrong.intersection(suspected)) >= 0.75 * len(wrong)
    assert len(wrong.intersection(suspected[:20])) >= 15


def test_the_suggestion_of_a_flipped_digit_is_mostly_its_true_label(found, digits):
    wrong = wrong_images(found, digits)
    true = {
        (name, image): digits.classes[label]
        for name, split in digits.splits.items()
        for image, label in zip(split.names, split.labels, strict=True)
    }
    correct = [
        suspect.suggested == true[suspect.split, suspect.name]
        for suspect in found.suspects
        if (suspect.split, suspect.name) in wrong
    ]
    assert np.mean(correct) > 0.75  # 1/9 by chance


def test_every_image_of_every_split_is_predicted_once(found, digits):
    names = [name for split in digits.splits.values() for name in split.names]
    assert found.predictions.images.names == names
    splits = [name for name, split in digits.splits.items() for _ in split.names]
    assert list(found.predictions.splits) == splits
    np.testing.assert_allclose(found.predictions.probabilities.sum(axis=1), 1)


def test_the_most_suspicious_label_is_first(found):
    margins = [suspect.label_probability - suspect.confidence for suspect in found.suspects]
    assert margins == sorted(margins) and margins[-1] < 0


def test_the_table_is_a_dataset_with_the_same_splits_labels_and_pixels(found, table):
    opened = open_dataset(f"csv:{table}")
    assert opened.classes == found.dataset.classes
    position_of = {(row["split"], row["image"]): row["name"] for row in rows_of(table)}
    for name, split in found.dataset.splits.items():
        again = opened.splits[name]
        original = {image: index for index, image in enumerate(split.names)}
        indices = [original[position_of[name, image]] for image in again.names]
        assert sorted(indices) == list(range(len(split)))
        np.testing.assert_array_equal(again.labels, split.labels[indices])
        np.testing.assert_array_equal(again.image(0), split.image(indices[0]))


def test_the_table_begins_with_the_suspects_and_continues_with_the_lowest_margin(found, table):
    rows = rows_of(table)
    count = len(found.suspects)
    assert [(row["name"], row["suggested"]) for row in rows[:count]] == [
        (suspect.name, suspect.suggested) for suspect in found.suspects
    ]
    assert float(rows[0]["confidence"]) == pytest.approx(found.suspects[0].confidence, abs=1e-6)
    assert {(row["suggested"], row["confidence"]) for row in rows[count:]} == {("", "")}
    margins = [float(row["margin"]) for row in rows[count:]]
    assert margins == sorted(margins)


def test_a_corrected_label_is_that_of_the_dataset(found, table):
    rows = rows_of(table)
    rows[0]["label"] = rows[0]["suggested"]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    split = open_dataset(f"csv:{table}").splits[rows[0]["split"]]
    assert found.dataset.classes[split.labels[split.names.index(rows[0]["image"])]] == found.suspects[0].suggested


def test_too_large_images_in_memory_are_not_copied_and_a_note_says_so(found, tmp_path, monkeypatch):
    monkeypatch.setattr(label_table, "MAX_COPIED_BYTES", 1000)
    (note,) = write_label_table(found, tmp_path)
    assert "labels.csv can't be opened as csv:labels.csv: the images are not files" in note
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
    assert all(row["image"] == row["name"] for row in rows_of(tmp_path / "labels.csv"))


@pytest.mark.usefixtures("features_cache")
def test_the_table_of_a_folder_names_its_files_and_keeps_the_groups(photographs, tmp_path):
    dataset = open_dataset(rf"folder:{photographs}:group=(\d)\.png")
    found = find_label_errors(dataset, MIXER, 2, quiet=True, log=silent)
    write_label_table(found, tmp_path)
    rows = rows_of(tmp_path / "labels.csv")
    assert {Path(row["image"]) for row in rows} == set(photographs.rglob("*.png"))
    opened = open_dataset(f"csv:{tmp_path / 'labels.csv'}")
    assert {name: len(split) for name, split in opened.splits.items()} == {
        name: len(split) for name, split in dataset.splits.items()
    }
    assert sorted(opened.splits["train"].groups) == sorted(dataset.splits["train"].groups)


def test_a_file_in_an_archive_is_copied_with_its_bytes(found, tmp_path):
    class Contained:
        size = 3

        def read_bytes(self) -> bytes:
            return b"abc"

    split = found.dataset.splits["train"]
    images = [Contained(), *split.images[1:]]
    named = replace(split, names=["cats/a.JPG", *split.names[1:]], images=images)
    dataset = replace(found.dataset, splits={**found.dataset.splits, "train": named})
    write_label_table(replace(found, dataset=dataset), tmp_path)
    assert (tmp_path / "images/train/000000.JPG").read_bytes() == b"abc"


@pytest.mark.usefixtures("features_cache")
def test_images_that_the_weights_have_learned_from_are_only_listed(pets, tiny_recipe, tmp_path):
    run = trained_on_part(pets, tiny_recipe, tmp_path)
    dataset = open_dataset(f"folder:{pets}")
    messages: list[str] = []
    found = find_label_errors(dataset, str(run), 2, quiet=True, log=messages.append)
    assert found.predictions.left_out == 16 and len(found.labels) == 24
    assert messages[0].startswith("Left out: 16 of 40 images, which are training or validation images of ")
    write_label_table(found, tmp_path)
    rows = rows_of(tmp_path / "labels.csv")
    assert len(rows) == 40
    assert [row["margin"] for row in rows[24:]] == [""] * 16 and all(row["margin"] for row in rows[:24])


def trained_on_part(pets: Path, recipe: dict[str, Any], tmp_path: Path) -> Path:
    """A run that was trained on half of the images of each class."""
    part = tmp_path / "part"
    for path in sorted(pets.rglob("*.png")):
        if int(path.stem) < 10:
            copy = part / ("train" if int(path.stem) < 8 else "test") / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    fields = recipe | {"data": f"folder:{part}"}
    dataset = open_dataset(fields["data"])
    folder = tmp_path / "run"
    launch(parse_training_recipe(fields, "tiny"), dataset, pick_device(), folder, log=silent, quiet=True)
    return folder


@pytest.fixture
def short_trainings(started: list[Training], monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """Trainings have one epoch on images of 8 pixels, without timed compute modes."""

    def short(name: str, dataset: Dataset, **_: Any) -> Candidate:
        return make_candidate(name, dataset, image_size=8, epochs=1, config={})

    def plan(recipes: list[Recipe], dataset: Dataset, device: torch.device, log: object) -> list[Training]:
        jobs = [resolve(recipe, dataset, device) for recipe in recipes]
        return [Training(job, Plan("cpu", ComputeMode(), micro_batch=job.batch), 0.1) for job in jobs]

    monkeypatch.setattr(label_predictions, "make_candidate", short)
    monkeypatch.setattr(label_predictions, "plan_trainings", plan)
    return started


def test_each_training_lacks_its_fold_and_test_images_have_the_mean_of_all(short_trainings, pets, monkeypatch):
    evaluated: list[tuple[Run, Split, np.ndarray]] = []

    def recorded(run: Run, dataset: Dataset, device: torch.device) -> np.ndarray:
        evaluated.append((run, dataset.splits["test"], predicted_probabilities(run, dataset, device)))
        return evaluated[-1][2]

    monkeypatch.setattr(label_predictions, "predicted_probabilities", recorded)
    dataset = open_dataset(f"folder:{pets}")
    found = find_label_errors(dataset, "mixer_nano", 2, quiet=True, log=silent)
    folds = training_folds(dataset.merge_validation(), 2)
    names, test = np.array(folds.images.split.names), dataset.splits["test"].names
    assert len(short_trainings) == len(evaluated) == 2
    for training, (run, images, probabilities), fold in zip(short_trainings, evaluated, range(2), strict=True):
        assert run.path == training.folder
        assert sorted(training.job.dataset.splits["train"].names) == sorted(names[folds.fold_of != fold])
        assert images.names == [*names[folds.fold_of == fold], *test]
        in_fold = found.predictions.probabilities[:32][folds.fold_of == fold]
        np.testing.assert_array_equal(in_fold, probabilities[:-8])
    assert found.trained and found.predictions.images.names == [*names, *test]
    assert found.predictions.splits == ("train",) * 28 + ("validation",) * 4 + ("test",) * 8
    mean = np.mean([probabilities[-8:] for _, _, probabilities in evaluated], axis=0)
    np.testing.assert_allclose(found.predictions.probabilities[-8:], mean, rtol=1e-6)


def test_small_images_are_predicted_by_trainings_and_larger_ones_by_published_weights(digits, photographs):
    assert default_model(digits) == "convmixer_nano"
    assert default_model(open_dataset(f"folder:{photographs}")) == "davit_tiny.msft_in1k"


@pytest.mark.usefixtures("features_cache")
@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (1, "folds=1 leaves no images to train on: there must be at least 2 folds"),
        (30, 'has 20 different images of "cat", but 30 folds need at least 30: add images, or use fewer folds'),
    ],
)
@pytest.mark.parametrize("model", [MIXER, "mixer_nano"])
def test_folds_that_do_not_fit_the_images_are_rejected(pets, model, folds, message):
    message = message.replace("20", "16") if model == "mixer_nano" else message  # without the test images
    with pytest.raises(UserError, match=message):
        find_label_errors(open_dataset(f"folder:{pets}"), model, folds, quiet=True, log=silent)


def test_the_page_shows_every_suspect_with_both_labels(found):
    html = label_errors_page(found, Path("out")).html()
    assert html.count("<li><img") == len(found.suspects) <= 120
    first = found.suspects[0]
    assert f"{first.label} → <strong>{first.suggested}</strong>" in html
    assert found.conclusion in html and "Which labels of digits are wrong?" in html
    assert "mixlab train --data csv:out/labels.csv" in html


def test_the_page_limits_the_images_and_says_how_many_there_are(found, monkeypatch):
    monkeypatch.setattr(label_errors_page_module, "_MAX_IMAGES", 5)
    html = label_errors_page(found, Path("out")).html()
    assert html.count("<li><img") == 5
    assert f"These are the first 5 of {len(found.suspects)}; <code>labels.csv</code> lists all." in html


def test_the_tables_count_images_and_suspects(found):
    by_class, pairs = ([list(row.values()) for row in made(found).rows] for made in (class_table, pair_table))
    totals = np.array([row[1:] for row in by_class], dtype=int).sum(axis=0).tolist()
    assert totals == [899, found.counts.sum() - found.counts.trace(), len(found.suspects)]
    counts = np.array([row[-1] for row in pairs], dtype=int).tolist()
    assert counts == sorted(counts, reverse=True) and counts[0] > 1
    assert len(suspects_table(found).rows) == 20
    assert suspects_table(found).notes == [f"{len(found.suspects) - 20} more are in labels.csv and report.html."]


def test_without_suspects_the_page_says_so(found):
    certain = replace(found.predictions, probabilities=np.eye(10)[found.labels])
    clean = replace(found, predictions=certain)
    assert clean.suspects == () and clean.conclusion == "None of 899 labels is suspected to be wrong."
    assert clean.estimate.startswith("Estimated share of wrong labels: 0.0 %. ")
    html = label_errors_page(clean, Path("out")).html()
    assert clean.conclusion in html and "<img" not in html


def test_the_results_are_json_with_all_suspects(found):
    results = json.loads(json.dumps(found.results(), allow_nan=False))
    assert results["predicted"] == 899 and results["left_out"] == 0 and results["folds"] == 5
    assert results["wrong_share"]["low"] < results["wrong_share"]["value"] < results["wrong_share"]["high"]
    assert [each["name"] for each in results["suspects"]] == [suspect.name for suspect in found.suspects]


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_the_window_without_browser_errors(found, width, opened):
    assert opened(label_errors_page(found, Path("out")).html(), width) == (width, "")
