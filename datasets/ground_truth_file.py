"""The objects of a whole data set in one small file, so that detections can be scored without the data set.

One JSON object a line, one line an image; UTF-8, plain or packed by gzip (``.jsonl``, ``.jsonl.gz``)::

    {"id": "ILSVRC2012_val_00000006", "index": 2, "width": 500, "height": 368,
     "objects": [[159, "n01726692", 105, 204, 358, 279]]}

- ``id``: what the data set calls the image, a text or a whole number.
- ``name``: a text that leads to its file; absent if that is ``id``.
- ``index``: the whole number by which files of detections name the image; may be null or absent, then it is ``id``.
- ``width``, ``height``: of the image, in pixels; may be null or absent.
- ``objects``: lists of class number (from 1), class name, xmin, ymin, xmax, ymax: pixels from 0, inclusive, so that a
  box one pixel wide has xmin = xmax. A seventh entry of 1 marks an object to ignore (VOC's difficult, COCO's crowds),
  and an eighth is COCO's area. Their order is that of the annotations.
- ``classes``: on the first line only, lists of number and name of all classes; absent if the objects name them and the
  numbers have no gaps. A set without images is one line that has them alone.

Further keys, such as R-CNN's ``val2_index``, are passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.files import decode_json, read_bytes, write_packed

_LARGEST = 1e18
_LONGEST_SIDE = 10**9
_MOST_CLASSES = 1_000_000


def read_ground_truth(path: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> GroundTruthTable:
    """Return the objects in a ground-truth file.

    Args:
        path: The file, plain or packed by gzip.
        class_names: Names of all classes, in the order of their numbers, for a file that does not name them itself. If
            None, they are taken from the objects, and numbers that no object has are named ``class 17`` and so on.

    Raises:
        InputError: There is no such file.
        DataFormatError: A line is no such object; the text names it.

    >>> import tempfile
    >>> line = '{"id": "a", "objects": [[2, "cat", 0, 0, 9, 4]]}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "truth.jsonl").write_text(line)
    ...     found = read_ground_truth(Path(folder, "truth.jsonl"))
    >>> found.class_names, found.box.tolist()
    (('class 1', 'cat'), [[0.0, 0.0, 10.0, 5.0]])
    """
    reader = _Reader(Path(path))
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            reader.read(number, line)
    classes = reader.classes(class_names)
    rows = np.array(reader.rows, np.float64).reshape(-1, 8)  # image, label, four corners, ignore, area
    box, area = rows[:, 2:6] + np.array([0.0, 0.0, 1.0, 1.0]), rows[:, 7]
    reader.check_boxes(rows[:, 0], box)
    return GroundTruthTable(
        class_names=tuple(classes.values()),
        image_ids=tuple(reader.images),
        image=rows[:, 0].astype(np.int64),
        label=np.searchsorted(np.array(list(classes), np.int64), rows[:, 1].astype(np.int64)).astype(np.int32),
        box=box,
        ignore=rows[:, 6] > 0,
        area=None if np.isnan(area).any() or len(area) == 0 else area,
        image_names=tuple(reader.names),
        sizes=tuple(reader.sizes),
        category_ids=tuple(classes),
    )


def write_ground_truth(path: str | os.PathLike[str], ground_truth: GroundTruthTable) -> None:
    """Write a ground-truth file, packed by gzip if its name ends in ``.gz``; whole, or not at all.

    Raises:
        InputError: The folder does not exist, or a box has no area, which the reader would refuse.
    """
    names, numbers = ground_truth.class_names, ground_truth.category_ids
    objects = _objects_of_images(ground_truth)
    records: list[dict[str, Any]] = []
    for image_id, name, size, entries in zip(
        ground_truth.image_ids, ground_truth.image_names, ground_truth.sizes, objects, strict=True
    ):
        record: dict[str, Any] = {"id": image_id}
        if isinstance(image_id, int):
            record = {"id": name, "index": image_id}
        elif name != image_id:
            record["name"] = name
        records.append(record | {"width": size[0], "height": size[1], "objects": entries})
    said = {numbers[label] for label in ground_truth.label.tolist()} == set(range(1, len(numbers) + 1))
    if not said:
        classes = [[number, name] for number, name in zip(numbers, names, strict=True)]
        records = [(records[0] if records else {}) | {"classes": classes}, *records[1:]]
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    write_packed(path, "".join(lines).encode())


def _objects_of_images(ground_truth: GroundTruthTable) -> list[list[list[Any]]]:
    """Return for each image the entries of its objects."""
    box, area = ground_truth.box, ground_truth.area
    flat = ~(box[:, 2:] > box[:, :2]).all(axis=1)
    if flat.any():
        row = int(np.argmax(flat))
        image_id = ground_truth.image_ids[ground_truth.image[row]]
        raise InputError(f"cannot write the box {box[row].tolist()} of image {image_id}: it has no area")
    corners = np.hstack([box[:, :2], undo_sum(box[:, 2:], 1.0)]).tolist()
    objects: list[list[list[Any]]] = [[] for _ in ground_truth.image_ids]
    for row, (image, label) in enumerate(zip(ground_truth.image.tolist(), ground_truth.label.tolist(), strict=True)):
        entry: list[Any] = [ground_truth.category_ids[label], ground_truth.class_names[label]]
        entry += [_short(side) for side in corners[row]]
        if area is not None:
            entry += [int(ground_truth.ignored[row]), _short(float(area[row]))]
        elif ground_truth.ignored[row]:
            entry.append(1)
        objects[image].append(entry)
    return objects


class _Reader:
    """Collects the lines of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[int | str, int] = {}  # index or id -> line
        self.names: list[str] = []
        self.sizes: list[tuple[int | None, int | None]] = []
        self.rows: list[tuple[float, ...]] = []
        self.name_of: dict[int, str] = {}
        self.given: dict[int, str] | None = None  # the classes that the file names itself
        self._line_of: dict[int, int] = {}

    def read(self, number: int, line: bytes) -> None:
        """Take one line."""
        place = f"line {number}"
        record = decode_json(line, self.path, place=place)
        if not self.images and self.given is None and isinstance(record, dict) and "classes" in record:
            self.given = self._classes(record["classes"], place)
            if record.keys() == {"classes"}:
                return
        if not isinstance(record, dict) or not isinstance(record.get("objects"), list):
            raise self._broken("should be an object with id and the list objects", place)
        own, name = record.get("id"), record.get("name")
        index = record.get("index")
        key: Any = own if index is None else index
        if type(own) not in (int, str) or (index is not None and type(index) is not int):
            raise self._broken(
                f"id should be a text or a whole number, index a whole number, got {own!r}, {key!r}", place
            )
        if key in self.images:
            raise self._broken(f"the image {key!r} is on line {self.images[key]} already", place)
        if name is not None and not isinstance(name, str):
            raise self._broken(f"name should be a text, got {name!r:.60}", place)
        position = len(self.images)
        self.images[key] = number
        self.names.append(str(own) if name is None else name)
        sides = [record.get(side) for side in ("width", "height")]
        if any(side is not None and (type(side) is not int or not 1 <= side <= _LONGEST_SIDE) for side in sides):
            raise self._broken(
                f"width and height should be whole numbers above 0, to {_LONGEST_SIDE}, or null, got {sides!r:.80}",
                place,
            )
        self.sizes.append((sides[0], sides[1]))
        for k, entry in enumerate(record["objects"]):
            self.rows.append((position, *self._object(entry, f"{place}, object {k + 1}", number)))

    def _object(self, entry: Any, place: str, number: int) -> tuple[float, ...]:
        """Return class number, corners, whether to ignore, and the area (NaN if unknown)."""
        if not isinstance(entry, list) or not 6 <= len(entry) <= 8:
            raise self._broken(f"should be [class, name, xmin, ymin, xmax, ymax], got {entry!r:.80}", place)
        label, name, *sides = entry
        if type(label) is not int or not 1 <= label <= _MOST_CLASSES or not isinstance(name, str):
            raise self._broken(f"should begin with class number (from 1) and name, got {entry!r:.80}", place)
        if not all(type(side) in (int, float) and abs(side) < _LARGEST for side in sides):
            raise self._broken(f"corners should be numbers, got {entry!r:.80}", place)
        if self.name_of.setdefault(label, name) != name:
            first = self._line_of[label]
            raise self._broken(f"class {label} is named {name!r}, but {self.name_of[label]!r} on line {first}", place)
        self._line_of.setdefault(label, number)
        return (label, *sides[:4], sides[4] if len(sides) > 4 else 0, sides[5] if len(sides) > 5 else np.nan)

    def check_boxes(self, image: NDArray[np.float64], box: NDArray[np.float64]) -> None:
        """Raise if a box has no area once its corners are float32, as boxes are in this project."""
        rounded = box.astype(np.float32)
        flat = ~(rounded[:, 2:] > rounded[:, :2]).all(axis=1)
        if flat.any():
            row = int(np.argmax(flat))
            line = list(self.images.values())[int(image[row])]
            number = row - int(np.searchsorted(image, image[row])) + 1
            sides = [_short(side) for side in self.rows[row][2:6]]
            raise self._broken(f"its box has no area: xmin ymin xmax ymax are {sides}", f"line {line}, object {number}")

    def classes(self, names: Sequence[str] | None) -> dict[int, str]:
        """Return the names of all classes by ascending number, after checking those of the objects against them."""
        given = self.given
        if given is None and names is None:
            return {k: self.name_of.get(k, f"class {k}") for k in range(1, max(self.name_of, default=0) + 1)}
        if given is None:
            given = dict(enumerate(names or (), start=1))
        for number, name in self.name_of.items():
            if given.get(number) != name:
                expected = (
                    f"class {number} is {given[number]!r}"
                    if number in given
                    else f"there are {len(given)} classes, none with this number"
                )
                raise self._broken(f"has {name!r} as class {number}, but {expected}", f"line {self._line_of[number]}")
        return dict(sorted(given.items()))

    def _classes(self, entries: Any, place: str) -> dict[int, str]:
        """Return the classes that the first line names."""
        try:
            classes = {number: name for number, name in entries}
            fits = all(type(number) is int and 1 <= number <= _MOST_CLASSES for number in classes)
            fits = fits and all(isinstance(name, str) for name in classes.values())
            fits = fits and len(set(classes.values())) == len(entries) == len(classes)
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise self._broken(
                f"classes should be lists of number (from 1) and name, each once, got {entries!r:.80}", place
            )
        return classes

    def _broken(self, message: str, place: str) -> DataFormatError:
        return DataFormatError(message, path=self.path, place=place)


def _short(value: float) -> float | int:
    """Return whole numbers as int, so that they are written without a point."""
    return int(value) if value == int(value) else value
