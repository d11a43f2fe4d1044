"""Which images `detect` and `propose` take of files, folders and patterns, and what they say of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inception_rcnn.structures import InputError, write_picture
from inception_rcnn.tools.detect_sources import find_sources
from inception_rcnn.tools.image_arguments import find_pictures, say_pages

PIXELS = np.zeros((6, 8, 3), np.uint8)


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Photographs in a folder and in two within it, with what lies beside photographs."""
    for name in (
        "a.jpg",
        "day1/b.png",
        "day1/more/c.jpg",
        "notes/readme.txt",
        ".hidden/d.jpg",
        "Thumbs.db",
        "clip.MP4",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            Image.fromarray(PIXELS).save(path)
        else:
            path.touch()
    write_picture(tmp_path / "a-detections.jpg", PIXELS)
    write_picture(tmp_path / "detections" / "b-detections.jpg", PIXELS)
    return tmp_path


def found(argument: Path, *, recursive: bool = False) -> list[str]:
    return [source.name for source, _ in find_pictures([argument], "detections", None, recursive=recursive)]


def test_images_alone_are_taken_and_what_is_passed_over_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(folder) == ["a.jpg"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"note: passed over in {folder}: 1 picture drawn before (a-detections.jpg)",
        f"note: passed over in {folder}: 1 video (clip.MP4); detect takes one that is named",
        f"note: passed over within {folder}: 2 folders with images (day1, more); --recursive takes them",
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_what_is_called_as_an_image_and_is_no_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone")
    (tmp_path / "c.png").mkdir()
    os.mkfifo(tmp_path / "d.png")
    jobs = find_pictures([tmp_path, tmp_path / "c.png"], "detections", None, recursive=False)
    assert [source for source, _ in jobs] == [tmp_path / "a.png"]
    assert capsys.readouterr().err.splitlines() == [
        f"note: passed over in {tmp_path}: 3 that are called as images and are no files (b.png, c.png, d.png): "
        "folders, pipes, or links to what is gone",
        f"note: {tmp_path / 'c.png'} is called as an image, and is a folder without any",
    ]


def test_folders_within_folders_are_taken_on_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = find_pictures([folder], "detections", None, recursive=True)
    assert [source.relative_to(folder).as_posix() for source, _ in jobs] == ["a.jpg", "day1/b.png", "day1/more/c.jpg"]
    assert [picture.parent.parent for _, picture in jobs] == [source.parent for source, _ in jobs]
    assert "--recursive" not in capsys.readouterr().err


def test_patterns_that_the_shell_left_are_expanded(folder: Path) -> None:
    assert found(folder / "*.jpg") == ["a.jpg"] and found(folder / "day?/*") == ["b.png"]
    assert found(folder / "**" / "*.jpg") == ["a.jpg", "c.jpg"]
    with pytest.raises(InputError, match=r"no image fits .*; 1 other files and folders do"):
        found(folder / "*.db")
    Image.fromarray(PIXELS).save(folder / "odd[1].jpg")
    assert found(folder / "odd[1].jpg") == ["odd[1].jpg"]  # a file of that name comes first


def test_nothing_to_look_at_and_a_file_for_a_folder_are_errors(folder: Path) -> None:
    with pytest.raises(InputError, match="no images in"):
        found(folder / "notes")
    with pytest.raises(InputError, match=r"a\.jpg is a file; name another folder"):
        find_pictures([folder], "detections", folder / "a.jpg", recursive=False)
    with pytest.raises(InputError, match=r"no images in .*; passed over .*day1.*; --recursive takes them"):
        (folder / "only").mkdir()
        (folder / "day1").rename(folder / "only" / "day1")
        found(folder / "only")


def test_pages_beyond_the_first_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (0, 90)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.jpg")
    say_pages(tmp_path / "a.tif")
    say_pages(tmp_path / "b.jpg")
    assert capsys.readouterr().err == f"note: {tmp_path}/a.tif has 2 pages or frames; the first is looked at\n"


def test_an_address_is_refused_before_the_work_with_both_its_slashes(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^https://example\.org/a\.jpg is an address, and nothing is fetched; save"):
        find_pictures([folder / "a.jpg", Path("https://example.org/a.jpg")], "detections", None, recursive=False)


def test_a_pattern_takes_videos_too_and_no_two_are_drawn_or_cut_out_under_one_name(folder: Path) -> None:
    for name in ("night/clip.mov", "night/clip.mp4", "night/clip-detections.mp4", "night/a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "a.jpg").read_bytes())
    found = find_sources([folder / "night" / "*.m*"], None, recursive=False, pages=False)
    assert [(Path(one.name).name, one.picture.name, one.stem) for one in found.films] == [
        ("clip.mov", "clip-detections.mp4", "clip"),
        ("clip.mp4", "clip-detections-2.mp4", "clip-2"),
    ]
    named = [folder / "night" / "clip.mp4", folder / "clip.MP4", folder]
    found = find_sources(named, folder / "out", recursive=True, pages=False)
    assert [one.picture.name for one in found.films] == ["clip-detections.mp4", "clip-detections-2.mp4"]
    assert [one.stem for one in found.stills] == ["a", "b", "c", "a-2"]
    with pytest.raises(InputError, match="no image or video fits"):
        find_sources([folder / "*.avi"], None, recursive=False, pages=False)
