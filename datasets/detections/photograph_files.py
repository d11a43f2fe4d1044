"""Detections in a folder with a text file for each photograph, as YOLO's trainers and Cartucho's mAP have them.

A line of YOLO's is ``<class from 0> <centre x> <centre y> <width> <height> <confidence>``, all but the first in shares
of the photograph; one of mAP's ``<class name> <confidence> <left> <top> <right> <bottom>`` in pixels. ``cat.txt``
belongs to the photograph ``cat.jpg``. A photograph without a file has no detections.

Source: Ultralytics' documentation, "Predict" (``save_txt=True, save_conf=True``); README of github.com/Cartucho/mAP.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.detections.base import DetectionFile
from inception_rcnn.datasets.detections.image_names import ImageNames
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import read_bytes

_LARGEST_SHARE = 1.5  # beyond what a box that reaches out of the photograph a little may have


class _Line(NamedTuple):
    """A line: where it stands, its class, and its five numbers in the order in which they stand."""

    path: Path
    number: int
    name: str
    values: tuple[float, ...]

    def error(self, message: str) -> DataFormatError:
        return DataFormatError(message, path=self.path, place=f"line {self.number}")


def photograph_file_format(folder: Path, class_names: Sequence[str]) -> str | None:
    """Return which format the text files of a folder have: "yolo", "map", or None where neither is recognised.

    Args:
        folder: Its files are looked at up to the first that has a line.
        class_names: Of the data set; a class may be called "7".
    """
    for path in sorted(folder.glob("*.txt")):
        words = next((line.split() for line in _text(path).splitlines() if line.strip()), None)
        if words is None:
            continue
        numbers = [_number(word) is not None for word in words]
        if len(words) in (5, 6) and all(numbers) and words[0] not in class_names:
            return "yolo"
        return "map" if len(words) >= 6 and all(numbers[-5:]) else None
    return None


def read_photograph_files(
    folder: str | os.PathLike[str], ground_truth: GroundTruthTable, format: str, *, skip_unknown: bool = False
) -> DetectionFile:
    """Return the detections of such a folder.

    Args:
        folder: With a text file for each photograph.
        ground_truth: Whose images and classes are meant.
        format: "yolo" or "map".
        skip_unknown: Leave out files of other images and count their detections, instead of stopping at the first.

    Raises:
        InputError: There is no such folder.
        DataFormatError: A line is broken, a class unknown, or a file of another image; the text names file and line.
    """
    finder = ImageNames(ground_truth)
    image, label, score, box = [], [], [], []
    dropped = 0
    for path in sorted(Path(folder).glob("*.txt")):
        lines = _lines(path, format)
        try:
            position = finder.position(path.stem)
        except InputError as error:
            raise DataFormatError(str(error), path=path) from error
        if position < 0 and lines and not skip_unknown:
            raise DataFormatError(
                f"is of none of the {len(ground_truth.image_ids)} images, going by its name (--skip-broken or "
                "skip_unknown=True leaves such files out)",
                path=path,
            )
        if position < 0:
            dropped += len(lines)
            continue
        for line in lines:
            image.append(position)
            label.append(_label(line, ground_truth, format))
            score.append(line.values[-1] if format == "yolo" else line.values[0])
            box.append(_from_shares(line, ground_truth, position) if format == "yolo" else line.values[1:])
    table = DetectionTable(
        np.array(image, np.int32), np.array(label, np.int32), np.array(score, np.float64), np.array(box).reshape(-1, 4)
    )
    return DetectionFile(table, dropped)


def _lines(path: Path, format: str) -> list[_Line]:
    """Return the lines of a file, checked."""
    lines = []
    for number, text in enumerate(_text(path).splitlines(), start=1):
        if not (words := text.split()):
            continue
        place = _Line(path, number, "", ())
        if format == "yolo" and len(words) == 5:
            raise place.error("has no confidence behind the box; let the detector write it (save_conf=True)")
        values = [_number(word) for word in words[-5:]]
        if len(words) < 6 or (format == "yolo" and len(words) > 6) or None in values:
            expected = "class x y width height confidence" if format == "yolo" else "class confidence x1 y1 x2 y2"
            raise place.error(f"should be {expected}, the last five finite numbers, got {text.strip()!r:.80}")
        lines.append(place._replace(name=" ".join(words[:-5]), values=tuple(v for v in values if v is not None)))
    return lines


def _label(line: _Line, truth: GroundTruthTable, format: str) -> int:
    """Return which class a line means."""
    if format == "yolo":
        if not line.name.isdecimal() or int(line.name) >= len(truth.class_names):
            raise line.error(f"the class should be in 0..{len(truth.class_names) - 1}, got {line.name}")
        return int(line.name)
    label = int(class_positions([line.name], truth.class_names, truth.display_names)[0])
    if label < 0:
        raise line.error(f"the class {line.name!r} is none of the {len(truth.class_names)} of the ground truth")
    return label


def _from_shares(line: _Line, truth: GroundTruthTable, position: int) -> tuple[float, ...]:
    """Return corners in pixels of a box in shares of the photograph."""
    width, height = truth.sizes[position]
    if width is None or height is None:
        raise line.error(
            f"boxes are in shares of the photograph, and the ground truth does not have the size of "
            f"{truth.image_names[position]}"
        )
    x, y, across, down = line.values[:4]
    if max(map(abs, (x, y, across, down))) > _LARGEST_SHARE:
        raise line.error(f"box should be in shares of the photograph, 0 to 1, got {x:g} {y:g} {across:g} {down:g}")
    return (x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height


def _text(path: Path) -> str:
    return read_bytes(path).decode("utf-8-sig", "replace")


def _number(word: str) -> float | None:
    """Return a finite number, None for what is none."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in word else None
