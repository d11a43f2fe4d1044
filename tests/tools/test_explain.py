"""`inception-rcnn explain`, with the shipped model on few regions of a small photograph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from inception_rcnn.tools import cli


def explain(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["explain", *map(str, arguments), "--max-proposals", "12", "--device", "cpu"])
    return int(exit_.value.code or 0)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A set of COCO's with one photograph: a cat, and a class that the detector does not know."""
    Image.fromarray(data.chelsea()).resize((225, 150)).save(tmp_path / "cat.jpg")
    objects = [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 0, 220, 150], "area": 33000, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [100, 60, 20, 20], "area": 400, "iscrowd": 0},
    ]
    document = {
        "images": [{"id": 7, "file_name": "cat.jpg", "width": 225, "height": 150}],
        "annotations": objects,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "whisker"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(document))
    return tmp_path


def test_objects_and_false_boxes_are_told_drawn_and_written(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "why.json"
    options = ("--data", f"coco:{photographs / 'set.json'}", "--output", tmp_path / "out", "--json", out)
    assert explain("cat.jpg", *options, "--score-threshold", "0.05") == 0
    (entry,) = json.loads(out.read_text())
    cat, whisker = entry["objects"]
    assert (cat["class_name"], cat["fate"]) == ("cat", "found")
    assert (whisker["fate"], whisker["text"]) == ("unknown class", "unknown class: the detector has no whisker")
    assert entry["detections"][cat["by"]]["true"]
    printed = capsys.readouterr().out
    assert "7: 1 of 2 objects found" in printed and "the detector has no whisker" in printed
    with Image.open(tmp_path / "out" / "cat-explained.jpg") as picture:
        assert picture.size == (2 * 225 + 8, 150)
    assert explain("7", *options, "--score-threshold", "1", "--quiet") == 0
    (entry,) = json.loads(out.read_text())
    assert entry["objects"][0]["fate"] == "below the threshold" and entry["detections"] == []
    assert capsys.readouterr().out == ""


def test_what_is_not_there_is_said(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("cat.jpg") == 2
    assert "a data set that knows the objects is needed" in " ".join(capsys.readouterr().err.split())
    assert explain("dog.jpg", "--data", f"coco:{photographs / 'set.json'}") == 1
    assert "there is no photograph 'dog.jpg' among 1; ids are whole numbers, such as 7" in capsys.readouterr().err
