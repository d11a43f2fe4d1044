"""Detections that name photographs and classes: `detect --json`, YOLO's and mAP's text files; and what looks wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inception_rcnn.datasets.detections import detection_format, read_detections
from inception_rcnn.datasets.detections.image_names import ImageNames
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError

NAMES = ("cat", "traffic light")
SIZES = ((160, 120), (200, 100))
FOUND = [(0, "cat", 0.9, (12.0, 4.0, 150.0, 118.0)), (1, "traffic light", 0.5, (20.0, 10.0, 60.0, 90.0))]


def truth(names: tuple[str, ...] = ("val/a", "val/b c"), classes: tuple[str, ...] = NAMES) -> GroundTruthTable:
    box = np.array([[12, 4, 150, 118], [20, 10, 60, 90.0]])
    return GroundTruthTable(classes, (1, 2), np.arange(2), np.arange(2), box, image_names=names, sizes=SIZES)


def write_document(folder: Path) -> Path:
    entries = [
        {
            "image": f"photographs/{name}",
            "width": SIZES[row][0],
            "height": SIZES[row][1],
            "detections": [{"label": FOUND[row][1], "score": FOUND[row][2], "box": list(FOUND[row][3])}],
        }
        for row, name in enumerate(("a.jpg", "b c.PNG"))
    ]
    (folder / "found.json").write_text(json.dumps(entries, indent=1))
    return folder / "found.json"


def write_lines(folder: Path) -> Path:
    entries = json.loads(write_document(folder).read_text())
    unread = {"image": "photographs/a.jpg", "width": None, "height": None, "detections": [], "error": "damaged"}
    header = {"format": "inception-rcnn detections", "version": 1, "settings": {}}
    (folder / "found.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in (header, unread, *entries)))
    return folder / "found.jsonl"


def write_yolo(folder: Path) -> Path:
    (folder / "labels").mkdir()
    for row, stem in enumerate(("a", "b c")):
        (width, height), (x1, y1, x2, y2) = SIZES[row], FOUND[row][3]
        centre = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        line = f"{row} {' '.join(map(str, centre))} {FOUND[row][2]}\n"
        (folder / "labels" / f"{stem}.txt").write_text(line)
    return folder / "labels"


def write_map(folder: Path) -> Path:
    (folder / "detection-results").mkdir()
    for row, stem in enumerate(("a", "b c")):
        line = f"{FOUND[row][1]} {FOUND[row][2]} {' '.join(map(str, FOUND[row][3]))}\n\n"
        (folder / "detection-results" / f"{stem}.txt").write_text(line)
    return folder / "detection-results"


WRITERS: dict[Callable[[Path], Path], str] = {
    write_document: "detect",
    write_lines: "detect",
    write_yolo: "yolo",
    write_map: "map",
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda one: one.__name__)
def test_each_format_is_recognised_and_gives_the_same_detections(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    assert detection_format(path, "coco", NAMES) == WRITERS[write]
    read = read_detections(path, truth(), "coco")
    assert read.detections.image.tolist() == [0, 1] and read.detections.label.tolist() == [0, 1]
    assert read.detections.score.tolist() == [0.9, 0.5] and read.dropped == 0
    np.testing.assert_allclose(read.detections.box, [one[3] for one in FOUND], atol=1e-9)
    assert [("--detections" in note) for note in read.notes] == [True] * (WRITERS[write] == "detect")


@pytest.mark.parametrize("write", WRITERS, ids=lambda one: one.__name__)
def test_other_photographs_are_an_error_or_dropped_and_counted(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path, other = write(tmp_path), truth(("val/a", "val/z"))
    with pytest.raises(DataFormatError, match=r"b c.*--skip-broken"):
        read_detections(path, other, "coco")
    read = read_detections(path, other, "coco", skip_unknown=True)
    assert read.detections.image.tolist() == [0] and read.dropped == 1


def test_a_photograph_of_another_size_is_another_one(tmp_path: Path) -> None:
    text = write_document(tmp_path).read_text().replace('"width": 200', '"width": 201')
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(DataFormatError, match=r"b c.PNG is 201 x 100 pixels, but the image val/b c .*another"):
        read_detections(tmp_path / "found.json", truth(), "coco")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("0.9", "NaN", "photograph 1, detection 1: score should be a finite number, got nan"),
        ("118.0", '"x"', "photograph 1, detection 1: box should be four finite numbers"),
        ("118.0", "9" * 400, "photograph 1, detection 1: box should be four finite numbers"),  # no float holds it
        ("0.9", "9" * 400, "photograph 1, detection 1: score should be a finite number"),
        ('"label"', '"name"', "photograph 1, detection 1: should have label, score and box"),
        ('"detections"', '"found"', "photograph 1: should be the object of a photograph"),
        ('"cat"', '"horse"', None),
    ],
)
def test_what_is_wrong_in_a_document_is_named(before: str, after: str, message: str | None, tmp_path: Path) -> None:
    path = write_document(tmp_path)
    path.write_text(path.read_text().replace(before, after))
    if message is None:  # a class that the data set does not have
        assert read_detections(path, truth(), "coco").detections.label.tolist() == [1]
        with pytest.raises(InputError, match="are none of the data set's"):
            read_detections(path, truth(classes=("owl", "yak")), "coco")
    else:
        with pytest.raises(DataFormatError, match=message):
            read_detections(path, truth(), "coco")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "line 1: has no confidence"),
        ("2 0.5 0.5 0.2 0.2 0.9", r"line 1: the class should be in 0\.\.1, got 2"),
        ("0 80 60 20 20 0.9", "line 1: box should be in shares of the photograph"),
        ("0 0.5 0.5 0.2 nan 0.9", "line 1: should be class x y width height confidence"),
        ("owl 0.9 1 1 9 9", "line 1: the class 'owl' is none of the 2"),
    ],
)
def test_a_wrong_line_of_a_photograph_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2 0.8\n" if "nan" in line else "")
    (tmp_path / "b c.txt").write_text(line)
    with pytest.raises(DataFormatError, match=message):
        read_detections(tmp_path, truth(), "coco")


def test_a_path_means_the_image_that_it_ends_in_and_never_one_of_several() -> None:
    names = ImageNames(truth(("day1/a", "day2/a")))
    assert [names.position(path) for path in ("x/day2/a.jpg", "day1\\a.PNG", "b.jpg")] == [1, 0, -1]
    with pytest.raises(InputError, match="'a' may be any of several images"):
        names.position("elsewhere/a.jpg")


def test_ids_with_spaces_are_read_where_the_data_set_has_such(tmp_path: Path) -> None:
    first, box = np.zeros(1, int), np.array([[0, 0, 9, 9.0]])
    spaced = GroundTruthTable(("cat",), ("cat", "cat (1)"), first, first, box)
    (tmp_path / "r_cat.txt").write_text("cat (1) 0.9 1 1 9 9\ncat 0.8 1 1 9 9\n")
    assert read_detections(tmp_path, spaced, "voc").detections.image.tolist() == [1, 0]
    plain = GroundTruthTable(("cat",), ("cat", "dog"), first, first, box)
    with pytest.raises(DataFormatError, match=r"line 1: should have 6 words .*got 'cat \(1\) 0.9"):
        read_detections(tmp_path, plain, "voc")


def notes(boxes: list[list[float]], labels: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """What is said of a COCO results file on a truth whose category 0, "home", is no object's."""
    names = ("home", "cat", "person")
    box = np.array([[12, 4, 150, 118], [20, 10, 60, 90.0]])
    table = GroundTruthTable(names, (1, 2), np.arange(2), np.array([1, 2]), box, sizes=SIZES, category_ids=(0, 1, 2))
    found = [
        {"image_id": row + 1, "category_id": label, "bbox": one, "score": 0.5}
        for row, (one, label) in enumerate(zip(boxes, labels, strict=True))
    ]
    (path / "found.json").write_text(json.dumps(found))
    return read_detections(path / "found.json", table, "coco").notes


def test_shares_corners_and_shifted_categories_are_said_and_sound_results_are_not(tmp_path: Path) -> None:
    sound = [[12, 4, 138, 114], [20, 10, 40, 80]]
    assert notes(sound, (1, 2), tmp_path) == ()
    assert "these look like shares" in notes([[0.1, 0.1, 0.8, 0.8]] * 2, (1, 2), tmp_path)[0]
    assert "1 of 2 boxes end far outside" in notes([[12, 4, 138, 114], [150, 50, 100, 40]], (1, 2), tmp_path)[0]
    corners = [[12, 4, 150, 118], [20, 30, 190, 90]]
    assert notes(corners, (1, 2), tmp_path)[0].startswith("found.json: 2 of 2 boxes leave their photographs, and none")
    (shifted,) = notes(sound, (0, 1), tmp_path)
    assert "1 of 2 detections are of category 0 (home), which no object has" in shifted
