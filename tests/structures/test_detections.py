"""Detections of an image, and of many as a table: what they promise about their columns, what selecting keeps."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inception_rcnn.datasets.detections.coco import write_coco_detections
from inception_rcnn.structures import (
    Detections,
    DetectionTable,
    InputError,
    MissingDependencyError,
    Proposals,
    draw_detections,
    load_image,
)

NAMES = ("cat", "dog", "cow")
BOXES = [[0, 0, 10, 10], [5, 5, 20, 20], [1, 2, 3, 4]]
BOX = [[0, 0, 9, 9]]


def detections(size: tuple[int, int] | None = None) -> Detections:
    return Detections(BOXES, [0.75, 0.5, 0.25], [2, 0, 1], NAMES, size)  # type: ignore[arg-type]


def test_detections_become_the_promised_types() -> None:
    found = detections()
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
    assert (found.boxes.shape, found.class_names, len(found)) == ((3, 4), NAMES, 3)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=12))
def test_ordered_sorts_by_score_and_keeps_equal_ones_in_place(scores: list[float]) -> None:
    boxes = [[i, 0, i + 1, 1] for i in range(len(scores))]
    found = Detections.ordered(boxes, scores, [i % 3 for i in range(len(scores))], NAMES)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert found.boxes[:, 0].tolist() == order
    assert found.scores.tolist() == [scores[i] for i in order]
    assert found.labels.tolist() == [i % 3 for i in order]


def test_above_includes_the_score_itself() -> None:
    found = Detections([[0, 0, 1, 1]] * 3, [0.9, 0.3, 0.1], [0, 0, 0], NAMES)  # type: ignore[arg-type]
    assert len(found.above(0.3)) == 2  # 0.3 as float32 is a little more than 0.3, 0.9 a little less
    assert len(found.above(0.9)) == 1
    assert len(found.above(np.float64(0.9))) == 1  # NumPy would compare in float64, where they differ
    assert len(found.above(0.91)) == 0


def test_top_takes_the_first() -> None:
    found = detections()
    assert (found.top(2).labels.tolist(), len(found.top(99)), len(found.top(0)), len(found.top(-1))) == (
        [2, 0],
        3,
        0,
        0,
    )


def test_the_size_of_the_image_stays_with_what_is_chosen() -> None:
    found = detections((30, 20))
    for part in (found, found[1:], found[[2, 0]], found[found.labels == 0], found.top(1), found.above(0.5)):
        assert part.size == (30, 20)
    assert found.of("cat").size == (30, 20) and Detections.empty(NAMES, (30, 20)).size == (30, 20)
    assert Detections.ordered(BOXES, [0, 1, 2], [0, 0, 0], NAMES, (30, 20)).size == (30, 20)
    assert detections().size is None and detections().top(1).size is None
    assert detections((np.int64(30), np.int64(20))).size == (30, 20)  # type: ignore[arg-type]
    assert type(detections((np.int64(30), 20)).size[0]) is int  # type: ignore[arg-type, index]


def test_boxes_as_left_top_width_and_height() -> None:
    assert detections().xywh.tolist() == [[0, 0, 10, 10], [5, 5, 15, 15], [1, 2, 2, 2]]
    assert (detections().xywh.dtype, Detections.empty(NAMES).xywh.shape) == (np.float32, (0, 4))


def test_detections_of_some_classes() -> None:
    found = Detections.ordered(np.tile(BOXES[0], (4, 1)), [4, 3, 2, 1], [0, 1, 2, 0], NAMES)
    assert found.of("cat").scores.tolist() == [4, 1] and found.of("cow", "cat").scores.tolist() == [4, 2, 1]
    assert len(found.of()) == 0 and len(detections()[:1].of("dog")) == 0
    twice = Detections.ordered(BOXES, [3, 2, 1], [0, 1, 2], ("cat", "dog", "cat"))
    assert twice.of("cat").scores.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Dog", r"there is no class 'Dog' among 3; did you mean 'dog'\?"),
        ("COWS", r"did you mean 'cow'\?"),
        ("bicycle", r"among 3; known are cat, dog, cow \.\.\."),
        (["cat", "dog"], r"should be texts, one after the other, got list; use of\(\*names\)"),
        (0, "got int"),
    ],
)
def test_an_unknown_class_is_named_with_what_is_like_it(name: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        detections().of("cat", name)


def test_coco_results_are_what_a_file_of_them_holds(tmp_path: Path) -> None:
    odd = np.float32([[0.1, 0.2, 0.7, 90.3], [1e-3, 5, 33.3, 20]])
    found = Detections.ordered(odd, [0.9, 0.3], [2, 0], NAMES)
    records = found.to_coco(7, (1, 44, 90))
    assert [(one["image_id"], one["category_id"]) for one in records] == [(7, 90), (7, 1)]
    np.testing.assert_allclose(records[0]["bbox"], [0.1, 0.2, 0.6, 90.1], rtol=1e-6)
    table = DetectionTable.from_detections([found], NAMES)
    write_coco_detections(tmp_path / "a.json", table, [7], (1, 44, 90))
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(json.dumps(records)) == records
    assert [one["category_id"] for one in found.to_coco("a")] == [3, 1] and Detections.empty(NAMES).to_coco(1) == []
    with pytest.raises(InputError, match="category_ids should have one for each of 3 classes, got 2"):
        found.to_coco(7, (1, 2))


def test_coco_calls_an_image_by_its_file() -> None:
    found = detections()
    for name, wanted in (("val/000000000139.jpg", 139), ("cat.png", "cat"), ("٣.png", "٣")):
        assert replace(found, path=Path(name)).to_coco()[0]["image_id"] == wanted
    with pytest.raises(InputError, match="image_id should be given: these detections know no file"):
        found.to_coco()


def test_a_table_of_pandas() -> None:
    pytest.importorskip("pandas", reason="needs inception-rcnn[tables]")
    table = detections().to_dataframe()
    assert table.columns.tolist() == ["class_name", "label", "score", "x1", "y1", "x2", "y2"]
    assert table["class_name"].tolist() == ["cow", "cat", "dog"] and table["x2"].tolist() == [10, 20, 3]
    assert len(Detections.empty(NAMES).to_dataframe()) == 0


def test_what_pandas_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for pandas, which keeps what DataFrame is called with: the library may be missing here."""
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    columns: Any = detections().to_dataframe()
    assert list(columns) == ["class_name", "label", "score", "x1", "y1", "x2", "y2"]
    assert columns["class_name"] == ["cow", "cat", "dog"] and columns["label"].tolist() == [2, 0, 1]
    assert columns["score"].tolist() == [0.75, 0.5, 0.25]
    assert [columns[name].tolist() for name in ("x1", "y1", "x2", "y2")] == np.transpose(BOXES).tolist()


