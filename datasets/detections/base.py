"""Detections in the three formats that evaluation servers take: ILSVRC DET, PASCAL VOC, COCO.

- ILSVRC: one text file, ``<image index> <class 1..200> <score> <xmin> <ymin> <xmax> <ymax>``, inclusive pixels from 0.
- VOC: one text file a class, ``<anything>_<class>.txt``, ``<image id> <score> <xmin> <ymin> <xmax> <ymax>``, inclusive
  pixels from 1.
- COCO: one JSON list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``.

Any file may be packed by gzip. Boxes are taken as they are: inverted ones, and ones outside the image, belong to the
result. Numbers are written so that reading them gives the same numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.flat_records import read_flat_records
from inception_rcnn.datasets.number_lines import NumberLines, read_bytes, read_number_lines
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.detections import DetectionTable

_ILSVRC_WORDS = ("image", "class", "score", "xmin", "ymin", "xmax", "ymax")
_VOC_WORDS = ("image", "score", "xmin", "ymin", "xmax", "ymax")
_LARGEST = 2**63
_HINT = " (--skip-broken or skip_unknown=True leaves such detections out)"


@dataclass(frozen=True, eq=False)
class DetectionFile:
    """What a file holds.

    Attributes:
        detections: Their images and labels are positions in the lists given to the reader.
        dropped: How many detections of images outside the list were left out.
        known: Labels of the classes the detector knows, None if the file does not say.
    """

    detections: DetectionTable
    dropped: int = 0
    known: frozenset[int] | None = None


def read_ilsvrc_detections(
    path: str | os.PathLike[str],
    image_ids: Sequence[int | str],
    classes: int = 200,
    *,
    skip_unknown: bool = False,
    threads: int | None = None,
) -> DetectionFile:
    """Return the detections of an ILSVRC DET submission file.

    Args:
        path: The file, plain or packed by gzip.
        image_ids: The images' official indices, whole numbers: what stands first on each line.
        classes: How many classes there are; label 0 is class 1.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.
        threads: How many to read with; None: as many as there are processors.

    Raises:
        InputError: There is no such file, or `image_ids` are no whole numbers.
        DataFormatError: A line has other than seven numbers, a class that does not exist, or an unknown image; the text
            names the line.
    """
    indices = _whole_ids(image_ids)
    lines = read_number_lines(path, _ILSVRC_WORDS, threads=threads)
    values = lines.values
    _check_whole(lines, 0, "the image index")
    _check_whole(lines, 1, "the class")
    wrong = (values[:, 1] < 1) | (values[:, 1] > classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise lines.broken(row, f"the class should be in 1..{classes}, got {values[row, 1]:g}")
    image = _find_numbers(values[:, 0], indices)
    keep = _known(image, skip_unknown, lambda row: lines.broken(row, _unknown(f"{values[row, 0]:.0f}")))
    box = values[:, 3:] + np.array([0.0, 0.0, 1.0, 1.0])
    label = values[:, 1].astype(np.int32)
    label -= 1
    return _selected(image, label, values[:, 2], box, keep)


def read_voc_detections(
    path: str | os.PathLike[str],
    image_ids: Sequence[int | str],
    class_names: Sequence[str],
    *,
    skip_unknown: bool = False,
) -> DetectionFile:
    """Return the detections of a folder of VOC result files, ``*_<class>.txt`` or ``*_<class>.txt.gz``, or of one file.

    A class without a file has no detections. Detections stand in the order of classes, then of lines.

    Args:
        path: The folder, or one file of such a name.
        image_ids: What stands first on each line.
        class_names: Names of all classes.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.

    Raises:
        InputError: There is no such folder, no such file in it, or two for one class.
        DataFormatError: A line has other than an id and five numbers, or an unknown image; the text names the line.
    """
    position_of = {str(image_id): position for position, image_id in enumerate(image_ids)}
    files = _voc_files(Path(path), class_names)
    parts = []
    for label, name in enumerate(class_names):
        if name in files:
            lines = read_number_lines(files[name], _VOC_WORDS, named=True)
            ids = lines.names()
            image = np.array([position_of.get(image_id, -1) for image_id in ids], np.int64)
            keep = _known(image, skip_unknown, partial(_unknown_line, lines, ids))
            box = lines.values[:, 2:] - np.array([1.0, 1.0, 0.0, 0.0])
            parts.append(_selected(image, np.full(len(ids), label), lines.values[:, 1], box, keep))
    return _joined(parts)


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
        image_ids: The images' ids.
        category_ids: The categories' ids: label 0 is the first.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is no JSON list of detections, or one has an unknown image or category, or a box or score
            that is none; the text names the detection by its number, and the line if the JSON is broken.
    """
    file = Path(path)
    data = read_bytes(file)
    flat = read_flat_records(data)
    if flat is not None:
        image = _find_ids(flat.image_id, image_ids)
        labels = _find_ids(flat.category_id, category_ids)
        fits = bool((labels >= 0).all() and np.isfinite(flat.numbers).all() and (skip_unknown or (image >= 0).all()))
        if fits:
            return _selected(image, labels, flat.numbers[:, 4], _corners(flat.numbers), image >= 0)
    return _read_records(file, data, image_ids, category_ids, skip_unknown)


