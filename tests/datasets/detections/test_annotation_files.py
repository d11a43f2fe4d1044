"""Detections written for other tools: each file read back by a reader of its format, or held against its rules."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from inception_rcnn.datasets import open_dataset
from inception_rcnn.datasets.class_matching import coco_classes
from inception_rcnn.datasets.detections.annotation_files import (
    coco_category_ids,
    write_coco_results,
    write_coco_set,
    write_cvat,
    write_label_studio,
    write_voc_annotations,
    write_yolo_labels,
)
from inception_rcnn.datasets.detections.table_files import write_csv, write_parquet

NAMES = ("cat", "dog & <friend>")


def photograph(name: str, *boxes: list[float]) -> dict[str, Any]:
    found = [{"label": NAMES[k % 2], "score": 0.9 - 0.25 * k, "box": box} for k, box in enumerate(boxes)]
    return {"image": name, "width": 80, "height": 60, "detections": found}


ENTRIES = [
    photograph("day/a.jpg", [8.5, 6.0, 40.0, 30.25], [0.0, 0.0, 80.0, 60.0]),
    photograph("night/a.jpg", [1.0, 2.0, 3.0, 4.0]),
    photograph("b.jpg"),
]


def test_cocos_set_is_read_by_pycocotools_and_by_ours_box_for_box(tmp_path: Path) -> None:
    write_coco_set(tmp_path / "set.json", [ENTRIES[0], ENTRIES[2]], NAMES)
    theirs = COCO(str(tmp_path / "set.json"))
    assert [theirs.cats[number]["name"] for number in sorted(theirs.cats)] == list(NAMES)
    assert [one["bbox"] for one in theirs.loadAnns(theirs.getAnnIds(1))] == [[8.5, 6, 31.5, 24.25], [0, 0, 80, 60]]
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (80, 60)).save(tmp_path / name)
    ours = open_dataset("coco", tmp_path / "set.json")
    assert ours.ground_truth(0).boxes.tolist() == [one["box"] for one in ENTRIES[0]["detections"]]
    assert ours.ground_truth(0).names() == list(NAMES) and len(ours.ground_truth(1)) == 0


def test_cocos_results_have_cocos_numbers(tmp_path: Path) -> None:
    entries = [photograph("000000000139.jpg", [1.0, 2.0, 11.0, 22.0])]
    write_coco_results(tmp_path / "found.json", entries, NAMES)
    (record,) = json.loads((tmp_path / "found.json").read_text())
    assert record == {"image_id": 139, "category_id": 1, "bbox": [1, 2, 10, 20], "score": 0.9}
    write_coco_results(tmp_path / "found.json", ENTRIES, NAMES)
    assert [one["image_id"] for one in json.loads((tmp_path / "found.json").read_text())] == [1, 1, 2]
    ids = coco_category_ids(coco_classes())
    assert len(ids) == 80 and (ids[0], ids[11], ids[-1]) == (1, 13, 90) and len(set(ids)) == 80


def test_vocs_xml_is_read_as_a_folder_of_photographs(tmp_path: Path) -> None:
    write_voc_annotations(tmp_path, [ENTRIES[0], ENTRIES[2]], NAMES)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (80, 60)).save(tmp_path / name)
    read = open_dataset("folder", tmp_path)
    assert read.ground_truth(0).boxes.tolist() == [one["box"] for one in ENTRIES[0]["detections"]]
    assert read.ground_truth(0).names() == list(NAMES) and len(read.ground_truth(1)) == 0


def test_yolos_texts_give_the_boxes_back(tmp_path: Path) -> None:
    write_yolo_labels(tmp_path / "labels", ENTRIES, NAMES)
    assert sorted(one.name for one in (tmp_path / "labels").iterdir()) == ["a-2.txt", "a.txt", "b.txt", "classes.txt"]
    assert (tmp_path / "labels" / "classes.txt").read_text().splitlines() == list(NAMES)
    rows = np.loadtxt(tmp_path / "labels" / "a.txt")
    middle, size = rows[:, 1:3] * (80, 60), rows[:, 3:5] * (80, 60)
    boxes = np.hstack([middle - size / 2, middle + size / 2])
    assert np.abs(boxes - [one["box"] for one in ENTRIES[0]["detections"]]).max() < 1e-3
    assert rows[:, 0].tolist() == [0, 1] and rows[:, 5].tolist() == [0.9, 0.65]


def frame(number: int, track: int) -> dict[str, Any]:
    entry = photograph(f"films/clip.mp4#{number}", [1.0, 2.0, 3.0, 4.0])
    return {**entry, "frame": number, "detections": [{**one, "track": track} for one in entry["detections"]]}


def test_files_of_frames_have_their_numbers_and_no_file_is_written_twice(tmp_path: Path) -> None:
    entries = [frame(1, 1), frame(6, 1), photograph("a-2.jpg"), *ENTRIES, photograph("classes.jpg")]
    write_yolo_labels(tmp_path, entries, NAMES)
    names = {"clip-000001.txt", "clip-000006.txt", "a-2.txt", "a.txt", "a-3.txt", "b.txt", "classes-2.txt"}
    assert {one.name for one in tmp_path.iterdir()} == {*names, "classes.txt"}
    assert (tmp_path / "a-3.txt").read_text() and not (tmp_path / "a-2.txt").read_text()
    write_voc_annotations(tmp_path / "voc", entries[:2], NAMES)
    assert sorted(one.name for one in (tmp_path / "voc").iterdir()) == ["clip-000001.xml", "clip-000006.xml"]


def test_label_studios_urls_hold_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    above = tmp_path.parent / "up.jpg"
    named = [photograph(name) for name in ("a b#1&c+d.jpg", "./day/../n.jpg", "../up.jpg")]
    write_label_studio(tmp_path / "x.json", named, NAMES)
    urls = [one["data"]["image"] for one in json.loads((tmp_path / "x.json").read_text())]
    assert urls[:2] == ["/data/local-files/?d=a%20b%231%26c%2Bd.jpg", "/data/local-files/?d=n.jpg"]
    assert urls[2] == f"/data/local-files/?d={quote(above.as_posix())}"


def test_cvats_xml_keeps_to_its_schema(tmp_path: Path) -> None:
    """As CVAT documents "CVAT for images 1.1": version, labels of the task, images by id and name, boxes by corners."""
    write_cvat(tmp_path / "x.xml", ENTRIES, NAMES)
    root = ElementTree.parse(tmp_path / "x.xml").getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [one.findtext("name") for one in root.findall("meta/task/labels/label")] == list(NAMES)
    images = root.findall("image")
    assert [one.attrib for one in images] == [
        {"id": str(k), "name": name, "width": "80", "height": "60"}
        for k, name in enumerate(["a.jpg", "a.jpg", "b.jpg"])
    ]
    first, second = images[0].findall("box")
    assert set(first.attrib) == {"label", "source", "occluded", "z_order", "xtl", "ytl", "xbr", "ybr"}
    assert [float(first.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")] == [8.5, 6, 40, 30.25]
    assert second.attrib["label"] == NAMES[1]


def test_label_studios_tasks_keep_to_its_schema(tmp_path: Path) -> None:
    """As Label Studio documents pre-annotations: per cent of the photograph, names of the interface's tags."""
    write_label_studio(tmp_path / "x.json", ENTRIES, NAMES)
    tasks = json.loads((tmp_path / "x.json").read_text())
    assert [len(one["predictions"][0]["result"]) for one in tasks] == [2, 1, 0]
    interface = ElementTree.parse(tmp_path / "x.config.xml").getroot()
    shown, labels = interface.find("Image"), interface.find("RectangleLabels")
    assert shown is not None and labels is not None
    assert shown.attrib["value"] == "$image" and "image" in tasks[0]["data"]
    for task in tasks:
        for one in task["predictions"][0]["result"]:
            value = one["value"]
            assert (one["type"], one["from_name"], one["to_name"]) == ("rectanglelabels", "label", "image")
            assert one["from_name"] == labels.attrib["name"] and one["to_name"] == shown.attrib["name"]
            assert set(value["rectanglelabels"]) <= {label.attrib["value"] for label in labels}
            assert 0 <= value["x"] <= value["x"] + value["width"] <= 100
            assert 0 <= value["y"] <= value["y"] + value["height"] <= 100
    first = tasks[0]["predictions"][0]["result"][0]["value"]
    assert (first["x"], first["width"]) == pytest.approx((100 * 8.5 / 80, 100 * 31.5 / 80))


