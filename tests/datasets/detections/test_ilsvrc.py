"""ILSVRC's file of detections: what is read is what was written, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from detection_tables import check_same, table

from inception_rcnn.datasets.detections.ilsvrc import read_blacklist, read_ilsvrc_detections, write_ilsvrc_detections
from inception_rcnn.structures import DataFormatError, InputError


def text(folder: Path, content: str) -> Path:
    path = folder / "comp4_cat.txt"
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", ["found.txt", "found.txt.gz"])
def test_ilsvrc_comes_back(name: str, tmp_path: Path) -> None:
    write_ilsvrc_detections(tmp_path / name, table(), [40, 7, 3, 9])
    read = read_ilsvrc_detections(tmp_path / name, [40, 7, 3, 9], 3).detections
    check_same(read, table())
    write_ilsvrc_detections(tmp_path / f"again_{name}", read, [40, 7, 3, 9])
    again = read_ilsvrc_detections(tmp_path / f"again_{name}", [40, 7, 3, 9], 3).detections
    assert again.box.tolist() == read.box.tolist()


def test_ilsvrc_counts_classes_from_1_and_pixels_from_0_inclusive(tmp_path: Path) -> None:
    path = text(tmp_path, "7 2 0.25 10 20 30.5 39\n40 1 -3 5 5 3 3\n")
    found = read_ilsvrc_detections(path, [40, 7], 2).detections
    assert (found.image.tolist(), found.label.tolist(), found.score.tolist()) == ([1, 0], [1, 0], [0.25, -3])
    assert found.box.tolist() == [[10, 20, 31.5, 40], [5, 5, 4, 4]]
    write_ilsvrc_detections(tmp_path / "again.txt", found, [40, 7])
    assert (tmp_path / "again.txt").read_text() == "7 2 0.25 10.0 20.0 30.5 39.0\n40 1 -3.0 5.0 5.0 3.0 3.0\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "7 1 0.5 0 0 9 9\n\n8 1 0.5 0 0 9 9\n",
            "line 3: the image 8 is not in the list of images .--skip-broken or skip_unknown=True",
        ),
        ("7 4 0.5 0 0 9 9\n", r"line 1: the class should be in 1\.\.3, got 4"),
        ("7 0 0.5 0 0 9 9\n", "line 1: the class should be in"),
        ("7 1.5 0.5 0 0 9 9\n", "line 1: the class should be a whole number, got 1.5"),
        ("7.5 1 0.5 0 0 9 9\n", "line 1: the image index should be a whole number"),
        ("7 1 0.5 0 0 9\n", "line 1: should have 7 words .image class score xmin ymin xmax ymax."),
        ("7 1 high 0 0 9 9\n", "line 1: score should be a number"),
    ],
)
def test_a_wrong_line_of_ilsvrc_is_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=message):
        read_ilsvrc_detections(text(tmp_path, content), [7], 3)


def test_detections_of_other_images_are_dropped_and_counted_on_demand(tmp_path: Path) -> None:
    path = text(tmp_path, "7 1 0.5 0 0 9 9\n8 1 0.5 0 0 9 9\n6 1 0.5 0 0 9 9\n7 2 0.5 0 0 9 9\n")
    read = read_ilsvrc_detections(path, [7], 3, skip_unknown=True)
    assert (read.dropped, read.detections.label.tolist()) == (2, [0, 1])
    assert len(read_ilsvrc_detections(path, [], 3, skip_unknown=True).detections) == 0


def test_ilsvrc_has_whole_indices_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a'"):
        read_ilsvrc_detections(text(tmp_path, ""), ["a"], 3)
    with pytest.raises(InputError, match="'a'"):
        write_ilsvrc_detections(tmp_path / "x.txt", table(), ["a"])


def test_the_blacklist(tmp_path: Path) -> None:
    assert read_blacklist(text(tmp_path, "46 n00007846\n\n85 n07753275\n")) == ((46, "n00007846"), (85, "n07753275"))
    with pytest.raises(DataFormatError, match="line 2: should be an image index and a class"):
        read_blacklist(text(tmp_path, "46 n00007846\nn07753275 85\n"))
    with pytest.raises(DataFormatError, match="line 1: should be an image index and a class, got '999"):
        read_blacklist(text(tmp_path, "9" * 5000 + " n00007846\n"))


def test_an_index_beyond_what_a_line_can_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at most 15 digits, but one of image_ids is 9{60}$"):
        read_ilsvrc_detections(text(tmp_path, "7 1 0.5 1 1 2 2\n"), [7, int("9" * 400)])


def test_no_detections_at_all(tmp_path: Path) -> None:
    assert len(read_ilsvrc_detections(text(tmp_path, ""), [7]).detections) == 0