def _read_records(
    file: Path, data: bytes, image_ids: Sequence[int | str], category_ids: Sequence[int], skip_unknown: bool
) -> DetectionFile:
    """Return the detections of any JSON; here an error is found that can be named."""
    records = _read_list(file, data)
    image_of = {image_id: position for position, image_id in enumerate(image_ids)}
    label_of = {category: label for label, category in enumerate(category_ids)}
    image, label = np.empty(len(records), np.int64), np.empty(len(records), np.int32)
    numbers = np.empty((len(records), 5))
    for row, record in enumerate(records):
        try:
            image[row] = image_of.get(record["image_id"], -1)
            label[row] = label_of[record["category_id"]]
            numbers[row, :4], numbers[row, 4] = record["bbox"], record["score"]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise _broken_record(file, row, record, label_of) from None
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers).all(axis=1)))
        raise _broken_record(file, row, records[row], label_of)
    keep = _known(
        image,
        skip_unknown,
        lambda row: DataFormatError(_unknown(records[row]["image_id"]), path=file, place=f"detection {row + 1}"),
    )
    return _selected(image, label, numbers[:, 4], _corners(numbers), keep)


def read_blacklist(path: str | os.PathLike[str]) -> tuple[tuple[int, str], ...]:
    """Return the pairs of image index and WordNet id in ILSVRC's list of what is not evaluated.

    Raises:
        InputError: There is no such file.
        DataFormatError: A line is no such pair; the text names it.
    """
    pairs = []
    for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), start=1):
        words = line.split()
        if words and (len(words) != 2 or not words[0].isdecimal()):
            raise DataFormatError(
                f"should be an image index and a class, got {line!r}", path=path, place=f"line {number}"
            )
        if words:
            pairs.append((int(words[0]), words[1]))
    return tuple(pairs)


def _whole_ids(image_ids: Sequence[int | str]) -> NDArray[np.int64]:
    """Return the ids as numbers."""
    for image_id in image_ids:
        if not isinstance(image_id, int):
            raise InputError(f"an ILSVRC file names images by their index, but one of image_ids is {image_id!r}")
    return np.array(image_ids, np.int64)


