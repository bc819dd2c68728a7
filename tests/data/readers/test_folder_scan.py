from pathlib import Path

import pytest

from mixlab.data.readers.folder_scan import images_below
from mixlab.errors import UserError


def test_images_below_a_folder_are_found_by_suffix_and_sorted(write_tree):
    for name in ("b.JPG", "a/z.png", "a/c.webp", ".hidden/x.png", "__MACOSX/x.png"):
        root = write_tree(name)
    (root / "notes.txt").write_text("")
    assert [path.relative_to(root).as_posix() for path in images_below(root)] == ["a/c.webp", "a/z.png", "b.JPG"]


def test_a_folder_that_cannot_be_listed_is_named():
    with pytest.raises(
        UserError, match=r"^missing can't be listed \(No such file or directory\): change its permissions"
    ):
        images_below(Path("missing"))
