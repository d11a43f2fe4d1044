"""The compact file of objects: written and read again, and what is wrong is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.datasets.ground_truth_file import read_ground_truth, write_ground_truth
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.ground_truth import GroundTruthTable

SOME_OF_VAL2 = Path(__file__).resolve().parents[1] / "evaluation" / "data" / "val2_ground_truth.jsonl.gz"
VAL2 = Path(__file__).resolve().parents[3] / "shared" / "data" / "ilsvrc_det_val2"


def written(folder: Path, *records: Any) -> Path:
    path = folder / "truth.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def image(**change: Any) -> dict[str, Any]:
    return {"id": "a", "index": 7, "width": 5, "height": 6, "objects": [[1, "cat", 0, 1, 3, 4]]} | change


def test_what_a_line_means(tmp_path: Path) -> None:
    second = {"id": "b", "objects": [[3, "dog", 0.5, 0, 9, 9, 1], [1, "cat", 2, 2, 2, 2]], "val2_index": 88}
    truth = read_ground_truth(written(tmp_path, image(), second))
    assert (truth.class_names, truth.image_ids) == (("cat", "class 2", "dog"), (7, "b"))
    assert (truth.image.tolist(), truth.label.tolist()) == ([0, 1, 1], [0, 2, 0])
    assert truth.box.tolist() == [[0, 1, 4, 5], [0.5, 0, 10, 10], [2, 2, 3, 3]]
    assert truth.ignored.tolist() == [False, True, False]
    assert truth.area is None
    assert (truth.image_names, truth.sizes) == (("a", "b"), ((5, 6), (None, None)))


def test_names_can_be_given(tmp_path: Path) -> None:
    path = written(tmp_path, image())
    assert read_ground_truth(path, ["cat", "dog"]).class_names == ("cat", "dog")
    with pytest.raises(DataFormatError, match="line 1: has 'cat' as class 1, but class 1 is 'dog'"):
        read_ground_truth(path, ["dog"])
    with pytest.raises(DataFormatError, match="but there are 0"):
        read_ground_truth(path, [])


@pytest.mark.parametrize("name", ["truth.jsonl", "truth.jsonl.gz"])
@pytest.mark.parametrize("area", [None, [12.5, 7.0, 3.0]])
def test_what_is_written_is_read_again(name: str, area: Any, tmp_path: Path) -> None:
    truth = GroundTruthTable(
        ("cat", "dog"),
        (9, "x", 4),
        np.array([2, 0, 0]),
        np.array([1, 0, 1]),
        np.array([[0, 0, 10, 10], [0.3, 1, 1.3, 2.25], [5, 5, 6, 6]]),
        np.array([False, True, False]),
        area,
        image_names=("nine", "x", "four"),
        sizes=((1, 2), (None, None), (3, None)),
    )
    write_ground_truth(tmp_path / name, truth)
    read = read_ground_truth(tmp_path / name, ("cat", "dog"))
    assert (read.image_names, read.sizes) == (("nine", "x", "four"), ((1, 2), (None, None), (3, None)))
    assert read.image_ids == (9, "x", 4)
    order = [1, 2, 0]  # by image
    for column in ("image", "label", "box", "ignore"):
        assert getattr(read, column).tolist() == getattr(truth, column)[order].tolist()
    assert (None if read.area is None else read.area.tolist()) == (area and [7.0, 3.0, 12.5])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [image(), image(index=8, objects=[[1, "cat", 0, 0, 1, 1], [1, "cat", 4, 0, 3, 9]])],
            r"line 2, object 2: its box has no area: xmin ymin xmax ymax are \[4, 0, 3, 9\]",
        ),
        ([image(objects=[[1, "cat", 0, 7, 3, 5.5]])], "line 1, object 1: its box has no area"),
        ([image(name=5)], "line 1: name should be a text, got 5"),
        ([{"classes": [[1, "cat"]]}, {"classes": [[1, "cat"]]}], "line 2: should be an object with id"),
        ([image(), 5], "line 2: should be an object with id and the list objects"),
        ([image(), image()], "line 2: the image 7 is on line 1 already"),
        ([image(id=None)], "line 1: id should be a text or a whole number"),
        ([image(index="7")], "line 1: id should be"),
        ([image(width=0)], "line 1: width and height should be"),
        ([image(objects=[[1, "cat", 0, 0, 1]])], r"line 1, object 1: should be \[class, name"),
        ([image(objects=[[0, "cat", 0, 0, 1, 1]])], "line 1, object 1: should begin with class number"),
        ([image(objects=[[1, "cat", 0, 0, 1, "1"]])], "line 1, object 1: corners should be numbers"),
        ([image(), image(index=8, objects=[[1, "dog", 0, 0, 1, 1]])], "class 1 is named 'dog', but 'cat' on line 1"),
    ],
)
def test_a_wrong_line_is_named(records: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=message):
        read_ground_truth(written(tmp_path, *records))


def none(count: int) -> NDArray[np.int64]:
    return np.zeros(count, np.int64)


def test_the_names_of_photographs_are_kept_where_ids_are_texts(tmp_path: Path) -> None:
    truth = GroundTruthTable(
        ("cat",), ("x1", "x2", 3), none(1), none(1), np.array([[0, 0, 9, 9]]), image_names=("photo_one", "x2", "three")
    )
    write_ground_truth(tmp_path / "truth.jsonl", truth)
    read = read_ground_truth(tmp_path / "truth.jsonl")
    assert (read.image_ids, read.image_names) == (("x1", "x2", 3), ("photo_one", "x2", "three"))


def test_the_classes_of_a_set_without_images_are_kept(tmp_path: Path) -> None:
    truth = GroundTruthTable(("cat", "dog"), (), none(0), none(0), np.zeros((0, 4)), category_ids=(3, 90))
    write_ground_truth(tmp_path / "truth.jsonl", truth)
    read = read_ground_truth(tmp_path / "truth.jsonl")
    assert (read.class_names, read.category_ids, read.image_ids, len(read)) == (("cat", "dog"), (3, 90), (), 0)


def test_a_box_that_would_be_refused_is_not_written(tmp_path: Path) -> None:
    truth = GroundTruthTable(("cat",), ("a", "b"), np.array([1]), none(1), np.array([[5, 5, 5, 9]]))
    with pytest.raises(InputError, match=r"the box \[5.0, 5.0, 5.0, 9.0\] of image b: it has no area"):
        write_ground_truth(tmp_path / "truth.jsonl", truth)
    assert not (tmp_path / "truth.jsonl").exists()
    one_pixel = GroundTruthTable(("cat",), ("a",), none(1), none(1), np.array([[5, 5, 5.5, 6]]))
    write_ground_truth(tmp_path / "truth.jsonl", one_pixel)
    assert read_ground_truth(tmp_path / "truth.jsonl").box.tolist() == [[5, 5, 5.5, 6]]


def test_broken_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text(json.dumps(image()) + "\n\n{")
    with pytest.raises(DataFormatError, match="line 3: is not valid JSON"):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": %s, "objects": []}' % ("9" * 5000), "line 1: is not valid JSON: it holds a whole number of more than"),
        ('{"id": 1, "objects": [], "width": %s}' % ("9" * 400), "line 1: width and height should be .* to 1000000000"),
        ('{"classes": [[%s, "cat"]]}' % ("9" * 19), "line 1: classes should be lists of number"),
    ],
)
def test_numbers_of_absurd_length_are_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_text(line)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_ground_truth(tmp_path / "truth.jsonl")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def records_in(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_objects_of_val2_come_back(tmp_path: Path) -> None:
    read = read_ground_truth(SOME_OF_VAL2)
    assert (len(read.image_names), len(read)) == (1776, 3330) and read.image_names[0] == "ILSVRC2012_val_00000026"
    write_ground_truth(tmp_path / "again.jsonl.gz", read)
    first, *rest = records_in(tmp_path / "again.jsonl.gz")
    assert [{key: first[key] for key in first if key != "classes"}, *rest] == records_in(SOME_OF_VAL2)


@pytest.mark.skipif(not VAL2.is_dir(), reason="ILSVRC's files of ../shared are not here")
def test_the_file_of_val2_is_of_this_format(tmp_path: Path) -> None:
    read = read_ground_truth(VAL2 / "ground_truth_val2.jsonl.gz")
    assert (len(read.image_names), len(read), len(read.class_names)) == (9917, 26782, 200)
    write_ground_truth(tmp_path / "again.jsonl.gz", read)
    original = records_in(VAL2 / "ground_truth_val2.jsonl.gz")
    again = records_in(tmp_path / "again.jsonl.gz")
    assert again == [{key: value for key, value in record.items() if key != "val2_index"} for record in original]
