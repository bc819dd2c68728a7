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
    subset = noise.subset([5, 0])
    assert subset.names == ["noise/5", "noise/0"]
    assert subset.labels.tolist() == [2, 0]
    assert (subset.image(1) == noise.image(0)).all()


def test_sampled_indices_are_sorted_and_always_the_same(noise):
    sampled = noise.sample_indices(5)
    assert len(set(sampled)) == 5 and sampled.tolist() == sorted(sampled)
    assert sampled.tolist() != list(range(5)), "not the first ones"
    assert np.array_equal(noise.sample_indices(5), sampled)
    assert noise.sample_indices(1000).tolist() == list(range(len(noise)))


def test_concatenated_splits_keep_their_order(noise):
    concat = noise.subset([1]).concat(noise.subset([3, 2]))
    assert concat.names == ["noise/1", "noise/3", "noise/2"]
    assert concat.labels.tolist() == [1, 0, 2]
    assert (concat.image(2) == noise.image(2)).all()


def test_the_fingerprint_of_unchanged_data_is_the_same(pets):
    assert open_dataset(f"folder:{pets}").fingerprint == open_dataset(f"folder:{pets}").fingerprint


def test_the_fingerprint_does_not_depend_on_the_location(pets):
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


def test_the_fingerprint_depends_on_classes_splits_names_and_labels(noise):
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


def test_the_listing_digest_depends_on_everything_but_the_bytes(pets):
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


def test_a_stored_assignment_restores_the_splits(pets):
    original = open_dataset(f"folder:{pets}")
    stored = json.loads(json.dumps(original.assignment))
    restored = open_with_assignment(f"folder:{pets}", stored, original.classes)
    assert restored.assignment == original.assignment
    assert restored.fingerprint == original.fingerprint


def test_images_added_later_are_skipped(pets, write_tree):
    before = open_dataset(f"folder:{pets}")
    write_tree("cat/zzz.png")
    write_tree("bird/a.png")
    restored = open_with_assignment(f"folder:{pets}", before.assignment, before.classes)
    assert restored.fingerprint == before.fingerprint
    assert restored.notes == ("Skipped because they were added after the run's split was made: 2 images.",)


def test_a_missing_image_of_a_stored_assignment_is_named(pets):
    before = open_dataset(f"folder:{pets}")
    missing = before.splits["test"].names[0]
    (pets / missing).unlink()
    with pytest.raises(
        UserError, match=f"lacks 1 of the images in the run's stored split, such as {missing}: restore them"
    ):
        open_with_assignment(f"folder:{pets}", before.assignment, before.classes)


def test_evaluation_uses_all_images_of_a_folder_with_the_classes_of_the_model(pets):
    dataset = open_for_evaluation(f"folder:{pets}", ("dog", "bird", "cat"))
    assert list(dataset.splits) == ["test"]
    assert dataset.classes == ("dog", "bird", "cat")
    assert dataset.splits["test"].labels.tolist() == [2] * 10 + [0] * 10


def test_evaluation_uses_all_splits_of_a_folder(write_tree):
    for folder in ("train/cat", "val/cat", "test/dog"):
        root = write_tree(folder, 2)
    assert len(open_for_evaluation(f"folder:{root}", ("cat", "dog")).splits["test"]) == 6


def test_evaluation_accepts_a_single_image(write_tree):
    root = write_tree("cat", 1)
    assert len(open_for_evaluation(f"folder:{root}", ("cat", "dog")).splits["test"]) == 1


def test_evaluation_uses_the_test_split_of_a_published_dataset():
    assert len(open_for_evaluation("digits", tuple("0123456789")).splits["test"]) == 510


def test_an_unknown_class_is_refused_with_a_suggestion(pets):
    with pytest.raises(UserError) as caught:
        open_for_evaluation(f"folder:{pets}", ("cats", "dog"))
    assert str(caught.value) == (
        f"folder:{pets} has classes that the model was not trained on: cat. Rename or remove them, or choose "
        'a model that was trained on these classes. Did you mean "cats"?'
    )


def test_many_unknown_classes_are_not_all_listed():
    with pytest.raises(UserError, match=r"was not trained on: 0, 1, 2, 3, 4 and 5 more\. Rename"):
        open_for_evaluation("digits", ("cat", "dog"))


def test_the_name_opens_the_dataset_from_another_working_directory(pets, monkeypatch, tmp_path):
    monkeypatch.chdir(pets.parent)
    name = open_dataset("folder:pets").name
    monkeypatch.chdir(tmp_path.parent)
    assert len(open_dataset(name).splits["test"]) == 4
    assert is_same_source(name, f"folder:{pets}")


def test_different_spellings_of_a_path_are_the_same_source(pets, monkeypatch):
    monkeypatch.chdir(pets.parent)
    assert is_same_source("folder:pets", f"folder:{pets}/../pets/")
    assert not is_same_source("folder:pets", "folder:pets/cat")
    assert not is_same_source("digits", "cifar10")


KNOWN = f"it must be one of {', '.join(kind.spelling for kind in KINDS.values())}."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digts", f'data "digts" is unknown: {KNOWN} Did you mean "digits"?'),
        ("cifra10", f'data "cifra10" is unknown: {KNOWN} Did you mean "cifar10"?'),
        ("bitmaps", f'data "bitmaps" is unknown: {KNOWN}'),
        ("digits:x", 'data "digits:x" has a path, but digits is included in mixlab and has none: write "digits".'),
        ("folder:", 'data "folder:" is incomplete: write "folder:PATH".'),
        ("csv", 'data "csv" is incomplete: write "csv:FILE".'),
        ("hf", 'data "hf" is incomplete: write "hf:NAME[:SPLIT]".'),
        ("imagenet:", 'data "imagenet:" is incomplete: write "imagenet:PATH" or "imagenet".'),
        ("", f'data "" is unknown: {KNOWN}'),
    ],
)
def test_an_invalid_name_is_refused_with_a_suggestion(name, sentence):
    with pytest.raises(UserError) as caught:
        open_dataset(name)
    assert str(caught.value) == sentence


def test_a_folder_name_without_prefix_is_refused_with_the_prefix(pets, monkeypatch):
    monkeypatch.chdir(pets)
    with pytest.raises(UserError, match=r'For the folder of that name, write "folder:cat".$'):
        open_dataset("cat")
