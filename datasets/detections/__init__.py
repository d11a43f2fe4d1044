"""Detections in whichever format a file has: ILSVRC's, VOC's, COCO's, YOLO's, mAP's, or one of our own two."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from inception_rcnn.datasets.archive.shards import is_archive_run, read_entries
from inception_rcnn.datasets.archive.storage import Location
from inception_rcnn.datasets.class_matching import class_positions, known_classes
from inception_rcnn.datasets.detections.base import DetectionFile, box_notes
from inception_rcnn.datasets.detections.coco import corner_note, read_coco_detections, root_note, write_coco_detections
from inception_rcnn.datasets.detections.detect_json import detections_of_entries, is_detect_json, read_detect_json
from inception_rcnn.datasets.detections.ilsvrc import read_ilsvrc_detections, write_ilsvrc_detections
from inception_rcnn.datasets.detections.photograph_files import photograph_file_format, read_photograph_files
from inception_rcnn.datasets.detections.stored import is_stored_detections, read_stored_detections
from inception_rcnn.datasets.detections.voc import class_of_file, read_voc_detections, write_voc_detections
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError
from inception_rcnn.structures.detections import DetectionTable

DETECTION_FORMATS: Final = ("ilsvrc", "voc", "coco", "stored", "detect", "archive", "yolo", "map")


def detection_format(path: str | os.PathLike[str], usual: str, class_names: Sequence[str]) -> str:
    """Return the format of a file or folder of detections: one of `DETECTION_FORMATS`.

    Args:
        path: A folder with a `run.json` has what an archive's run found; else it is VOC's if a file in it is named
            ``<anything>_<class>.txt``, else YOLO's or mAP's if it has a text file for each photograph; JSON is what
            `detect --json` writes, or COCO's if it is a list; a text VOC's if its name ends in ``_<class>.txt``, packed
            or not.
        usual: The data set's own format, for all else: ``"folder"`` and ``"voc"`` stand for VOC's.
        class_names: Names of the data set's classes.
    """
    file = Path(path)
    if file.is_dir():
        if is_archive_run(str(file)):
            return "archive"
        of_classes = any(class_of_file(one, class_names) is not None for one in file.iterdir())
        return "voc" if of_classes else photograph_file_format(file, class_names) or "voc"
    if is_stored_detections(file):
        return "stored"
    start = _start(file)
    if is_detect_json(start):
        return "detect"
    if start[:1] == b"[":
        return "coco"
    if class_of_file(file, class_names) is not None:
        return "voc"
    return usual if usual in ("ilsvrc", "coco") else "voc"


def read_detections(
    path: str | os.PathLike[str],
    ground_truth: GroundTruthTable,
    usual: str,
    *,
    skip_unknown: bool = False,
) -> DetectionFile:
    """Return the detections in a file or folder, as positions in the images and classes of the ground truth.

    Args:
        path: Plain or packed by gzip; see `detection_format`.
        ground_truth: What it is to be compared with.
        usual: The data set's format.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.

    Raises:
        InputError: There is no such file, or it was stored for fewer images or none of the classes.
        DataFormatError: It is broken, or has detections of other images; the text names the place.
    """
    format = detection_format(path, usual, ground_truth.class_names)
    read = _read(path, ground_truth, format, skip_unknown=skip_unknown)
    notes = list(read.notes)
    if format == "coco":
        notes += [*corner_note(read.detections, ground_truth), *root_note(read.detections, ground_truth)]
    notes += [] if notes else box_notes(read.detections, ground_truth)
    return replace(read, notes=tuple(f"{Path(path).name}: {note}" for note in notes))


def _read(
    path: str | os.PathLike[str], ground_truth: GroundTruthTable, format: str, *, skip_unknown: bool
) -> DetectionFile:
    """Return the detections in a file or folder of a known format."""
    images, names, categories = ground_truth.image_ids, ground_truth.class_names, ground_truth.category_ids
    if format == "ilsvrc":
        return read_ilsvrc_detections(path, images, len(names), skip_unknown=skip_unknown)
    if format == "voc":
        return read_voc_detections(path, images, names, skip_unknown=skip_unknown)
    if format == "coco":
        return read_coco_detections(path, images, categories, skip_unknown=skip_unknown)
    if format == "detect":
        return read_detect_json(path, ground_truth, skip_unknown=skip_unknown)
    if format == "archive":
        return _read_archive(Path(path), ground_truth, skip_unknown=skip_unknown)
    if format in ("yolo", "map"):
        return read_photograph_files(path, ground_truth, format, skip_unknown=skip_unknown)
    return _read_stored(Path(path), ground_truth, skip_unknown=skip_unknown)


def _read_archive(path: Path, truth: GroundTruthTable, *, skip_unknown: bool) -> DetectionFile:
    """Return what an archive's run found; photographs that it could not read are counted."""
    unread: list[str] = []

    def seen() -> Iterator[tuple[str, dict[str, Any]]]:
        for place, entry in read_entries(Location(str(path))):
            if "error" in entry:
                unread.append(entry["error"])
            else:
                yield place, entry

    read = detections_of_entries(path, seen(), truth, skip_unknown=skip_unknown)
    return replace(read, notes=(*read.notes, *_unread_note(unread)))


