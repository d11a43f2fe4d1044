"""Detections as ILSVRC DET's evaluation takes them: one text file for all classes.

A line is ``<image index> <class 1..200> <score> <xmin> <ymin> <xmax> <ymax>``, inclusive pixels from 0.

Source: readme.txt of the ILSVRC2014 development kit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.detections.base import (
    DetectionFile,
    NumberLines,
    read_number_lines,
    select_known,
)
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import read_bytes, write_packed

_MOST_DIGITS: Final = 15  # a detection's numbers are read as float64, which has room for so many
_WORDS: Final = ("image", "class", "score", "xmin", "ymin", "xmax", "ymax")


def read_ilsvrc_detections(
    path: str | os.PathLike[str], image_ids: Sequence[int | str], classes: int = 200, *, skip_unknown: bool = False
) -> DetectionFile:
    """Return the detections of an ILSVRC DET submission file.

    Args:
        path: The file, plain or packed by gzip.
        image_ids: The images' official indices, whole numbers: what stands first on each line.
        classes: How many classes there are; label 0 is class 1.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.

    Raises:
        InputError: There is no such file, or `image_ids` are no whole numbers.
        DataFormatError: A line has other than seven numbers, a class that does not exist, or an unknown image; the text
            names the line.
    """
    _check_whole_ids(image_ids)
    lines = read_number_lines(path, _WORDS)
    values = lines.values
    _check_whole(lines, 0, "the image index")
    _check_whole(lines, 1, "the class")
    wrong = (values[:, 1] < 1) | (values[:, 1] > classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise lines.broken(row, f"the class should be in 1..{classes}, got {values[row, 1]:g}")
    return select_known(
        _positions_of(values[:, 0], image_ids),
        values[:, 1].astype(np.int32) - np.int32(1),
        values[:, 2],
        values[:, 3:] + np.array([0.0, 0.0, 1.0, 1.0]),
        skip_unknown=skip_unknown,
        error=lines.broken,
        name=lambda row: f"{values[row, 0]:.0f}",
    )


def write_ilsvrc_detections(
    path: str | os.PathLike[str], detections: DetectionTable, image_ids: Sequence[int | str]
) -> None:
    """Write an ILSVRC DET submission file, packed by gzip if its name ends in ``.gz``; whole, or not at all.

    Args:
        path: The file; its folder must exist.
        detections: Label 0 becomes class 1.
        image_ids: The images' official indices, whole numbers.

    Raises:
        InputError: The folder does not exist, or an id is no whole number.
    """
    _check_whole_ids(image_ids)
    corners = np.hstack([detections.box[:, :2], undo_sum(detections.box[:, 2:], 1.0)])
    columns = (detections.image.tolist(), detections.label.tolist(), detections.score.tolist(), corners.tolist())
    lines = [
        f"{image_ids[image]} {label + 1} {score!r} {x1!r} {y1!r} {x2!r} {y2!r}\n"
        for image, label, score, (x1, y1, x2, y2) in zip(*columns, strict=True)
    ]
    write_packed(path, "".join(lines).encode())


def read_blacklist(path: str | os.PathLike[str]) -> tuple[tuple[int, str], ...]:
    """Return the pairs of image index and WordNet id in ILSVRC's list of what is not evaluated.

    Raises:
        InputError: There is no such file.
        DataFormatError: A line is no such pair; the text names it.
    """
    pairs = []
    for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), start=1):
        words = line.split()
        if words and (len(words) != 2 or len(words[0]) > _MOST_DIGITS or not words[0].isdecimal()):
            raise DataFormatError(
                f"should be an image index and a class, got {line!r:.80}", path=path, place=f"line {number}"
            )
        if words:
            pairs.append((int(words[0]), words[1]))
    return tuple(pairs)


def blacklist_for(
    path: str | os.PathLike[str], image_ids: Sequence[int | str]
) -> tuple[tuple[tuple[int, str], ...], int]:
    """Return the pairs of ILSVRC's list of what is not evaluated, and how many of them are of these images.

    Args:
        path: See `read_blacklist`.
        image_ids: What the data set calls its images.

    Raises:
        InputError: There is no such file, or the images have no index, so that none can be meant.
        DataFormatError: A line is no such pair; the text names it.
    """
    pairs, ids = read_blacklist(path), set(image_ids)
    if pairs and not any(isinstance(image_id, int) for image_id in ids):
        raise InputError(f"{path} names images by their index, but these have none; give an --image-list with indices")
    return pairs, sum(image_id in ids for image_id, _ in pairs)


def _check_whole_ids(image_ids: Sequence[int | str]) -> None:
    for image_id in image_ids:
        if not isinstance(image_id, int) or abs(image_id) >= 10**_MOST_DIGITS:
            hint = ""
            if isinstance(image_id, str):
                hint = (
                    "; in a data set it stands behind each id of ImageSets/DET/<split>.txt, and with --image-list "
                    "behind each name of the list"
                )
            raise InputError(
                f"an ILSVRC file names images by their index, a whole number of at most {_MOST_DIGITS} digits, but one "
                f"of image_ids is {image_id!r:.60}{hint}"
            )


def _positions_of(values: NDArray[np.float64], indices: Sequence[int | str]) -> NDArray[np.int64]:
    """Return where in `indices` each value stands, -1 for those that do not."""
    if not indices:
        return np.full(len(values), -1)
    known = np.array(indices, np.int64)
    order = np.argsort(known)
    slot = np.minimum(np.searchsorted(known[order], values), len(known) - 1)
    return np.where(known[order[slot]] == values, order[slot], -1)


def _check_whole(lines: NumberLines, column: int, name: str) -> None:
    values = lines.values[:, column]
    wrong = values != np.floor(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise lines.broken(row, f"{name} should be a whole number, got {values[row]:g}")
