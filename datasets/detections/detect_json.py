"""Detections as `inception-rcnn detect --json` writes them: a document or JSON Lines, an object for each photograph.

    {"image": "photographs/cat.jpg", "width": 160, "height": 120,
     "detections": [{"label": "cat", "score": 0.9, "box": [12.0, 4.0, 150.0, 118.0]}]}

The first line of JSON Lines names the settings. A photograph is known by what leads to it, its classes by their names.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.detections.base import DetectionFile, note_of_shown, select_known
from inception_rcnn.datasets.detections.image_names import ImageNames
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import decode_json, read_bytes

_EXPECTED = "should be the object of a photograph, with image and detections, as detect --json writes it"


def is_detect_json(start: bytes) -> bool:
    """Return whether a file that begins so is what `detect --json` writes.

    >>> is_detect_json(b'{"format": "inception-rcnn detections", '), is_detect_json(b'[{"image": "a.jpg"')
    (True, True)
    >>> is_detect_json(b'[{"image_id": 1')
    False
    """
    words = b"".join(start.split())
    return words.startswith((b'[{"image":', b'{"format":"inception-rcnndetections"'))


def read_detect_json(
    path: str | os.PathLike[str], ground_truth: GroundTruthTable, *, skip_unknown: bool = False
) -> DetectionFile:
    """Return the detections of such a file; those of classes that the ground truth does not have are left out.

    Args:
        path: The file, plain or packed by gzip.
        ground_truth: Whose images and classes are meant.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.

    Raises:
        InputError: There is no such file, or none of its classes is known.
        DataFormatError: It is broken, or an image is another one or may be several; the text names the place.
    """
    file = Path(path)
    return detections_of_entries(file, _entries(file), ground_truth, skip_unknown=skip_unknown)


def detections_of_entries(
    file: Path,
    entries: Iterable[tuple[str, dict[str, Any]]],
    ground_truth: GroundTruthTable,
    *,
    skip_unknown: bool = False,
) -> DetectionFile:
    """Return the detections of photographs' objects; see `read_detect_json`.

    Args:
        file: Where they are from, for errors.
        entries: Where each stands, and the object.
        ground_truth: Whose images and classes are meant.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.
    """
    places: list[str] = []
    image, names = [], list[str]()
    score, box = [], []
    finder = ImageNames(ground_truth)
    for place, entry in entries:
        position = _position(entry, finder, ground_truth, file, place)
        for number, one in enumerate(entry["detections"], start=1):
            where = f"{place}, detection {number}"
            name, value, sides = _detection(one, file, where)
            places.append(f"{where} ({entry['image']})")
            image.append(position)
            names.append(name)
            score.append(value)
            box.append(sides)
    of_name = {name: label for label, name in enumerate(dict.fromkeys(names))}
    labels = class_positions(list(of_name), ground_truth.class_names, ground_truth.display_names)
    if names and (labels < 0).all():
        raise InputError(
            f"{file}: its classes ({', '.join(list(of_name)[:3])} ...) are none of the data set's "
            f"({', '.join(ground_truth.class_names[:3])} ...)"
        )
    label = labels[[of_name[name] for name in names]] if names else np.zeros(0, np.int32)
    read = select_known(
        np.array(image, np.int64),
        np.maximum(label, 0),
        np.array(score, np.float64),
        np.array(box, np.float64).reshape(-1, 4),
        skip_unknown=skip_unknown,
        error=lambda row, message: DataFormatError(message, path=file, place=places[row]),
        name=lambda row: repr(places[row].rpartition(" (")[2].rstrip(")")),
    )
    wanted = label[np.array(image, np.int64) >= 0] >= 0
    kept: DetectionTable = read.detections[wanted]
    return DetectionFile(kept, read.dropped, None, (note_of_shown(kept),))


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each photograph's object stands, and the object, checked; of what could not be read there is none.

    Raises:
        DataFormatError: It is broken.
    """
    data = read_bytes(path)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        found = [(f"photograph {number}", one) for number, one in enumerate(decode_json(data, path), start=1)]
    else:
        lines = list(enumerate(data.splitlines(), start=1))[1:]  # the first has the settings
        found = [(f"line {n}", decode_json(line, path, place=f"line {n}")) for n, line in lines if line.strip()]
    for place, entry in found:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("image"), str)
            or not isinstance(entry.get("detections"), list)
        ):
            raise DataFormatError(f"{_EXPECTED}, got {json.dumps(entry):.100}", path=path, place=place)
        if "error" not in entry:
            yield place, entry


def _position(entry: dict[str, Any], finder: ImageNames, truth: GroundTruthTable, path: Path, place: str) -> int:
    """Return which image is meant, -1 if none is.

    Raises:
        DataFormatError: It may be several, or one of another size, which is another photograph of the same name.
    """
    try:
        position = finder.position(entry["image"])
    except InputError as error:
        raise DataFormatError(str(error), path=path, place=place) from error
    size = (entry.get("width"), entry.get("height"))
    known = truth.sizes[position] if position >= 0 else (None, None)
    if None not in size and None not in known and size != known:
        raise DataFormatError(
            f"{entry['image']} is {size[0]} x {size[1]} pixels, but the image {truth.image_names[position]} of the "
            f"ground truth {known[0]} x {known[1]}: it is another photograph",
            path=path,
            place=place,
        )
    return position


def _detection(one: Any, path: Path, place: str) -> tuple[str, float, list[float]]:
    """Return class, score and box of a detection, checked."""
    if not isinstance(one, dict) or not isinstance(one.get("label"), str):
        raise DataFormatError(f"should have label, score and box, got {one!r:.100}", path=path, place=place)
    box, score = one.get("box"), one.get("score")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(side) for side in box):
        raise DataFormatError(f"box should be four finite numbers, got {box!r:.100}", path=path, place=place)
    if not _is_finite(score):
        raise DataFormatError(f"score should be a finite number, got {score!r:.60}", path=path, place=place)
    return one["label"], float(score), box


def _is_finite(value: object) -> TypeGuard[int | float]:
    # Compared, not converted: a whole number of hundreds of digits is no float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
