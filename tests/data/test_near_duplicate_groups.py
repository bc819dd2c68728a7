"""Near duplicates stay in one split or fold."""

import io

import numpy as np
import pytest
from PIL import Image

from mixlab.data import near_duplicate_groups
from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import make_folds, single_test_split
from mixlab.data.holdout import group_equal_files
from mixlab.data.near_duplicate_groups import group_near_duplicates
from mixlab.data.sources import open_dataset
from mixlab.data.splits import with_all_splits

MIN_GROUPS = 1
NOTE_80 = "Near duplicates, kept together where mixlab divides the images: 80 images in 40 groups, the largest with 2."


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(near_duplicate_groups, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def scene(number: int) -> Image.Image:
    """A smooth random image of 48 pixels, unlike the others."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC)


def reencoded(image: Image.Image) -> np.ndarray:
    content = io.BytesIO()
    image.resize((40, 40)).save(content, "jpeg", quality=60)
    return np.asarray(Image.open(content).convert("RGB"))


def split_of(images: list[np.ndarray], labels: list[int]) -> Split:
    return Split([f"p{index:03d}" for index in range(len(images))], np.array(labels), images)


def pairs_of_copies(count: int) -> Split:
    """`count` scenes and a copy of each, in two classes."""
    originals = [np.asarray(scene(number)) for number in range(count)]
    copies = [reencoded(scene(number)) for number in range(count)]
    return split_of([*originals, *copies], [number % 2 for number in range(count)] * 2)


def chain(length: int, step: float) -> list[np.ndarray]:
    """Images that change slowly from one to the next, as in a video, with a new scene every 1 / `step` images."""
    return [between_scenes(step * number) for number in range(length)]


def between_scenes(position: float) -> np.ndarray:
    number = int(position)
    first, second = (np.asarray(scene(1000 + index), dtype=np.float64) for index in (number, number + 1))
    return (first + (second - first) * (position - number)).round().astype(np.uint8)


def group_ids(split: Split) -> list[int]:
    return group_near_duplicates(group_equal_files(split), MIN_GROUPS, quiet=True).images.group_ids.tolist()


def notes(split: Split) -> tuple[str, ...]:
    return group_near_duplicates(group_equal_files(split), MIN_GROUPS, quiet=True).notes


def test_reencoded_copies_are_one_group_and_are_noted():
    copies = pairs_of_copies(12)
    assert group_ids(copies) == [*range(12), *range(12)]
    assert notes(copies) == (
        "Near duplicates, kept together where mixlab divides the images: 24 images in 12 groups, the largest with 2.",
    )


def test_different_images_are_groups_of_their_own_and_not_noted():
    split = split_of([np.asarray(scene(number)) for number in range(30)], [0, 1] * 15)
    assert group_ids(split) == list(range(30))
    assert notes(split) == ()


def test_copies_are_in_one_split():
    pets = with_all_splits(Dataset("pets", ("cat", "dog"), {"train": pairs_of_copies(40)}), quiet=True)
    scenes = [{int(name[1:]) % 40 for name in split.names} for split in pets.splits.values()]
    assert sum(map(len, scenes)) == len(set.union(*scenes)) == 40
    assert pets.notes[1] == NOTE_80


def test_copies_are_in_one_fold_and_on_one_side_of_the_validation_split():
    pets = Dataset("pets", ("cat", "dog"), {"train": pairs_of_copies(40)})
    folds = make_folds(pets, 5)
    assert folds.fold_of[:40].tolist() == folds.fold_of[40:].tolist()
    assert folds.notes == (NOTE_80,)
    halves = Dataset("pets", ("cat", "dog"), {"train": pairs_of_copies(40), "test": pairs_of_copies(1)})
    (only,) = single_test_split(halves).rounds()
    assert not {index % 40 for index in only.train} & {index % 40 for index in only.validation}


def test_splits_of_the_source_are_not_changed(write_tree):
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            root = write_tree(f"{split}/{label}", 2)
            scene(0).save(root / split / label / "000.png")
    pets = open_dataset(f"folder:{root}")
    assert [len(split) for split in pets.splits.values()] == [4, 4, 4]
    assert pets.notes == ()


def test_similar_images_of_different_classes_are_not_linked():
    split = split_of(
        [np.asarray(scene(0)), reencoded(scene(0)), np.asarray(scene(1)), np.asarray(scene(2))], [0, 1, 0, 1]
    )
    assert group_ids(split) == [0, 1, 2, 3]


def test_chains_are_not_kept_together_and_are_noted():
    images = [*chain(60, 1 / 10), *(np.asarray(scene(number)) for number in range(400))]
    split = split_of(images, [0] * 460)
    assert len(set(group_ids(split))) == 460
    assert notes(split) == (
        "Similar images that were not kept together, because they form chains or a large part of a class: 60 images in "
        "2 groups, the largest with 44. If they have a common origin, such as a video, name their groups.",
    )


@pytest.mark.parametrize(("others", "groups"), [(200, 201), (20, 40)])
def test_a_group_is_kept_together_up_to_a_tenth_of_its_class(others, groups):
    images = [*chain(20, 1 / 200), *(np.asarray(scene(number)) for number in range(others))]
    assert len(set(group_ids(split_of(images, [0] * len(images))))) == groups


@pytest.mark.parametrize(("min_groups", "groups"), [(2, 2), (3, 4), (5, 6)])
def test_near_duplicates_are_not_kept_together_if_their_class_would_have_too_few_groups(min_groups, groups):
    images = [np.asarray(scene(number // 3).resize((48 + number % 3, 48))) for number in range(6)]
    near = group_near_duplicates(group_equal_files(split_of(images, [0] * 6)), min_groups, quiet=True)
    assert len(near.images.group_labels) == groups
    assert sum("were not kept together" in note for note in near.notes) == (groups > 2)


def test_copies_do_not_prevent_a_training():
    copies = [image for number in range(2) for image in (np.asarray(scene(number)), reencoded(scene(number)))]
    others = [np.asarray(scene(number)) for number in range(2, 6)]
    pets = Dataset("pets", ("cat", "dog"), {"train": split_of([*copies, *others], [0] * 4 + [1] * 4)})
    assert [set(split.labels.tolist()) for split in with_all_splits(pets).splits.values()] == [{0, 1}] * 3
    assert make_folds(pets, 2).count == 2


def test_images_that_are_alike_in_general_are_not_grouped():
    split = split_of(chain(60, 1 / 200), [0, 1] * 30)
    assert group_ids(split) == list(range(60))
    assert notes(split) == (
        "Near duplicates were not kept together, because the images are alike in general: there are more than 10 pairs "
        "of similar images per image.",
    )


@pytest.mark.parametrize(("limit", "value"), [("MAX_IMAGES", 23), ("MAX_BYTES", 1000)])
def test_a_large_split_is_not_searched(monkeypatch, limit, value):
    monkeypatch.setattr(near_duplicate_groups, limit, value)
    (note,) = notes(pairs_of_copies(12))
    assert note.startswith("Near duplicates were not searched, because there are more than ")
    assert note.endswith("`mixlab data check` lists them, and groups keep them in one split.")


def test_unreadable_images_are_not_copies(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"broken" + name.encode())
    paths = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "missing.png"]
    assert group_ids(Split(["a", "b", "c"], np.zeros(3, np.int64), paths)) == [0, 1, 2]


def test_deep_images_that_differ_in_brightness_are_copies(tmp_path):
    grey = np.asarray(scene(0).convert("L"), dtype=np.uint16)
    for name, factor in (("a.png", 16), ("b.png", 200)):
        Image.fromarray(grey * np.uint16(factor)).save(tmp_path / name)
    assert group_ids(Split(["a", "b"], np.zeros(2, np.int64), [tmp_path / "a.png", tmp_path / "b.png"])) == [0, 0]


def test_the_second_search_reads_the_cache_whatever_the_order_of_the_images(monkeypatch, cache):
    copies = pairs_of_copies(12)
    group_ids(copies)
    assert len(list(cache.rglob("*.json"))) == 1
    monkeypatch.setattr(near_duplicate_groups, "perceptual_hash", None)
    reversed_ids = group_ids(copies.subset(np.arange(24)[::-1]))
    assert reversed_ids == [*range(12), *range(12)]


def test_a_cache_that_cannot_be_written_is_not_needed(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(near_duplicate_groups, "cache_folder", lambda: tmp_path / "file")
    assert group_ids(pairs_of_copies(3)) == [0, 1, 2, 0, 1, 2]