def test_detections_of_supervision() -> None:
    pytest.importorskip("supervision")
    theirs = detections().to_supervision()
    assert theirs.xyxy.tolist() == BOXES and theirs.data["class_name"].tolist() == ["cow", "cat", "dog"]
    assert len(theirs[theirs.confidence > 0.3]) == 2 and len(Detections.empty(NAMES).to_supervision()) == 0


def test_what_supervision_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for supervision, which keeps what Detections is called with: the library may be missing here."""
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=dict))
    for found in (detections(), Detections.empty(NAMES)):
        theirs: Any = found.to_supervision()
        assert set(theirs) == {"xyxy", "confidence", "class_id", "data"} and set(theirs["data"]) == {"class_name"}
        pairs = (
            (theirs["xyxy"], found.boxes),
            (theirs["confidence"], found.scores),
            (theirs["class_id"], found.labels),
        )
        for copied, own in pairs:
            np.testing.assert_array_equal(copied, own)
            assert copied.dtype == own.dtype and not np.shares_memory(copied, own)
        names = theirs["data"]["class_name"]
        assert names.tolist() == found.names() and names.shape == (len(found),) and names.dtype.kind == "U"


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingDependencyError, match=r"needs pandas .*: pip install 'inception-rcnn\[tables\]'$"):
        detections().to_dataframe()
    with pytest.raises(MissingDependencyError, match=r"needs supervision .*: pip install 'supervision'$"):
        detections().to_supervision()


def test_detections_draw_themselves_on_any_image(tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 90, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    found = detections((60, 40))
    drawn = draw_detections(pixels, found)
    for source in (pixels, tmp_path / "photo.png", (tmp_path / "photo.png").read_bytes()):
        np.testing.assert_array_equal(found.draw(source), drawn)
    assert (pixels == 90).all() and (drawn != 90).any()
    thick = draw_detections(pixels, found, line_width=5)
    np.testing.assert_array_equal(detections().draw(pixels, line_width=5), thick)
    assert (thick != drawn).any()
    with pytest.raises(InputError, match=r"the one of 60 x 40 pixels these were found in, got 40 x 60"):
        found.draw(pixels.transpose(1, 0, 2))


def test_crops_have_the_pixels_that_each_box_touches(tmp_path: Path) -> None:
    pixels = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)
    boxes = [[2, 1, 5, 4], [2.9, 1.1, 5.1, 3.5], [-4, 6.5, 3, 99], [20, 20, 30, 30], [-9, -9, -1, -1], [5, 4, 2, 1]]
    found = Detections.ordered(boxes, [6, 5, 4, 3, 2, 1], [0] * 6, NAMES, (10, 8))
    crops = found.crops(pixels)
    assert [crop.shape for crop in crops[3:]] == [(0, 0, 3), (0, 0, 3), (0, 0, 3)]
    rows, columns = np.mgrid[:8, :10]
    for (x1, y1, x2, y2), crop in zip(boxes[:3], crops, strict=False):  # a pixel is touched if it shares area
        touched = (columns + 1 > x1) & (columns < x2) & (rows + 1 > y1) & (rows < y2)
        assert crop.shape[:2] == (touched.any(axis=1).sum(), touched.any(axis=0).sum())
        np.testing.assert_array_equal(crop.reshape(-1, 3), pixels[touched])
    crops[0][:] = 0
    assert pixels[1, 2].tolist() == [36, 37, 38]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(found.crops(tmp_path / "photo.png")[1], crops[1])
    assert Detections.empty(NAMES).crops(pixels) == []
    with pytest.raises(InputError, match=r"the one of 10 x 8 pixels these were found in, got 8 x 10"):
        found.crops(pixels.transpose(1, 0, 2))


def test_detections_are_saved_as_a_picture(tmp_path: Path) -> None:
    pixels = np.full((40, 60, 3), 90, np.uint8)
    found = detections((60, 40))
    for name in ("a.png", "b.PNG", "sub/c.jpg", "d.jpeg"):
        found.save(tmp_path / name, pixels, line_width=3)
        exact = name.lower().endswith("png")
        with Image.open(tmp_path / name) as image:
            assert image.format == ("PNG" if exact else "JPEG")
        difference = load_image(tmp_path / name).astype(int) - found.draw(pixels, line_width=3)
        assert np.abs(difference).mean() < (1e-9 if exact else 12)
    found.save(str(tmp_path / "e.png"), tmp_path / "a.png")
    for name in ("a.webp", "a", "png"):
        with pytest.raises(InputError, match=r"path should end in \.png, \.jpg, \.jpeg, got "):
            found.save(tmp_path / name, pixels)
    with pytest.raises(InputError, match="60 x 40 pixels"):
        found.save(tmp_path / "f.png", pixels[:30])
    assert not (tmp_path / "f.png").exists()


def test_records_are_plain_values() -> None:
    found = detections()
    assert found.names() == ["cow", "cat", "dog"]
    assert json.loads(json.dumps(found.to_records()))[1] == {
        "label": "cat",
        "score": 0.5,
        "box": [5.0, 5.0, 20.0, 20.0],
    }


def test_empty_detections_know_their_classes() -> None:
    nothing = Detections.empty(list(NAMES))
    assert (len(nothing), nothing.class_names, nothing.names(), nothing.to_records()) == (0, NAMES, [], [])
    assert nothing.boxes.shape == (0, 4)
    assert len(nothing.above(0.5)) == len(nothing[:]) == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scores": [0.5, 0.25]}, r"scores should have shape \(3,\) to match boxes, got \(2,\)"),
        ({"labels": [0, 1]}, r"labels should have shape \(3,\)"),
        ({"labels": [0, 1, 3]}, "labels should be in 0..2, .* entry 2 is 3"),
        ({"labels": [0, -1, 1]}, "entry 1 is -1"),
        ({"labels": [0.0, 1.0, 1.0]}, "labels should be whole numbers"),
        ({"labels": [[0], [1, 2]]}, "labels should be whole numbers"),
        ({"scores": [0.5, 0.75, 0.25]}, r"entry 1 \(0.75\) .* use Detections.ordered"),
        ({"scores": [0.5, 0.25, float("nan")]}, "scores should be finite, but entry 2"),
        ({"scores": ["a", "b", "c"]}, "scores should be numbers"),
        ({"boxes": [[0, 0, 1]]}, "detections' boxes should have shape"),
        ({"class_names": ("cat",)}, "entry 0 is 2"),
        ({"size": (20, 0)}, r"size should be the image's width and height in whole pixels, .* got \(20, 0\)"),
        ({"size": (20, 30, 3)}, "size should be"),
        ({"size": (20.5, 30)}, "size should be"),
        ({"size": "ab"}, "size should be"),
    ],
)
def test_detections_refuse_columns_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {
        "boxes": BOXES,
        "scores": [0.75, 0.5, 0.25],
        "labels": [2, 0, 1],
        "class_names": NAMES,
    }
    with pytest.raises(InputError, match=text):
        Detections(**(arguments | change))


def test_ordered_checks_lengths_before_it_sorts() -> None:
    with pytest.raises(InputError, match="labels should have shape"):
        Detections.ordered(BOXES, [0.1, 0.2, 0.3], [0], NAMES)
    with pytest.raises(InputError, match="source should have shape"):
        Proposals.ordered(BOXES, [0.1, 0.2, 0.3], [0])


def test_records_cannot_be_reassigned() -> None:
    with pytest.raises(AttributeError):
        detections().scores = np.zeros(3, np.float32)  # type: ignore[misc]


def test_detections_of_images_become_rows_with_labels_by_name() -> None:
    first = Detections([[0, 0, 9, 9], [1, 1, 2, 2]], [0.75, 0.5], [0, 1], ("dog", "cat"))
    third = Detections([[5, 5, 6, 6]], [0.25], [0], ("cat",))
    table = DetectionTable.from_detections([first, Detections.empty(("cat",)), third], ("cat", "dog", "cow"))
    assert (table.image.tolist(), table.label.tolist(), table.score.tolist()) == (
        [0, 0, 2],
        [1, 0, 0],
        [0.75, 0.5, 0.25],
    )
    assert table.box.tolist() == [[0, 0, 9, 9], [1, 1, 2, 2], [5, 5, 6, 6]]
    assert (table.box.dtype, table.score.dtype, table.image.dtype) == (np.float64, np.float64, np.int32)
    with pytest.raises(InputError, match=r"detections\[1\] has classes .*'cow'"):
        DetectionTable.from_detections([first, Detections.empty(("cow",))], ("cat", "dog"))


def test_scores_and_boxes_keep_all_their_digits() -> None:
    table = DetectionTable([0], [0], [0.1 + 1e-15], [[0.1, 0, 0.3, 1e-300]])
    assert table.score[0] == 0.1 + 1e-15
    assert table.box.tolist() == [[0.1, 0, 0.3, 1e-300]]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (([0, 0], [0], [0.5], BOX), r"image should be whole numbers of shape \(1,\)"),
        (([-1], [0], [0.5], BOX), "image should be in 0"),
        (([0], [0.5], [0.5], BOX), "label should be whole numbers"),
        (([0], [0], [np.nan], BOX), "score should be finite"),
        (([0], [0], [0.5], [[0, 0, np.inf, 1]]), r"box should be finite, but row 0"),
        (([0], [0], [0.5], [[0, 0, 1]]), r"shape \(N, 4\)"),
        (([0], [0], [0.5], [["a", 0, 1, 1]]), r"numbers of shape \(N, 4\)"),
    ],
)
def test_wrong_columns_are_named(columns: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        DetectionTable(*columns)
