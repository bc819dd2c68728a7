"""Groups of images from their names, `folder:PATH:group=REGEX`."""

import tarfile
from itertools import product

import numpy as np
import pytest

from mixlab.comparison.compared import dataset_title
from mixlab.data.folds import make_folds
from mixlab.data.name_groups import split_group_option
from mixlab.data.sources import is_same_source, open_as_provided, open_dataset
from mixlab.errors import UserError


@pytest.fixture
def patients(write_tree):
    """Two classes with four images of each of ten patients."""
    for label, patient, image in product(("healthy", "ill"), range(10), range(4)):
        write_tree(f"{label}/patient{patient}_{image}.png")
    return write_tree("healthy/patient0_0.png")


def patients_of(names) -> set[str]:
    return {name.partition("/")[2].partition("_")[0] for name in names}


@pytest.mark.parametrize("pattern", [r"patient(\d+)_", r"patient\d+", r"(?:healthy|ill)/(patient\d+)"])
def test_no_group_is_in_two_splits(patients, pattern):
    dataset = open_dataset(f"folder:{patients}:group={pattern}")
    found = [patients_of(split.names) for split in dataset.splits.values()]
    assert sum(map(len, found)) == len(set.union(*found)) == 10
    assert dataset.name == f"folder:{patients}:group={pattern}"
    assert not any("group" in note for note in dataset.notes)


def test_no_group_is_in_two_folds(patients):
    folds = make_folds(open_dataset(f"folder:{patients}:group=patient\\d+"), 3)
    names = np.array(folds.images.split.names)
    found = [patients_of(names[folds.fold_of == fold]) for fold in range(3)]
    assert sum(map(len, found)) == len(set.union(*found)) == 10


def test_the_name_opens_the_same_splits_again(patients):
    dataset = open_dataset(f"folder:{patients}:group=patient\\d+")
    assert open_dataset(dataset.name).assignment == dataset.assignment
    assert open_dataset(f"folder:{patients}").assignment != dataset.assignment


def test_images_without_a_match_are_groups_of_their_own_and_are_counted(patients, write_tree):
    write_tree("ill/a.png")
    write_tree("ill/b.png")
    dataset = open_as_provided(f"folder:{patients}:group=patient(\\d+)?")
    assert len(set(dataset.splits["train"].groups)) == 12
    assert dataset.notes == ("Not matched by group=patient(\\d+)?, so each is a group of its own: 2 images.",)


def test_an_optional_group_that_is_missing_is_no_match(patients, write_tree):
    write_tree("ill/patient_a.png")
    write_tree("ill/patient_b.png")
    dataset = open_as_provided(f"folder:{patients}:group=patient(\\d+)?")
    assert len(set(dataset.splits["train"].groups)) == 12


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (
            "patient(",
            " has an invalid regular expression (missing ), unterminated subpattern at position 7): write it as in "
            "Python, for example :group=patient_(\\d+).",
        ),
        (
            "visit",
            " matches none of the 80 images, such as healthy/patient0_0.png: the regular expression is searched in the "
            "path of each image inside the source.",
        ),
        (
            "",
            " matches none of the 80 images, such as healthy/patient0_0.png: the regular expression is searched in the "
            "path of each image inside the source.",
        ),
        (
            "patient",
            ' puts all images into one group, "patient", so they can\'t be divided: write a regular expression whose '
            "first group differs between the images.",
        ),
    ],
)
def test_expressions_that_make_no_groups_are_refused(patients, pattern, problem):
    with pytest.raises(UserError) as caught:
        open_dataset(f"folder:{patients}:group={pattern}")
    assert str(caught.value) == f"folder:{patients}:group={pattern}{problem}"


def test_too_few_groups_are_refused(patients):
    with pytest.raises(UserError) as caught:
        open_dataset(f"folder:{patients}:group=healthy|ill")
    assert str(caught.value) == (
        f'folder:{patients}:group=healthy|ill has 1 group of "healthy", but at least 3 are needed to hold some out: '
        "add images, or remove the class."
    )


def test_the_images_of_an_archive_have_groups(patients, tmp_path):
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(patients, "pets")
    dataset = open_dataset(f"tar:{tmp_path}/pets.tar:group=patient\\d+")
    assert all(len(split.groups) == len(split) for split in dataset.splits.values())


def test_splits_of_the_source_are_kept_and_groups_in_several_of_them_are_noted(write_tree):
    for split, label, number in product(("train", "val", "test"), ("cat", "dog"), range(3)):
        write_tree(f"{split}/{label}/home{number if split == 'train' else number + 1}_{number}.png")
    dataset = open_dataset(f"folder:{write_tree('train/cat', 0)}:group=home\\d")
    assert all(name.startswith("val/") for name in dataset.splits["validation"].names)
    assert dataset.notes == ("Groups in more than one split, as the source provides them: 3.",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("folder:pets", ("folder:pets", None)),
        ("folder:C:\\pets:group=a:group=b", ("folder:C:\\pets", "a:group=b")),
        ("folder:pets/a:b:group=(?:x)", ("folder:pets/a:b", "(?:x)")),
        ("folder:pets:group=", ("folder:pets", "")),
    ],
)
def test_the_option_begins_at_its_first_occurrence(name, expected):
    assert split_group_option(name) == expected


def test_a_missing_path_is_refused():
    with pytest.raises(UserError, match='data "folder::group=x" is incomplete: write "folder:PATH"'):
        open_dataset("folder::group=x")


def test_groups_do_not_change_the_source_or_its_title(patients):
    name = f"folder:{patients}:group=patient\\d+/?"
    assert is_same_source(name, f"folder:{patients}/")
    assert dataset_title(open_dataset(name)) == patients.name
