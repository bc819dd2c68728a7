import numpy as np

from mixlab.data.dataset import Split
from mixlab.data.holdout import GroupedSplit, group_samples


def part_of(labels: list[int], contents: list[int]) -> Split:
    """Images of one pixel, equal where their contents are."""
    images = [np.full((1, 1, 3), content, dtype=np.uint8) for content in contents]
    return Split([f"p{index}" for index in range(len(labels))], np.array(labels), images)


def contents_of(split: Split) -> set[int]:
    return {int(split.image(index)[0, 0, 0]) for index in range(len(split))}


def test_equal_images_are_one_group_and_different_ones_are_not(write_tree):
    root = write_tree("cat", 3)
    (root / "cat/copy.png").write_bytes((root / "cat/001.png").read_bytes())
    paths = sorted(root.rglob("*.png"))
    group_ids = group_samples(Split([path.name for path in paths], np.zeros(4, np.int64), paths)).group_ids
    assert group_ids.tolist() == [0, 1, 2, 1]


def test_equal_pixels_in_another_shape_are_another_image():
    flat, tall = np.zeros((1, 4, 3), np.uint8), np.zeros((4, 1, 3), np.uint8)
    assert group_samples(Split(["a", "b"], np.zeros(2, np.int64), [flat, tall])).group_ids.tolist() == [0, 1]


def test_each_class_gives_its_share():
    labels = [0] * 50 + [1] * 20 + [2] * 5
    held, rest = group_samples(part_of(labels, list(range(75)))).cut(1 / 5)
    assert np.bincount(held.labels).tolist() == [10, 4, 1]
    assert np.bincount(rest.split.labels).tolist() == [40, 16, 4]
    assert sorted([*held.names, *rest.split.names]) == sorted(f"p{index}" for index in range(75))


def test_a_small_class_gives_at_least_one():
    held, rest = group_samples(part_of([0, 0, 1, 1], [0, 1, 2, 3])).cut(1 / 10)
    assert np.bincount(held.labels).tolist() == [1, 1]
    assert np.bincount(rest.split.labels).tolist() == [1, 1]


def test_copies_stay_on_one_side():
    contents = [index // 3 for index in range(60)]  # three copies of each
    held, rest = group_samples(part_of([0] * 60, contents)).cut(1 / 5)
    of_held, of_rest = (contents_of(split) for split in (held, rest.split))
    assert len(held) == 12
    assert not of_held & of_rest


def test_a_cut_is_the_same_every_time_and_not_the_first_images():
    cuts = [group_samples(part_of([0] * 50, list(range(50)))).cut(1 / 5)[0].names for _ in range(2)]
    assert cuts[0] == cuts[1]
    assert cuts[0] != [f"p{index}" for index in range(10)]


def test_what_is_left_can_be_cut_again():
    images = group_samples(part_of([0] * 20 + [1] * 20, [index // 2 for index in range(40)]))
    test, rest = images.cut(1 / 5)
    validation, train = rest.cut(1 / 10)
    contents = [contents_of(split) for split in (test, validation, train.split)]
    assert [len(content) for content in contents] == [4, 2, 14]
    assert not contents[0] & contents[1]
    assert not contents[1] & contents[2]


def test_a_image_in_two_classes_is_a_contradiction():
    assert group_samples(part_of([0, 0, 1, 1], [5, 5, 5, 6])).label_conflicts == 1
    assert group_samples(part_of([0, 0, 1, 1], [5, 5, 7, 7])).label_conflicts == 0


def test_a_group_counts_in_the_class_of_its_first_image():
    images = GroupedSplit(part_of([0, 1, 1], [5, 5, 6]), np.array([0, 0, 1]))
    assert images.group_labels.tolist() == [0, 1]
