"""One tolerant finder: the exact name first, then the only other one, never outside the folder, never a guess."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from inception_rcnn.datasets.reading.finding import Finder, did_you_mean, folded, is_split_name, path_parts


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("images/cat.jpg", "images/cat.jpg"),
        ("images\\cat.jpg", "images/cat.jpg"),
        ("./images//cat.jpg", "images/cat.jpg"),
        ("IMAGES/CAT.JPG", "images/cat.jpg"),
        ("images/cat.jpg", "Images/Cat.JPG"),
        ("../../upload/1/cat.jpg", "images/1/cat.jpg"),
        ("/home/me/set/images/cat.jpg", "images/cat.jpg"),
        ("C:\\Users\\me\\images\\cat.jpg", "images/cat.jpg"),
        ("my%20cat.jpg", "images/my cat.jpg"),
        (unicodedata.normalize("NFD", "café.jpg"), "images/" + unicodedata.normalize("NFC", "café.jpg")),
        ("cat (1).jpg", "images/cat (1).jpg"),
        ("cat.jpg", "images/2026-01-01/cat.jpg"),
    ],
)
def test_names_are_found_as_people_write_them(tmp_path: Path, name: str, there: str) -> None:
    touch(tmp_path, there, "images/dog.jpg")
    assert Finder().file([tmp_path / "images", tmp_path], name) == [str(tmp_path / there)]


def test_the_exact_name_comes_first_and_two_others_are_no_answer(tmp_path: Path) -> None:
    touch(tmp_path, "cat.jpg", "Cat.jpg", "CAT.JPG")
    assert Finder().file([tmp_path], "Cat.jpg") == [str(tmp_path / "Cat.jpg")]
    assert len(Finder().file([tmp_path], "cAT.jpg")) == 3
    assert Finder().child(tmp_path, "cAT.jpg") is None


def test_the_folder_that_agrees_most_decides_between_equal_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/day1/1.jpg", "a/day2/1.jpg")
    assert Finder().file([tmp_path], "elsewhere/day2/1.jpg") == [str(tmp_path / "a" / "day2" / "1.jpg")]
    assert len(Finder().file([tmp_path], "1.jpg")) == 2


def test_nothing_outside_is_found_nor_in_another_part_or_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "secret.jpg", "set/train/1.jpg", "set/.cache/2.jpg")
    finder = Finder()
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "2.jpg", "", "a\0/b.jpg", "\0", "..\\..\\secret.jpg"):
        assert finder.file([tmp_path / "set"], name) == []
    assert finder.entries("a\0") == {}
    assert finder.file([tmp_path / "set"], "1.jpg", splits=["train"]) == []
    assert len(finder.file([tmp_path / "set"], "1.jpg")) == 1


def test_what_was_meant_is_named() -> None:
    assert did_you_mean("vall", ["train", "val"]) == "; did you mean 'val'?"
    assert did_you_mean("cat.jpg", ["zebra.jpg.txt"]) == ""
    assert path_parts("..") == () and folded("Straße") == folded("STRASSE")
    assert [is_split_name(name) for name in ("val2017", "Valid", "values", "2017")] == [True, True, False, False]


def test_links_to_other_folders_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "set/a/1.jpg", "elsewhere/b/2.jpg")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "same").symlink_to(tmp_path / "elsewhere" / "b")
    (tmp_path / "set" / "newest").symlink_to("a")
    (tmp_path / "set" / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    found = [str(Path(path).relative_to(tmp_path / "set")) for path in Finder().walk(tmp_path / "set")]
    assert found == ["a/1.jpg", "more/b/2.jpg"]


def test_a_pipe_is_no_file_and_a_link_to_nothing_is_one(tmp_path: Path) -> None:
    """Whoever opened the pipe would wait forever; the link should be said to be missing, not passed over."""
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("gone.jpg")
    assert Finder().entries(tmp_path) == {"b.jpg": False}
