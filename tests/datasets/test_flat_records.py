"""COCO's results read by the compiled reader: what the json module reads, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.datasets.detections.base import read_coco_detections
from inception_rcnn.datasets.flat_records import read_flat_records
from inception_rcnn.structures import DataFormatError

RECORD = '{"image_id": 7, "category_id": 3, "bbox": [1, 2.5, 3, 4], "score": 0.5}'


def by_json(text: str) -> list[list[float]]:
    """The slow, obvious way."""
    return [[one["image_id"], one["category_id"], *one["bbox"], one["score"]] for one in json.loads(text)]


def by_kernel(text: str | bytes, threads: int | None = None) -> list[list[float]] | None:
    read = read_flat_records(text if isinstance(text, bytes) else text.encode(), threads)
    if read is None:
        return None
    return np.column_stack([read.image_id, read.category_id, read.numbers]).tolist()


def spelled(value: float, style: int) -> str:
    """A number as some program would write it; the last style has more digits than the kernel takes."""
    return (repr(value), f"{value:.3f}", f"{value:e}", f"{value:.17g}", str(round(value)), f"{value:.25f}")[style]


def text_of(random: np.random.Generator, count: int, styles: int = 6) -> str:
    """A results file with keys in any order, numbers in any spelling and spaces in any place."""

    def gap() -> str:
        return "".join(random.choice([" ", "\n", "\t", "\r", ""], 2))

    def one() -> str:
        numbers = [spelled(float(value), int(random.integers(styles))) for value in random.normal(0, 300, 5)]
        box = f",{gap()}".join(f"{number}{gap()}" for number in numbers[:4])
        values = {"image_id": str(random.integers(-9, 10**12)), "category_id": str(random.integers(0, 90))}
        values |= {"bbox": f"[{gap()}{box}]", "score": numbers[4]}
        entries = [f'{gap()}"{key}"{gap()}:{gap()}{values[key]}{gap()}' for key in random.permutation(list(values))]
        return "{" + ",".join(entries) + "}" + gap()

    return f"{gap()}[{gap()}" + f",{gap()}".join(one() for _ in range(count)) + f"]{gap()}"


def test_keys_in_any_order_spaces_anywhere_and_numbers_in_any_spelling() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        text = text_of(random, int(random.integers(1, 6)))
        assert by_kernel(text) == by_json(text), text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5))
def test_every_float_is_read_to_the_last_bit(values: list[float]) -> None:
    text = json.dumps([{"image_id": 1, "category_id": 2, "bbox": values[:4], "score": values[4]}])
    assert by_kernel(text) == by_json(text)


UNUSUAL = [
    "[]",
    "{}",
    "",
    "[5]",
    f"[{RECORD},]",
    f"[,{RECORD}]",
    f"[{RECORD} {RECORD}]",
    f"[{RECORD}",
    f"[{RECORD}]]",
    f"[{RECORD}] x",
    f"x [{RECORD}]",
    RECORD,
    f'{{"a": [{RECORD}]}}',
    f"[{RECORD}, []]",
    RECORD.replace("{", "[{", 1) + ", {}]",
    *(
        f"[{RECORD.replace(*change)}]"
        for change in (
            ("7", '"7"'),
            ("7", '8, "image_id": 7'),
            ("7", "7.0"),
            ("7", "7e0"),
            ("7", "07"),
            ("7", "+7"),
            ("7", "1234567890123456789"),
            ("7", "-"),
            ("7", "null"),
            ("2.5", "+2.5"),
            ("2.5", "02.5"),
            ("2.5", ".5"),
            ("2.5", "2."),
            ("2.5", "2.e1"),
            ("2.5", "2e"),
            ("2.5", "2e+"),
            ("2.5", "NaN"),
            ("2.5", "Infinity"),
            ("2.5", "-Infinity"),
            ("2.5", '"2.5"'),
            ("2.5", "[2.5]"),
            ("2.5, ", ""),
            ("2.5", "2.5, 9"),
            ("2.5", "2 5"),
            ("[1", "1"),
            ("4]", "4,]"),
            ("4]", "4}"),
            ("score", "Score"),
            ("score", "scores"),
            ("score", "scor"),
            ('"score"', "score"),
            (":", "="),
            (', "score": 0.5', ""),
            ('"score": 0.5', '"score": 0.5, "area": 12'),
            ('"score": 0.5', '"score": 0.5, "score": 0.25'),
            ("0.5", "true"),
            ("0.5", "0.5 5"),
        )
    ),
]


@pytest.mark.parametrize("text", UNUSUAL)
def test_anything_unusual_is_left_to_the_json_module(text: str) -> None:
    assert by_kernel(text) is None


@pytest.mark.parametrize(
    "change",
    [("7", "7.0"), ("7", "7e0"), ("0.5", "true"), ('"score": 0.5', '"score": 1, "area": 12, "score": 0.5'), ("7", "7")],
)
def test_what_the_json_module_reads_is_as_good(change: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(f"[{RECORD}, {RECORD.replace(*change)}]", encoding="utf-8-sig")
    (tmp_path / "plain.json").write_text(f"[{RECORD}, {RECORD}]")
    read, plain = (read_coco_detections(tmp_path / name, [7], [3]).detections for name in ("found.json", "plain.json"))
    assert (read.image.tolist(), read.label.tolist()) == (plain.image.tolist(), plain.label.tolist())
    assert read.box.tolist() == plain.box.tolist() == [[1, 2.5, 4, 6.5]] * 2
    assert read.score.tolist() == [0.5, 1.0 if change[1] == "true" else 0.5]


def test_numbers_beyond_float64_are_infinite_and_then_an_error(tmp_path: Path) -> None:
    text = f"[{RECORD}, {RECORD.replace('2.5', '1e999')}]"
    assert by_kernel(text) == by_json(text)
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(DataFormatError, match="detection 2: should be an object with image_id"):
        read_coco_detections(tmp_path / "found.json", [7], [3])


def test_numbers_too_long_for_the_kernel_are_read_by_python_unless_there_are_thousands() -> None:
    long = RECORD.replace("2.5", "0.1234567890123456789012345")
    text = f"[{','.join([long] * 1000)}]"
    assert by_kernel(text) == by_json(text)
    assert by_kernel(f"[{','.join([long] * 1001)}]") is None


def test_large_files_are_read_in_parts() -> None:
    random = np.random.default_rng(1)
    text = text_of(random, 9000, styles=5)
    assert len(text) > 1_000_000
    expected = by_json(text)
    for threads in (1, 2, 7):
        assert by_kernel(text, threads) == expected
    broken = text[:700_000] + text[700_000:].replace('"score"', '"scare"', 1)
    assert by_kernel(broken, 7) is None
    assert by_kernel(text[:-20].rstrip("]\n\t\r ") + "," + text[-20:], 7) is None


def test_unknown_images_are_counted_and_unknown_categories_named(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(f"[{RECORD}, {RECORD.replace('7', '8')}, {RECORD}]")
    read = read_coco_detections(tmp_path / "found.json", ["a", 9, 7, 10**30], [5, 3], skip_unknown=True)
    assert (read.dropped, read.detections.image.tolist(), read.detections.label.tolist()) == (1, [2, 2], [1, 1])
    with pytest.raises(DataFormatError, match="detection 2: the image 8 is not in the list"):
        read_coco_detections(tmp_path / "found.json", [7], [3])
    with pytest.raises(DataFormatError, match="detection 1: category_id 3 is none of the 2 categories"):
        read_coco_detections(tmp_path / "found.json", [7, 8], [5, 4], skip_unknown=True)