def test_tables_have_a_row_for_each_detection_and_no_formula(tmp_path: Path) -> None:
    entries = [*ENTRIES, photograph("=SUM(A1).jpg", [1.0, 2.0, 3.0, 4.0]), frame(6, 2)]
    write_csv(tmp_path / "x.csv", entries)
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [
        "day/a.jpg",
        "day/a.jpg",
        "night/a.jpg",
        "'=SUM(A1).jpg",
        "films/clip.mp4#6",
    ]
    assert [(row["frame"], row["track"]) for row in rows[2:]] == [("", ""), ("", ""), ("6", "2")]
    assert [float(rows[0][side]) for side in ("x1", "y1", "x2", "y2")] == ENTRIES[0]["detections"][0]["box"]
    assert rows[1]["class_name"] == NAMES[1] and rows[0]["score"] == "0.9"


@pytest.mark.parametrize("entries", [[*ENTRIES, frame(6, 2)], []])
def test_parquet_is_read_by_pyarrow(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(tmp_path / "x.parquet", entries)
    table = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    wanted = [one for entry in entries for one in entry["detections"]]
    assert table["class_name"] == [one["label"] for one in wanted]
    assert table["track"] == [one.get("track") for one in wanted] and set(table["frame"]) <= {None, 6}
    assert [list(box) for box in zip(*(table[side] for side in ("x1", "y1", "x2", "y2")), strict=True)] == [
        one["box"] for one in wanted
    ]
