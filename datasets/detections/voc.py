"""Detections as PASCAL VOC's evaluation takes them: a text file for each class, ``<anything>_<class>.txt``.

A line is ``<image id> <score> <xmin> <ymin> <xmax> <ymax>``, inclusive pixels from 1. An id may have spaces.

Source: the development kit of VOC2012, section 8.2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from inception_rcnn.datasets.detections.base import DetectionFile, read_number_lines, select_known
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import write_packed

_WORDS: Final = ("image", "score", "xmin", "ymin", "xmax", "ymax")


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
    files = _files_by_class(Path(path), class_names)
    labels = [label for label, name in enumerate(class_names) if name in files]
    parts = [_read_class(files[class_names[label]], label, position_of, skip_unknown) for label in labels]
    tables = [part.detections for part in parts]
    joined = DetectionTable(
        np.concatenate([table.image for table in tables]),
        np.concatenate([table.label for table in tables]),
        np.concatenate([table.score for table in tables]),
        np.concatenate([table.box for table in tables]),
    )
    return DetectionFile(joined, sum(part.dropped for part in parts))


def write_voc_detections(
    folder: str | os.PathLike[str],
    detections: DetectionTable,
    image_ids: Sequence[int | str],
    class_names: Sequence[str],
    *,
    prefix: str = "comp4_det_test",
) -> None:
    """Write a VOC result file for each class, ``<prefix>_<class>.txt``, those of classes without detections empty.

    Args:
        folder: Where to; it must exist.
        detections: Of all classes.
        image_ids: The images' ids, without spaces.
        class_names: Names of all classes.
        prefix: How the files' names begin; as the development kit names its fourth competition, if not given.

    Raises:
        InputError: The folder does not exist, an id has a space in it, or a class's name leads to another folder.
    """
    for name in class_names:
        if any(sign in name for sign in "/\\\0"):
            raise InputError(f"cannot name a file after the class {name!r:.80}: rename it, without / and \\")
    for image_id in image_ids:
        if len(str(image_id).split()) != 1:
            raise InputError(f"a VOC file has ids without spaces, but one of image_ids is {image_id!r}")
    corners = np.hstack([undo_sum(detections.box[:, :2], -1.0), detections.box[:, 2:]])
    for label, name in enumerate(class_names):
        mine = detections.label == label
        columns = (detections.image[mine].tolist(), detections.score[mine].tolist(), corners[mine].tolist())
        lines = [
            f"{image_ids[image]} {score!r} {x1!r} {y1!r} {x2!r} {y2!r}\n"
            for image, score, (x1, y1, x2, y2) in zip(*columns, strict=True)
        ]
        write_packed(Path(folder) / f"{prefix}_{name}.txt", "".join(lines).encode())


def class_of_file(path: Path, class_names: Sequence[str]) -> str | None:
    """Return the class whose results a file holds by its name; of "cat" and "big_cat" the longest that fits is meant.

    >>> class_of_file(Path("comp4_det_val_big_cat.txt.gz"), ["cat", "big_cat"]), class_of_file(Path("a.txt"), ["cat"])
    ('big_cat', None)
    """
    stem = path.name.removesuffix(".gz")
    if not stem.endswith(".txt"):
        return None
    fitting = [name for name in class_names if f"_{stem.removesuffix('.txt')}".endswith(f"_{name}")]
    return max(fitting, key=len, default=None)


def _read_class(file: Path, label: int, position_of: dict[str, int], skip_unknown: bool) -> DetectionFile:
    """Return the detections of one class."""
    lines = read_number_lines(file, _WORDS, named=True, spaced=any(" " in name for name in position_of))
    return select_known(
        np.array([position_of.get(name, -1) for name in lines.names], np.int64),
        np.full(len(lines.names), label),
        lines.values[:, 0],
        lines.values[:, 1:] - np.array([1.0, 1.0, 0.0, 0.0]),
        skip_unknown=skip_unknown,
        error=lines.broken,
        name=lambda row: repr(lines.names[row]) if " " in lines.names[row] else lines.names[row],
    )


def _files_by_class(path: Path, class_names: Sequence[str]) -> dict[str, Path]:
    """Return the file of each class that has one."""
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        name = class_of_file(file, class_names)
        if name in files:
            raise InputError(f"{path} has two files for the class {name!r}: {files[name].name} and {file.name}")
        if name is not None:
            files[name] = file
    if not files:
        raise InputError(f"{path} holds no results: no file is named <anything>_<class>.txt with one of the classes")
    return files
