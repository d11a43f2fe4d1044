"""Files of detections: what is read is what was written, and what is wrong is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inception_rcnn.datasets.detections.base import (
    read_blacklist,
    read_coco_detections,
    read_ilsvrc_detections,
    read_voc_detections,
)
from inception_rcnn.datasets.detections.writing import (
    write_coco_detections,
    write_ilsvrc_detections,
    write_voc_detections,
)
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.detections import DetectionTable

NAMES = ("cat", "big_cat", "dog")


def table(count: int = 200, images: int = 4, classes: int = 3) -> DetectionTable:
    """Detections with decimals of all lengths; some boxes inverted."""
    random = np.random.default_rng(0)
    box = random.normal(100, 80, (count, 4))
    box[::2] = box[::2].round(2)
    box[::3] = box[::3].round()
    return DetectionTable(
        random.integers(0, images, count), random.integers(0, classes, count), random.random(count), box
    )


def same(a: DetectionTable, b: DetectionTable) -> None:
    assert a.image.tolist() == b.image.tolist()
    assert a.label.tolist() == b.label.tolist()
    assert a.score.tolist() == b.score.tolist()
    assert np.abs(a.box - b.box).max() < 1e-12


def text(folder: Path, content: str) -> Path:
    path = folder / "comp4_cat.txt"
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", ["found.txt", "found.txt.gz"])
def test_ilsvrc_comes_back(name: str, tmp_path: Path) -> None:
    write_ilsvrc_detections(tmp_path / name, table(), [40, 7, 3, 9])
    read = read_ilsvrc_detections(tmp_path / name, [40, 7, 3, 9], 3).detections
    same(read, table())
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


def test_voc_comes_back_class_by_class(tmp_path: Path) -> None:
    ids = ["000005", "2008_000001", "x", 17]
    write_voc_detections(tmp_path, table(), ids, NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"comp4_det_test_{name}.txt" for name in sorted(NAMES)]
    expected = table()
    read = read_voc_detections(tmp_path, ids, NAMES).detections
    order = np.argsort(expected.label, kind="stable")
    assert read.label.tolist() == expected.label[order].tolist()
    assert read.image.tolist() == expected.image[order].tolist()
    assert read.score.tolist() == expected.score[order].tolist()
    assert np.abs(read.box - expected.box[order]).max() < 1e-12


def test_voc_counts_pixels_from_1_inclusive(tmp_path: Path) -> None:
    path = text(tmp_path, "000005 0.25 1 2 10 20\n")
    found = read_voc_detections(path, ["000005"], NAMES).detections
    assert (found.box.tolist(), found.label.tolist()) == ([[0, 1, 10, 20]], [0])


def test_voc_files_are_found_by_class(tmp_path: Path) -> None:
    (tmp_path / "det_big_cat.txt.gz").write_bytes(gzip.compress(b"a 0.5 1 1 2 2\n"))
    (tmp_path / "notes.md").write_text("no results")
    assert read_voc_detections(tmp_path, ["a"], NAMES).detections.label.tolist() == [1]
    (tmp_path / "other_big_cat.txt").write_text("")
    with pytest.raises(InputError, match="two files for the class 'big_cat'"):
        read_voc_detections(tmp_path, ["a"], NAMES)
    with pytest.raises(InputError, match="holds no results"):
        read_voc_detections(tmp_path, ["a"], ("horse",))
    with pytest.raises(InputError, match="no file or folder"):
        read_voc_detections(tmp_path / "none", ["a"], NAMES)


def test_a_wrong_line_of_voc_is_named(tmp_path: Path) -> None:
    path = text(tmp_path, "a 0.5 1 1 2 2\nb 0.5 1 1 2 2\n")
    with pytest.raises(DataFormatError, match=r"comp4_cat\.txt, line 2: the image b is not in the list"):
        read_voc_detections(path, ["a"], NAMES)
    assert read_voc_detections(path, ["a"], NAMES, skip_unknown=True).dropped == 1
    with pytest.raises(DataFormatError, match="line 1: should have 6 words"):
        read_voc_detections(text(tmp_path, "a b 0.5 1 1 2 2\n"), ["a"], NAMES)
    with pytest.raises(InputError, match="without spaces"):
        write_voc_detections(tmp_path, table(), ["a b"], NAMES)


@pytest.mark.parametrize("name", ["found.json", "found.json.gz"])
def test_coco_comes_back(name: str, tmp_path: Path) -> None:
    ids = [40, 7, "x", 9]
    write_coco_detections(tmp_path / name, table(), ids, [3, 1, 90])
    read = read_coco_detections(tmp_path / name, ids, [3, 1, 90]).detections
    same(read, table())
    write_coco_detections(tmp_path / f"again_{name}", read, ids, [3, 1, 90])
    again = read_coco_detections(tmp_path / f"again_{name}", ids, [3, 1, 90]).detections
    assert again.box.tolist() == read.box.tolist()


def record(**change: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5} | change


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([record(), record(image_id=8)], "detection 2: the image 8 is not in the list"),
        ([record(category_id=4)], "detection 1: category_id 4 is none of the 1 categories"),
        ([record(bbox=[1, 2, 3])], "detection 1: should be an object with image_id"),
        ([record(bbox=[1, 2, 3, float("nan")])], "detection 1: should be"),
        ([record(score="high")], "detection 1: should be"),
        ([record(), 5], "detection 2: should be"),
        ([{"image_id": 7}], "detection 1: should be"),
        ({"annotations": []}, "should be a list of detections, got dict"),
    ],
)
def test_a_wrong_detection_of_coco_is_named(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps(content))
    with pytest.raises(DataFormatError, match=message):
        read_coco_detections(tmp_path / "found.json", [7], [3])


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[\n{]")
    with pytest.raises(DataFormatError, match="line 2, column 2: is not valid JSON"):
        read_coco_detections(tmp_path / "found.json", [7], [3])


def test_no_detections_at_all(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    assert len(read_coco_detections(tmp_path / "found.json", [7], [3]).detections) == 0
    assert len(read_ilsvrc_detections(text(tmp_path, ""), [7]).detections) == 0
    assert len(read_voc_detections(text(tmp_path, ""), [7], NAMES).detections) == 0


def test_the_blacklist(tmp_path: Path) -> None:
    assert read_blacklist(text(tmp_path, "46 n00007846\n\n85 n07753275\n")) == ((46, "n00007846"), (85, "n07753275"))
    with pytest.raises(DataFormatError, match="line 2: should be an image index and a class"):
        read_blacklist(text(tmp_path, "46 n00007846\nn07753275 85\n"))