def _unread_note(unread: Sequence[str]) -> tuple[str, ...]:
    """Return a line on photographs that could not be read; none where all could."""
    if not unread:
        return ()
    said = f"{len(unread)} photographs could not be read when it was made, so their objects are missed: {unread[:1]}"
    return (said,)


def write_detections(
    path: str | os.PathLike[str], detections: DetectionTable, ground_truth: GroundTruthTable, format: str
) -> None:
    """Write detections in a data set's own format: ``"ilsvrc"`` and ``"coco"`` a file, else VOC's files in a folder.

    Raises:
        InputError: See the writers of the formats.
    """
    if format == "ilsvrc":
        write_ilsvrc_detections(path, detections, ground_truth.image_ids)
    elif format == "coco":
        write_coco_detections(path, detections, ground_truth.image_ids, ground_truth.category_ids)
    else:
        Path(path).mkdir(parents=True, exist_ok=True)
        write_voc_detections(path, detections, ground_truth.image_ids, ground_truth.class_names)


def _read_stored(path: Path, ground_truth: GroundTruthTable, *, skip_unknown: bool) -> DetectionFile:
    stored, truth = read_stored_detections(path), ground_truth
    known = known_classes(stored.class_names, ground_truth)
    position_of = {image_id: position for position, image_id in enumerate(truth.image_ids)}
    lacking = position_of.keys() - set(stored.image_ids)
    if lacking:
        raise InputError(
            f"{path} lacks {len(lacking)} of the {len(position_of)} images, such as "
            f"{min(lacking, key=str)}; --image-list or --limit chooses images"
        )
    image = np.array([position_of.get(image_id, -1) for image_id in stored.image_ids], np.int32)
    if not skip_unknown and (image < 0).any():
        other = stored.image_ids[int(np.argmin(image))]
        raise DataFormatError(
            f"the image {other} is not in the list of images (--skip-broken or skip_unknown=True leaves it out)",
            path=path,
        )
    table = stored.table(class_positions(stored.class_names, truth.class_names, truth.display_names))
    place = image[table.image]
    kept = table[place >= 0]
    moved = DetectionTable(place[place >= 0], kept.label, kept.score, kept.box)
    unread = [reason for image_id, reason in stored.unread if image_id in position_of]
    return DetectionFile(moved, len(table) - len(kept), known, _unread_note(unread))


def _start(path: Path) -> bytes:
    """Return the first bytes of a file from one that is no space, unpacked if packed by gzip; empty without any."""
    if not path.is_file():
        return b""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except (OSError, EOFError, zlib.error):
        return b""  # the reader says what is wrong
