import json

import numpy as np
import pytest
from PIL import Image

from mixlab.data.dataset import Dataset, Split
from mixlab.data.sources import KINDS, is_same_source, open_dataset, open_for_evaluation, open_with_assignment
from mixlab.errors import UserError


@pytest.fixture
def pets(write_tree):
    write_tree("cat", 10)
    return write_tree("dog", 10)


def test_a_subset_keeps_images_labels_and_names_together(noise):
    recommendation_summary = noise.subset([5, 0])
    assert recommendation_summary.names == ["noise/5", "noise/0"]
    assert recommendation_summary.labels.tolist() == [2, 0]
    assert (recommendation_summary.image(1) == noise.image(0)).all()


def test_joined_parts_follow_each_other(noise):
    concat = noise.subset([1]).concat(noise.subset([3, 2]))
    assert concat.names == ["noise/1", "noise/3", "noise/2"]
    assert concat.labels.tolist() == [1, 0, 2]
    assert (concat.image(2) == noise.image(2)).all()


def test_the_fingerprint_is_the_same_when_nothing_changed(pets):
    assert open_dataset(f"folder:{pets}").fingerprint == open_dataset(f"folder:{pets}").fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(pets):
    before = open_dataset(f"folder:{pets}").fingerprint
    assert open_dataset(f"folder:{pets.rename(pets.parent / 'moved')}").fingerprint == before


