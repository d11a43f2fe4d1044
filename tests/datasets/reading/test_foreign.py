"""Annotations that a reader passes over are named with what to do, whoever wrote them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from PIL import Image

from inception_rcnn.datasets import open_dataset
from inception_rcnn.datasets.reading.finding import Finder
from inception_rcnn.datasets.reading.foreign import foreign_annotations

RECTANGLE = {"x": 10.0, "y": 10.0, "width": 25.0, "height": 30.0, "rectanglelabels": ["cat"]}
XML = (
    "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>5</xmin><ymin>3</ymin><xmax>14</xmax>"
    "<ymax>8</ymax></bndbox></object></annotation>"
)
FILES = {
    "CreateML": ("a.json", json.dumps([{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {}}]}])),
    "CreateML of Roboflow": ("_annotations.createml.json", json.dumps([{"image": "a.jpg", "annotations": []}])),
    "Label Studio": ("export.json", json.dumps([{"data": {"image": "a.jpg"}, "annotations": []}])),
    "Label Studio, short": ("export.json", json.dumps([{"image": "/data/upload/1/a.jpg", "label": [RECTANGLE]}])),
    "Supervisely": ("ann/a.jpg.json", json.dumps({"size": {"width": 40, "height": 20}, "objects": [], "tags": []})),
    "Datumaro": ("annotations/default.json", json.dumps({"info": {}, "categories": {"label": {}}, "items": []})),
    "VGG in CSV": ("via.csv", 'filename,region_count,region_id,region_shape_attributes\na.jpg,1,0,"{}"\n'),
    "text in KITTI's way": ("a.txt", "Car 0.00 0 -1.58 4.0 2.0 14.0 8.0 1.65 1.67 3.64\n"),
    "text of names and shares": ("labels/a.txt", "cat 0.5 0.25 0.5 0.1\n"),
    "text with commas": ("a.txt", "4,2,14,8,cat\n"),
    "VOC": ("a.xml", XML),
}
SAID = {"CreateML of Roboflow": "CreateML", "Label Studio, short": "Label Studio", "VGG in CSV": "annotations in CSV"}


@pytest.mark.parametrize("kind", FILES)
def test_each_tool_s_files_are_named(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg")
    name, text = FILES[kind]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    (line,) = foreign_annotations(tmp_path, Finder())
    said = SAID.get(kind, "in a text" if kind.startswith("text") else kind)
    assert line.startswith(f"1 file passed over, such as {tmp_path / name}: ") and said in line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "a cat on 2 tables, 3 chairs\n"),
        ("notes.json", json.dumps([{"name": "cat", "count": 3}])),
        ("a.json", "[" * 100_000),
        ("prices.csv", "name,price\ncat,3\n"),
    ],
)
def test_what_is_no_annotation_is_not_named(tmp_path: Path, name: str, text: str) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg")
    (tmp_path / name).write_text(text)
    assert foreign_annotations(tmp_path, Finder()) == []


@pytest.mark.parametrize(("format", "said"), [("yolo", "PASCAL VOC's annotations"), ("folder", "YOLO's labels")])
def test_half_of_a_set_in_another_format_is_said(tmp_path: Path, format: str, said: str) -> None:
    for stem in "ab":
        Image.new("RGB", (40, 20)).save(tmp_path / f"{stem}.jpg")
    (tmp_path / "a.xml").write_text(XML)
    (tmp_path / "b.txt").write_text("0 0.5 0.25 0.5 0.1\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = open_dataset(format, tmp_path)
    assert len(dataset) == 2 and len(dataset.ground_truths()) == 1
    assert any(said in note for note in dataset.notes)
