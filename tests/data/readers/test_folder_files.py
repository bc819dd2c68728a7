import errno
import os
from pathlib import Path

import pytest

from mixlab.data.readers.folder_files import FilesBelow, files_below
from mixlab.errors import UserError


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_images_below_a_folder_are_found_by_suffix_and_sorted(write_tree):
    for name in ("b.JPG", "a/z.png", "a/c.webp", ".hidden/x.png", "__MACOSX/x.png"):
        root = write_tree(name)
    (root / "notes.txt").write_text("")
    (root / "a/IMG_0001").write_text("")
    found = files_below(root)
    assert names(found.images, root) == ["a/c.webp", "a/z.png", "b.JPG"]
    assert names(found.others, root) == ["a/IMG_0001", "notes.txt"]
    assert found.repeated == []


def test_a_folder_that_cannot_be_listed_is_named():
    with pytest.raises(UserError, match=r"^missing can't be listed: No such file or directory: give another folder\.$"):
        files_below(Path("missing"))


def test_a_folder_on_a_network_drive_that_is_not_connected_is_named(monkeypatch):
    def scandir(folder: str) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"^photos can't be listed: its network drive is not connected: mount it again"):
        files_below(Path("photos"))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("again", "."),
        ("a/again", ".."),
        ("a/outside", "../.."),
        ("first", "z"),  # sorted before its target
        ("a/first", "../z"),
        ("zz", "a"),
        ("one.png", "z/y.png"),
    ],
)
def test_a_link_to_something_that_is_included_is_not_followed(write_tree, link, target):
    for name in ("a/x.png", "z/y.png"):
        root = write_tree(name)
    (root / link).symlink_to(target)
    assert files_below(root) == FilesBelow([root / "a/x.png", root / "z/y.png"], [], [root / link])


def test_two_links_in_a_folder_to_itself_end(write_tree):
    root = write_tree("x.png")
    for link in ("l1", "l2"):
        (root / link).symlink_to(".")
    assert files_below(root) == FilesBelow([root / "x.png"], [], [root / "l1", root / "l2"])


def test_two_folders_outside_that_link_to_each_other_are_visited_once(write_tree):
    root = write_tree("cat/x.png")
    for name, other in (("left", "right"), ("right", "left")):
        outside = write_tree(f"{name}.png", root=name)
        (outside / "back").symlink_to(f"../{other}")
    (root / "cat/left").symlink_to("../../left")
    found = files_below(root / "cat")
    assert names(found.images, root) == ["cat/left/back/right.png", "cat/left/left.png", "cat/x.png"]
    assert names(found.repeated, root) == ["cat/left/back/back"]


def test_files_in_a_linked_folder_outside_are_included(write_tree):
    write_tree("x.png", root="outside")
    root = write_tree("y.png")
    (root / "more").symlink_to("../outside")
    assert names(files_below(root).images, root) == ["more/x.png", "y.png"]


def test_a_link_to_itself_is_a_file(write_tree):
    root = write_tree("x.png")
    (root / "loop.png").symlink_to("loop.png")
    assert names(files_below(root).images, root) == ["loop.png", "x.png"]