def test_one_pixel_changes_the_fingerprint(pets):
    before = open_dataset(f"folder:{pets}").fingerprint
    path = pets / "cat/003.png"
    pixels = np.array(Image.open(path))
    pixels[2, 1, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert open_dataset(f"folder:{pets}").fingerprint != before


@pytest.mark.parametrize(
    ("old", "new"), [("cat/003.png", "cat/new.png"), ("cat", "kitten"), ("cat/003.png", "dog/x.png")]
)
def test_a_renamed_image_or_class_changes_the_fingerprint(pets, old, new):
    before = open_dataset(f"folder:{pets}").fingerprint
    (pets / old).rename(pets / new)
    assert open_dataset(f"folder:{pets}").fingerprint != before


def test_every_fact_of_a_set_is_in_its_fingerprint(noise):
    def fingerprint(classes=("a", "b", "c"), split="test", names=tuple(noise.names), labels=noise.labels) -> str:
        return Dataset("noise", classes, {split: Split(list(names), labels, noise.images)}).fingerprint

    fingerprints = [
        fingerprint(),
        fingerprint(classes=("a", "b", "d")),
        fingerprint(split="train"),
        fingerprint(names=noise.names[::-1]),
        fingerprint(labels=noise.labels[::-1].copy()),
    ]
    assert len(set(fingerprints)) == 5


def test_every_fact_but_the_bytes_is_in_the_listing(pets):
    def listing() -> str:
        return open_dataset(f"folder:{pets}").listing_digest

    before = listing()
    path = pets / "cat/003.png"
    content = path.read_bytes()
    path.write_bytes(bytes(reversed(content)))
    assert len(before) == 32 and listing() == before
    path.write_bytes(content + b"0")
    larger = listing()
    path.write_bytes(content)
    path.rename(pets / "dog/new.png")
    moved = listing()
    (pets / "cat").rename(pets / "kitten")
    assert len({before, larger, moved, listing()}) == 4


def test_a_stored_split_brings_the_same_parts_back(pets):
    pets_cut = open_dataset(f"folder:{pets}")
    stored = json.loads(json.dumps(pets_cut.assignment))
    resume = open_with_assignment(f"folder:{pets}", stored, pets_cut.classes)
    assert resume.assignment == pets_cut.assignment
    assert resume.fingerprint == pets_cut.fingerprint


def test_images_that_came_later_stay_out_of_a_stored_split(pets, write_tree):
    before = open_dataset(f"folder:{pets}")
    write_tree("cat/zzz.png")
    write_tree("bird/a.png")
    resume = open_with_assignment(f"folder:{pets}", before.assignment, before.classes)
    assert resume.fingerprint == before.fingerprint
    assert resume.notes == ("Left out because they came after the run's split was made: 2 of its images.",)


def test_a_image_that_a_stored_split_misses_is_named(pets):
    before = open_dataset(f"folder:{pets}")
    gone = before.splits["test"].names[0]
    (pets / gone).unlink()
    with pytest.raises(UserError, match=f"lacks 1 of the images that the run's split names, such as {gone}: put them"):
        open_with_assignment(f"folder:{pets}", before.assignment, before.classes)


def test_an_unseen_folder_is_used_whole_in_the_models_own_classes(pets):
    unseen = open_for_evaluation(f"folder:{pets}", ("dog", "bird", "cat"))
    assert list(unseen.splits) == ["test"]
    assert unseen.classes == ("dog", "bird", "cat")
    assert unseen.splits["test"].labels.tolist() == [2] * 10 + [0] * 10


def test_all_parts_of_an_unseen_folder_are_used(write_tree):
    for place in ("train/cat", "val/cat", "test/dog"):
        root = write_tree(place, 2)
    assert len(open_for_evaluation(f"folder:{root}", ("cat", "dog")).splits["test"]) == 6


def test_an_unseen_folder_may_have_one_class_and_one_image(write_tree):
    root = write_tree("cat", 1)
    assert len(open_for_evaluation(f"folder:{root}", ("cat", "dog")).splits["test"]) == 1


def test_of_an_unseen_set_with_a_fixed_name_the_test_part_is_used():
    assert len(open_for_evaluation("digits", tuple("0123456789")).splits["test"]) == 510


def test_a_class_that_the_model_does_not_know_is_refused_with_the_nearest(pets):
    with pytest.raises(UserError) as caught:
        open_for_evaluation(f"folder:{pets}", ("cats", "dog"))
    assert str(caught.value) == (
        f"folder:{pets} has classes that the model does not know, cat: rename or remove their folders, or take a "
        'model that was trained on them. Did you mean "cats"?'
    )


def test_many_unknown_classes_are_not_all_listed():
    with pytest.raises(UserError, match="does not know, 0, 1, 2, 3, 4 and 5 more: rename"):
        open_for_evaluation("digits", ("cat", "dog"))


def test_a_sets_name_opens_it_again_from_another_working_directory(pets, monkeypatch, tmp_path):
    monkeypatch.chdir(pets.parent)
    name = open_dataset("folder:pets").name
    monkeypatch.chdir(tmp_path.parent)
    assert len(open_dataset(name).splits["test"]) == 4
    assert is_same_source(name, f"folder:{pets}")


def test_one_folder_has_many_spellings(pets, monkeypatch):
    monkeypatch.chdir(pets.parent)
    assert is_same_source("folder:pets", f"folder:{pets}/../pets/")
    assert not is_same_source("folder:pets", "folder:pets/cat")
    assert not is_same_source("digits", "cifar10")


KNOWN = f"it can be one of {', '.join(kind.spelling for kind in KINDS.values())}."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digts", f'data "digts" is not known: {KNOWN} Did you mean "digits"?'),
        ("cifra10", f'data "cifra10" is not known: {KNOWN} Did you mean "cifar10"?'),
        ("bitmaps", f'data "bitmaps" is not known: {KNOWN}'),
        ("digits:x", 'data "digits:x" names a path, but digits comes with mixlab and has none: write "digits".'),
        (
            "folder:",
            'data "folder:" lacks what has to stand behind a colon: write "folder:PATH".',
        ),
        ("csv", 'data "csv" lacks what has to stand behind a colon: write "csv:FILE".'),
        ("hf", 'data "hf" lacks what has to stand behind a colon: write "hf:NAME[:SPLIT]".'),
        (
            "imagenet:",
            'data "imagenet:" lacks what has to stand behind a colon: write "imagenet:PATH", or "imagenet" alone.',
        ),
        ("", f'data "" is not known: {KNOWN}'),
    ],
)
def test_an_unknown_name_is_refused_with_what_was_meant(name, sentence):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    assert str(caught.value) == sentence


def test_a_folder_without_its_prefix_is_told_how_to_write_it(pets, monkeypatch):
    monkeypatch.chdir(pets)
    with pytest.raises(UserError, match=r'For the folder of that name write "folder:cat".$'):
        open_dataset("cat")
