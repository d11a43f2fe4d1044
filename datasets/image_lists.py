"""Text files with one image a line: VOC's ImageSets/Main, ILSVRC's det_lists, and lists of class names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.base import Problems, is_inside
from inception_rcnn.datasets.reading.finding import path_parts
from inception_rcnn.datasets.reading.texts import decode_text
from inception_rcnn.structures import DataFormatError, GroundTruthTable
from inception_rcnn.structures.files import read_bytes

_LONGEST_NUMBER = 18  # digits; more are no index, and an array has no room for them
_LONGEST_ID = 1000  # characters; no system has files of longer names


def read_image_list(
    path: Path,
    problems: Problems,
    holds: Callable[[str], bool],
    *,
    numbered: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, int | None]:
    """Return the ids in the order of the file, each with the number behind it, None where there is none.

    An id may itself end in a number ("IMG 0001"). Such a line is one id if there is an image of that name, otherwise an
    id and a number; in a format that puts a number behind every id, it is the other way round.

    A path of another computer is cut to what lies in the data set's folder, where there is such an image.

    Args:
        path: The list, plain or packed by gzip.
        problems: Takes ids that are there twice or lead out of the data set's folder.
        holds: Whether there is an image of a name.
        numbered: The format puts a number behind every id.
        say: Is told the file if its encoding was guessed.

    Raises:
        DataFormatError: The file is no text, a line is too long for an id, or see `problems`; the text names the line.
    """
    entries: dict[str, int | None] = {}
    for number, line in _lines(path, say):
        image_id, value = split_line(line)
        whole = line.strip()
        if len(whole) > _LONGEST_ID:
            raise DataFormatError(
                f"the id {whole[:40]!r}... has {len(whole)} characters, and {_LONGEST_ID} are the most",
                path=path,
                place=f"line {number}",
            )
        if value is not None and is_inside(whole) and holds(whole) and not (numbered and holds(image_id)):
            image_id, value = whole, None
        tail = "/".join(path_parts(image_id))
        if tail != image_id and tail and not (is_inside(image_id) and holds(image_id)) and holds(tail):
            image_id = tail
        with problems.skipping():
            if not is_inside(image_id):
                raise DataFormatError(
                    f"the id {image_id!r} leads out of the data set's folder", path=path, place=f"line {number}"
                )
            if image_id in entries:
                raise DataFormatError(f"the id {image_id!r} is there twice", path=path, place=f"line {number}")
            entries[image_id] = value
    return entries


def split_line(line: str) -> tuple[str, int | None]:
    """Return the id and the number behind it: an index, or whether a class is there (1, 0, -1).

    >>> split_line("ILSVRC2012_val_00000006 2"), split_line("2007_000027  -1"), split_line("my cat")
    (('ILSVRC2012_val_00000006', 2), ('2007_000027', -1), ('my cat', None))
    """
    words = line.rsplit(maxsplit=1)
    if len(words) == 2 and len(words[1]) <= _LONGEST_NUMBER and words[1].removeprefix("-").isdecimal():
        return words[0].strip(), int(words[1])
    return line.strip(), None


def official_indices(numbers: Sequence[int | None]) -> tuple[int, ...] | None:
    """Return the numbers behind all ids of a list where they can be indices: one for each, all above 0 and different.

    >>> official_indices([2, 40]), official_indices([1, -1]), official_indices([1, None])
    ((2, 40), None, None)
    """
    found = tuple(number for number in numbers if number is not None and number >= 1)
    return found if len(set(found)) == len(numbers) else None


def read_class_list(path: Path, say: Callable[[str], None] | None = None) -> tuple[str, ...]:
    """Return the class names in a file with one a line.

    Args:
        path: The file.
        say: Is told the file if its encoding was guessed.

    Raises:
        DataFormatError: The file is no text, holds no name, or one twice.
    """
    names: dict[str, None] = {}
    for number, line in _lines(path, say):
        if line.strip() in names:
            raise DataFormatError(f"the class {line.strip()!r:.200} is there twice", path=path, place=f"line {number}")
        names[line.strip()] = None
    if not names:
        raise DataFormatError("should hold one class name a line, but is empty", path=path)
    return tuple(names)


def rows_of_first_objects(truth: GroundTruthTable, most: int, seen: NDArray[np.int64] | None = None) -> list[int]:
    """Return the images, in order, that show a class of which the images taken before have fewer than `most` objects.

    So a class has all its objects, or at least `most`; it has more where images show several, or others' objects too.

    Args:
        truth: Objects of a data set. Those to be ignored count for nothing.
        most: 1 or more.
        seen: (C,) how many there were of each class on images of other parts; those of the images taken are added.

    Source: R-CNN technical report v5, section 4, where val1 is joined by 1,000 boxes a class of the training set.
    """
    counted = truth[~truth.ignored]
    seen = np.zeros(len(truth.class_names), np.int64) if seen is None else seen
    rows = []
    order = np.argsort(counted.image, kind="stable")
    for labels, row in _runs(counted.label[order], counted.image[order]):
        if (seen[labels] < most).any():
            rows.append(row)
            np.add.at(seen, labels, 1)
    return rows


def _runs(labels: NDArray[np.int32], images: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int32], int]]:
    """Yield the labels of each image, and its number, by images in rising order."""
    for part in np.split(np.arange(len(images)), np.flatnonzero(np.diff(images)) + 1):
        if len(part):
            yield labels[part], int(images[part[0]])


def _lines(path: Path, say: Callable[[str], None] | None) -> Iterator[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers from 1."""
    text = decode_text(read_bytes(path), path, say)
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
