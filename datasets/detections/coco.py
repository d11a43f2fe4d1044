"""Detections as COCO's evaluation takes them: a JSON list, here called a results file.

An entry is ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``; other keys are passed over.

Source: "Results format" at cocodataset.org.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from inception_rcnn.datasets.detections.base import DetectionFile, select_known
from inception_rcnn.datasets.detections.image_names import ids_in_words, plain_id
from inception_rcnn.structures import DataFormatError, GroundTruthTable
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import decode_json, read_bytes, write_packed

_EXPECTED: Final = "should be an object with image_id, category_id, bbox of four numbers and score"
_MOST_CORNERS: Final = 0.99
_MANY_LEAVING: Final = 0.3


class _Record(msgspec.Struct, gc=False):
    """One detection; ids may be written as 7.0 and numbers as "0.5", as some libraries do."""

    image_id: int | float | str
    category_id: int | float
    bbox: tuple[float, float, float, float]
    score: float


def read_coco_detections(
    path: str | os.PathLike[str],
    image_ids: Sequence[int | str],
    category_ids: Sequence[int],
    *,
    skip_unknown: bool = False,
) -> DetectionFile:
    """Return the detections of a COCO results file.

    Args:
        path: The file, plain or packed by gzip.
        image_ids: The images' ids; 7, 7.0 and "7" are one, unless two of the images differ in that alone.
        category_ids: The categories' ids: label 0 is the first.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is no JSON list of detections, or one has an unknown image or category, or a box or score
            that is none; the text names the detection by its number, and the line if the JSON is broken.
    """
    file = Path(path)
    records = _read_records(file)

    def error(row: int, message: str) -> DataFormatError:
        return DataFormatError(message, path=file, place=f"detection {row + 1}")

    image_of = _positions(image_ids)
    label_of: dict[int | float, int] = {category: label for label, category in enumerate(category_ids)}
    count = len(records)
    image = np.fromiter((image_of.get(one.image_id, -1) for one in records), np.int64, count)
    label = np.fromiter((label_of.get(one.category_id, -1) for one in records), np.int64, count)
    box = np.fromiter(chain.from_iterable(one.bbox for one in records), np.float64, 4 * count).reshape(-1, 4)
    score = np.fromiter((one.score for one in records), np.float64, count)
    if (label < 0).any():
        row = int(np.argmin(label))
        raise error(
            row,
            f"category_id {records[row].category_id} is none of the {len(label_of)} categories{_gaps(category_ids)}",
        )
    with np.errstate(over="ignore"):
        box[:, 2:] += box[:, :2]
    if not np.isfinite(box).all():
        row = int(np.argmin(np.isfinite(box).all(axis=1)))
        raise error(row, f"bbox {list(records[row].bbox)} is not finite or ends beyond what a number can say")
    if not np.isfinite(score).all():  # as a text: JSON has no such number
        row = int(np.argmin(np.isfinite(score)))
        raise error(row, f"score {records[row].score} is not finite")
    return select_known(
        image,
        label,
        score,
        box,
        skip_unknown=skip_unknown,
        error=error,
        name=lambda row: _id_in_words(records[row].image_id, image_ids),
    )


def write_coco_detections(
    path: str | os.PathLike[str],
    detections: DetectionTable,
    image_ids: Sequence[int | str],
    category_ids: Sequence[int],
) -> None:
    """Write a COCO results file, packed by gzip if its name ends in ``.gz``; whole, or not at all.

    Args:
        path: The file; its folder must exist.
        detections: Label 0 becomes the first category.
        image_ids: The images' ids.
        category_ids: The categories' ids.

    Raises:
        InputError: The folder does not exist.
    """
    size = undo_sum(detections.box[:, 2:], detections.box[:, :2])
    sized = np.hstack([detections.box[:, :2], size]).tolist()
    columns = (detections.image.tolist(), detections.label.tolist(), sized, detections.score.tolist())
    records = [
        {"image_id": image_ids[image], "category_id": category_ids[label], "bbox": box, "score": score}
        for image, label, box, score in zip(*columns, strict=True)
    ]
    write_packed(path, json.dumps(records, separators=(",", ":")).encode())


def corner_note(table: DetectionTable, truth: GroundTruthTable) -> list[str]:
    """Return a line if boxes are corners by all appearances, where x y width height are expected.

    As corners all of them lie in their photographs, as they are read many leave them.
    """
    if not len(table):
        return []
    sizes = np.array([[side or np.nan for side in size] for size in truth.sizes], np.float64).reshape(-1, 2)[
        table.image
    ]
    start, end = table.box[:, :2], table.box[:, 2:]
    sides = end - start
    as_corners = ((sides > start) & (sides <= sizes + 1)).all(axis=1)
    leaving = (end > sizes + 1).any(axis=1)
    if as_corners.mean() < _MOST_CORNERS or leaving.mean() < _MANY_LEAVING:
        return []
    return [
        f"{int(leaving.sum())} of {len(table)} boxes leave their photographs, and none would if bbox were corners; it "
        "is read as x y width height"
    ]


def root_note(table: DetectionTable, truth: GroundTruthTable) -> list[str]:
    """Return a line if results seem to be numbered from 0 where category 0 is only the root of the others.

    Roboflow's exports begin with such a category, which no object has; results of a detector of the others, numbered
    from 0, are then all one class too low.
    """
    objects = np.bincount(truth.label[~truth.ignored], minlength=len(truth.class_names))
    found = np.bincount(table.label, minlength=len(truth.class_names))
    if len(objects) < 2 or objects[0] or not found[0] or found[-1] or not objects[-1]:
        return []
    first, last = truth.category_ids[0], truth.category_ids[-1]
    return [
        f"{found[0]} of {len(table)} detections are of category {first} ({truth.class_names[0]}), which no object has, "
        f"and none of category {last} ({truth.class_names[-1]}), which has {objects[-1]}: are the results numbered "
        f"from {first}, and the classes from {truth.category_ids[1]}?"
    ]


def _positions(image_ids: Sequence[int | str]) -> dict[int | float | str, int]:
    """Return the position of each id in each of its spellings; one of another image keeps its own."""
    exact: dict[int | float | str, int] = {image_id: position for position, image_id in enumerate(image_ids)}
    spelled: dict[int | float | str, int] = {}
    for image_id, position in list(exact.items()):
        plain = plain_id(image_id)
        if isinstance(plain, int):
            spelled |= {plain: position, str(plain): position}
    return spelled | exact


def _id_in_words(image_id: int | float | str, image_ids: Sequence[int | str]) -> str:
    """Return an unknown id, and what the ids are if it is of another kind."""
    if image_ids and isinstance(image_id, str) != isinstance(image_ids[0], str):
        kind = "a text" if isinstance(image_id, str) else "a number"
        return f"{image_id!r} ({kind}; the ids are {ids_in_words(image_ids)})"
    return str(image_id)


def _gaps(category_ids: Sequence[int]) -> str:
    """Return a hint for errors where the ids of categories have gaps."""
    low, high = min(category_ids, default=0), max(category_ids, default=0)
    if high - low + 1 == len(category_ids):
        return f", whose ids are {low} to {high}" if len(category_ids) else ""
    return f", whose ids have gaps between {low} and {high}; are these positions among the classes?"


def _read_records(path: Path) -> list[_Record]:
    """Return the entries of a results file, each with the right types."""
    data = read_bytes(path)
    encoding = json.detect_encoding(data)
    try:
        if encoding != "utf-8":
            data = data.decode(encoding).encode()
        return msgspec.json.decode(data, type=list[_Record], strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_record(path, data, error) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _broken_json(path, data, error) from error


def _wrong_record(path: Path, data: bytes, error: msgspec.ValidationError) -> DataFormatError:
    """Return an error in this project's words for one of msgspec's: "Expected `float`, got `str` - at `$[5].score`"."""
    message, _, place = str(error).partition(" - at ")
    found = re.fullmatch(r"`\$\[(\d+)\]\.?([^`]*)`", place)
    if found is None:  # no list at all
        return _broken_json(path, data, error)
    about = f"{found[2]}: " if found[2] else ""
    return DataFormatError(f"{_EXPECTED}; {about}{message}", path=path, place=f"detection {int(found[1]) + 1}")


def _broken_json(path: Path, data: bytes, reason: Exception) -> DataFormatError:
    """Return an error that names the line, which the json module knows; it reads NaN, which JSON does not have."""
    try:
        records = decode_json(data, path)
    except DataFormatError as error:
        return error
    if not isinstance(records, list):
        return DataFormatError(f"should be a list of detections, got {type(records).__name__}", path=path)
    for row, record in enumerate(records):
        for key, value in record.items() if isinstance(record, dict) else ():
            if "NaN" in (text := json.dumps(value)) or "Infinity" in text:
                message = f"{key} is {text:.100}; it should be finite"
                return DataFormatError(message, path=path, place=f"detection {row + 1}")
    return DataFormatError(f"is not valid JSON: {reason}", path=path)