def _check_whole(lines: NumberLines, column: int, name: str) -> None:
    values = lines.values[:, column]
    wrong = values != np.floor(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise lines.broken(row, f"{name} should be a whole number, got {values[row]:g}")


def _find_numbers(values: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where in `indices` each value stands, -1 for those that do not."""
    if len(indices) == 0:
        return np.full(len(values), -1)
    order = np.argsort(indices)
    ascending = indices[order]
    slot = np.minimum(np.searchsorted(ascending, values), len(indices) - 1)
    return np.where(ascending[slot] == values, order[slot], -1)


def _find_ids(values: NDArray[np.int64], ids: Sequence[int | str]) -> NDArray[np.int64]:
    """Return where in `ids` each whole number stands, -1 for those that do not."""
    numbers = [(one, position) for position, one in enumerate(ids) if isinstance(one, int) and abs(one) < _LARGEST]
    known = np.array(numbers, np.int64).reshape(-1, 2)
    return np.append(known[:, 1], -1)[_find_numbers(values, known[:, 0])]


def _corners(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x1 y1 x2 y2 of x, y, width, height."""
    return np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]])


def _unknown(image_id: object) -> str:
    return f"the image {image_id} is not in the list of images{_HINT}"


def _unknown_line(lines: NumberLines, ids: list[str], row: int) -> DataFormatError:
    return lines.broken(row, _unknown(ids[row]))


def _known(image: NDArray[np.int64], skip: bool, error: Callable[[int], DataFormatError]) -> NDArray[np.bool_]:
    """Return which detections are of images in the list; raise ``error(row)`` for the first that is not."""
    known = image >= 0
    if not skip and not known.all():
        raise error(int(np.argmin(known)))
    return known


def _selected(
    image: NDArray[np.int64],
    label: NDArray[Any],
    score: NDArray[np.float64],
    box: NDArray[np.float64],
    keep: NDArray[np.bool_],
) -> DetectionFile:
    if not keep.all():
        image, label, score, box = image[keep], label[keep], score[keep], box[keep]
    return DetectionFile(DetectionTable(image.astype(np.int32), label, score, box), int(len(keep) - len(box)))


def _joined(parts: list[DetectionFile]) -> DetectionFile:
    tables = [part.detections for part in parts]
    return DetectionFile(
        DetectionTable(
            np.concatenate([table.image for table in tables]),
            np.concatenate([table.label for table in tables]),
            np.concatenate([table.score for table in tables]),
            np.concatenate([table.box for table in tables]),
        ),
        sum(part.dropped for part in parts),
    )


def _voc_files(path: Path, class_names: Sequence[str]) -> dict[str, Path]:
    """Return the file of each class that has one; of the names "cat" and "big_cat" the longest that fits is meant."""
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        stem = file.name.removesuffix(".gz")
        if not stem.endswith(".txt"):
            continue
        fitting = [name for name in class_names if f"_{stem.removesuffix('.txt')}".endswith(f"_{name}")]
        name = max(fitting, key=len, default=None)
        if name in files:
            raise InputError(f"{path} has two files for the class {name!r}: {files[name].name} and {file.name}")
        if name is not None:
            files[name] = file
    if not files:
        raise InputError(f"{path} holds no results: no file is named <anything>_<class>.txt with one of the classes")
    return files


def _read_list(path: Path, data: bytes) -> list[Any]:
    try:
        records = json.loads(data)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataFormatError(f"is not valid JSON: {error.msg}", path=path, place=place) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataFormatError(f"is not valid JSON: {error}", path=path) from error
    if not isinstance(records, list):
        raise DataFormatError(f"should be a list of detections, got {type(records).__name__}", path=path)
    return records


def _broken_record(path: Path, row: int, record: Any, label_of: dict[int, int]) -> DataFormatError:
    """Return an error that says what is wrong with one detection of a results file."""
    message = "should be an object with image_id, category_id, bbox of four numbers and score"
    if (
        isinstance(record, dict)
        and isinstance(record.get("category_id"), int)
        and record["category_id"] not in label_of
    ):
        message = f"category_id {record['category_id']} is none of the {len(label_of)} categories"
    return DataFormatError(f"{message}, got {record!r:.100}", path=path, place=f"detection {row + 1}")
