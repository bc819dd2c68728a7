import numpy as np

from mixlab.data.dataset import Split
from mixlab.data.holdout import GroupedSplit, group_samples


def make_split(labels: list[int], contents: list[int]) -> Split:
    """Images of one pixel, with equal bytes for equal contents."""
    images = [np.full((1, 1, 3), content, dtype=np.uint8) for content in contents]
    return Split([f"p{index}" for index in range(len(labels))], np.array(labels), images)


def split_contents(split: Split) -> set[int]:
    return {int(split.image(index)[0, 0, 0]) for index in range(len(split))}


def test_equal_files_are_one_group(write_tree):
    root = write_tree("cat", 3)
    (root / "cat/copy.png").write_bytes((root / "cat/001.png").read_bytes())
    paths = sorted(root.rglob("*.png"))
    group_ids = group_samples(Split([path.name for path in paths], np.zeros(4, np.int64), paths)).group_ids
    assert group_ids.tolist() == [0, 1, 2, 1]


def test_files_that_are_empty_or_cannot_be_read_are_not_copies(tmp_path):
    for name in ("empty.png", "blank.png"):
        (tmp_path / name).write_bytes(b"")
    for name in ("folder.png", "other.png"):
        (tmp_path / name).mkdir()
    names = ["empty.png", "blank.png", "missing.png", "gone.png", "folder.png", "other.png"]
    split = Split(names, np.zeros(6, np.int64), [tmp_path / name for name in names])
    assert group_samples(split).group_ids.tolist() == [0, 1, 2, 3, 4, 5]


def test_equal_bytes_with_different_shapes_are_different_images():
    flat, tall = np.zeros((1, 4, 3), np.uint8), np.zeros((4, 1, 3), np.uint8)
    assert group_samples(Split(["a", "b"], np.zeros(2, np.int64), [flat, tall])).group_ids.tolist() == [0, 1]


def test_the_share_is_held_out_of_each_class():
    labels = [0] * 50 + [1] * 20 + [2] * 5
    held_out, rest = group_samples(make_split(labels, list(range(75)))).cut(1 / 5)
    assert np.bincount(held_out.labels).tolist() == [10, 4, 1]
    assert np.bincount(rest.split.labels).tolist() == [40, 16, 4]
    assert sorted([*held_out.names, *rest.split.names]) == sorted(f"p{index}" for index in range(75))


def test_at_least_one_image_of_a_class_is_held_out():
    held_out, rest = group_samples(make_split([0, 0, 1, 1], [0, 1, 2, 3])).cut(1 / 10)
    assert np.bincount(held_out.labels).tolist() == [1, 1]
    assert np.bincount(rest.split.labels).tolist() == [1, 1]


def test_copies_stay_in_the_same_split():
    contents = [index // 3 for index in range(60)]  # three copies of each
    held_out, rest = group_samples(make_split([0] * 60, contents)).cut(1 / 5)
    held_out_contents, rest_contents = (split_contents(split) for split in (held_out, rest.split))
    assert len(held_out) == 12
    assert not held_out_contents & rest_contents


def test_the_held_out_images_are_random_but_reproducible():
    held_out_names = [group_samples(make_split([0] * 50, list(range(50)))).cut(1 / 5)[0].names for _ in range(2)]
    assert held_out_names[0] == held_out_names[1]
    assert held_out_names[0] != [f"p{index}" for index in range(10)]


def test_the_rest_can_be_split_again():
    images = group_samples(make_split([0] * 20 + [1] * 20, [index // 2 for index in range(40)]))
    test, rest = images.cut(1 / 5)
    validation, train = rest.cut(1 / 10)
    contents = [split_contents(split) for split in (test, validation, train.split)]
    assert [len(content) for content in contents] == [4, 2, 14]
    assert not contents[0] & contents[1]
    assert not contents[1] & contents[2]


def test_equal_images_with_different_classes_are_label_conflicts():
    assert group_samples(make_split([0, 0, 1, 1], [5, 5, 5, 6])).label_conflicts == 1
    assert group_samples(make_split([0, 0, 1, 1], [5, 5, 7, 7])).label_conflicts == 0


def test_the_class_of_a_group_is_that_of_its_first_image():
    images = GroupedSplit(make_split([0, 1, 1], [5, 5, 6]), np.array([0, 0, 1]))
    assert images.group_labels.tolist() == [0, 1]
