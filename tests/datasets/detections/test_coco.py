"""COCO's results files: what is read is what was written, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_tables import check_same, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inception_rcnn.datasets.detections.coco import read_coco_detections, write_coco_detections
from inception_rcnn.structures import DataFormatError


def record(**change: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5} | change


@pytest.mark.parametrize("name", ["found.json", "found.json.gz"])
def test_coco_comes_back(name: str, tmp_path: Path) -> None:
    ids = [40, 7, "x", 9]
    write_coco_detections(tmp_path / name, table(), ids, [3, 1, 90])
    read = read_coco_detections(tmp_path / name, ids, [3, 1, 90]).detections
    check_same(read, table())
    write_coco_detections(tmp_path / f"again_{name}", read, ids, [3, 1, 90])
    again = read_coco_detections(tmp_path / f"again_{name}", ids, [3, 1, 90]).detections
    assert again.box.tolist() == read.box.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([record(), record(image_id=8)], "detection 2: the image 8 is not in the list"),
        ([record(category_id=4)], "detection 1: category_id 4 is none of the 1 categories"),
        ([record(bbox=[1, 2, 3])], "detection 1: should be an object with image_id"),
        ([record(bbox=[1, 2, 3, float("nan")])], r"detection 1: bbox is \[1, 2, 3, NaN\]"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": 5}, "bbox: Expected `array`, got `int`"),
        ({"bbox": [7]}, "bbox: Expected `array` of length 4"),
        ({"bbox": [1, 2, "three", 4]}, r"bbox\[2\]: Expected `float`, got `str`"),
        ({"bbox": [1, 2, True, 4]}, r"bbox\[2\]: Expected `float`, got `bool`"),
        ({"bbox": None}, "bbox: Expected `array`, got `null`"),
        ({"score": "half"}, "score: Expected `float`, got `str`"),
        ({"score": True}, "score: Expected `float`, got `bool`"),
        ({"score": [0.5]}, "score: Expected `float`, got `array`"),
        ({"image_id": True}, "image_id: Expected `int .*`, got `bool`"),
        ({"image_id": None}, "image_id: Expected"),
        ({"category_id": True}, "category_id: Expected `int .*`, got `bool`"),
        ({"category_id": "cat"}, "category_id: Expected `int .*`, got `str`"),
    ],
)
def test_a_value_of_another_type_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    wrong = [record()] * 5 + [record(**change), record()]
    (tmp_path / "found.json").write_text(json.dumps(wrong))
    with pytest.raises(DataFormatError, match=rf"found\.json, detection 6: should be an object .*; {message}"):
        read_coco_detections(tmp_path / "found.json", [7, 1], [3, 1])


def test_numbers_may_be_texts(tmp_path: Path) -> None:
    one = record(category_id="3", bbox=["1", 2, "3.5", "4e0"], score="0.5")
    (tmp_path / "found.json").write_text(json.dumps([one, record(image_id="7")]))
    read = read_coco_detections(tmp_path / "found.json", [7, "7"], [1, 3]).detections
    assert (read.image.tolist(), read.label.tolist(), read.score.tolist()) == ([0, 1], [1, 1], [0.5, 0.5])
    assert read.box.tolist() == [[1, 2, 4.5, 6], [1, 2, 4, 6]]


@pytest.mark.parametrize(
    ("change", "message"), [({"score": "nan"}, "score nan is not finite"), ({"bbox": [1, "inf", 3, 4]}, "bbox .* inf")]
)
def test_a_text_that_is_no_finite_number_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps([record(), record(**change)]))
    with pytest.raises(DataFormatError, match=f"detection 2: {message}"):
        read_coco_detections(tmp_path / "found.json", [7], [3])


def spelled(value: float, style: int) -> str:
    """A number as some program would write it."""
    return (repr(value), f"{value:.3f}", f"{value:e}", f"{value:.17g}", str(round(value)), f"{value:.25f}")[style]


def text_of(random: np.random.Generator, count: int) -> str:
    """A results file with keys in any order, numbers in any spelling and spaces in any place."""

    def gap() -> str:
        return "".join(random.choice([" ", "\n", "\t", "\r", ""], 2))

    def one() -> str:
        numbers = [spelled(float(value), int(random.integers(6))) for value in random.normal(0, 300, 5)]
        box = f",{gap()}".join(f"{number}{gap()}" for number in numbers[:4])
        values = {"image_id": str(random.integers(3)), "category_id": str(random.integers(4))}
        values |= {"bbox": f"[{gap()}{box}]", "score": numbers[4], "area": '{"a": [1]}'}
        entries = [f'{gap()}"{key}"{gap()}:{gap()}{values[key]}{gap()}' for key in random.permutation(list(values))]
        return "{" + ",".join(entries) + "}" + gap()

    return f"{gap()}[{gap()}" + f",{gap()}".join(one() for _ in range(count)) + f"]{gap()}"


def check_like_json(text: str, path: Path) -> None:
    """Fail unless the file is read as the json module reads it, to the last bit."""
    path.write_text(text)
    found, expected = read_coco_detections(path, [0, 1, 2], [0, 1, 2, 3]).detections, json.loads(text)
    assert found.image.tolist() == [one["image_id"] for one in expected]
    assert found.label.tolist() == [one["category_id"] for one in expected]
    numbers = [[*one["bbox"][:2], one["score"]] for one in expected]
    assert np.column_stack([found.box[:, :2], found.score]).tobytes() == np.array(numbers, np.float64).tobytes()
    ends = [[one["bbox"][0] + float(one["bbox"][2]), one["bbox"][1] + float(one["bbox"][3])] for one in expected]
    assert found.box[:, 2:].tolist() == ends


def test_keys_in_any_order_spaces_anywhere_and_numbers_in_any_spelling(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        check_like_json(text_of(random, int(random.integers(1, 6))), tmp_path / "found.json")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(-1e300, 1e300), min_size=5, max_size=5))
def test_every_float_is_read_to_the_last_bit(values: list[float], tmp_path: Path) -> None:
    one = {"image_id": 1, "category_id": 2, "bbox": values[:4], "score": values[4]}
    check_like_json(json.dumps([one]), tmp_path / "found.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_whole_numbers_with_a_point_and_other_encodings(encoding: str, tmp_path: Path) -> None:
    text = json.dumps([record(image_id=7.0, category_id=3.0), record(image_id="ä")], ensure_ascii=False)
    (tmp_path / "found.json").write_text(text, encoding=encoding)
    read = read_coco_detections(tmp_path / "found.json", ["ä", 7], [1, 3]).detections
    assert (read.image.tolist(), read.label.tolist()) == ([1, 0], [1, 1])
    assert read.box.tolist() == [[1, 2, 4, 6]] * 2


def test_unknown_images_are_counted_and_unknown_categories_named(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps([record(), record(image_id=8), record(), record(image_id=10**30)]))
    read = read_coco_detections(path, ["a", 9, 7, 10**30], [5, 3], skip_unknown=True)
    assert (read.dropped, read.detections.image.tolist(), read.detections.label.tolist()) == (1, [2, 2, 3], [1, 1, 1])
    with pytest.raises(DataFormatError, match="detection 1: category_id 3 is none of the 2 categories"):
        read_coco_detections(path, [7, 8], [5, 4], skip_unknown=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: is not valid JSON"),
        (f"{json.dumps(record())}\n{json.dumps(record())}", "line 2, column 1: is not valid JSON: Extra data"),
        ("[] x", "line 1, column 4: is not valid JSON: Extra data"),
        ('[\n{"a": 1,}]', "line 2, column 9: is not valid JSON"),
        ('[{"image_id": 07}]', "line 1, column 16: is not valid JSON"),
        (b'[{"image_id": "\xff"}]', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON|detection 1: should be"),
    ],
)
def test_what_is_no_json_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataFormatError, match=message):
        read_coco_detections(tmp_path / "found.json", [7], [3])


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_a_number_that_is_not_finite_is_named(number: str, tmp_path: Path) -> None:
    text = json.dumps([record(), record(score=-77)]).replace("-77", number)
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(DataFormatError, match=r"detection 2: (score is -?(NaN|Infinity)|should be .*out of range)"):
        read_coco_detections(tmp_path / "found.json", [7], [3])
    (tmp_path / "found.json").write_text(json.dumps([record(), record(bbox=[1e308, 1, 1e308, 1])]))
    with pytest.raises(DataFormatError, match=r"detection 2: bbox .* beyond what a number can say"):
        read_coco_detections(tmp_path / "found.json", [7], [3])


def test_no_detections_at_all(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    assert len(read_coco_detections(tmp_path / "found.json", [7], [3]).detections) == 0


@pytest.mark.parametrize("spelled", [7, 7.0, "7"])
@pytest.mark.parametrize("image_id", [7, "7"])
def test_an_id_is_the_same_as_number_and_as_text(spelled: float | str, image_id: int | str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps([record(image_id=spelled)]))
    read = read_coco_detections(tmp_path / "found.json", [1, image_id], [3])
    assert read.detections.image.tolist() == [1]


def test_ids_that_differ_in_their_kind_alone_stay_apart_and_the_kinds_are_named(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps([record(image_id=7), record(image_id="7")]))
    assert read_coco_detections(tmp_path / "found.json", ["7", 7], [3]).detections.image.tolist() == [1, 0]
    (tmp_path / "found.json").write_text(json.dumps([record(image_id="07")]))
    with pytest.raises(DataFormatError, match=r"the image '07' \(a text; the ids are whole numbers, such as 7\)"):
        read_coco_detections(tmp_path / "found.json", [7], [3])


def test_a_category_beyond_gaps_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps([record(category_id=2)]))
    with pytest.raises(DataFormatError, match="is none of the 2 categories, whose ids have gaps between 3 and 90"):
        read_coco_detections(tmp_path / "found.json", [7], [3, 90])
