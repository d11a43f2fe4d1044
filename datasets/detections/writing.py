"""Writers of detections for evaluation servers, in the formats that `detection_files` reads.

Numbers are written with all their digits, so reading them again gives the very same detections; what is given is never
clipped, rounded, sorted or left out.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inception_rcnn.structures import InputError, write_whole
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable


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
    for image_id in image_ids:
        if not isinstance(image_id, int):
            raise InputError(f"an ILSVRC file names images by their index, but one of image_ids is {image_id!r}")
    corners = np.hstack([detections.box[:, :2], undo_sum(detections.box[:, 2:], 1.0)])
    columns = (detections.image.tolist(), detections.label.tolist(), detections.score.tolist(), corners.tolist())
    lines = [
        f"{image_ids[image]} {label + 1} {score!r} {x1!r} {y1!r} {x2!r} {y2!r}\n"
        for image, label, score, (x1, y1, x2, y2) in zip(*columns, strict=True)
    ]
    _write(path, "".join(lines))


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
        InputError: The folder does not exist, or an id has a space in it.
    """
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
        _write(Path(folder) / f"{prefix}_{name}.txt", "".join(lines))


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
    _write(path, json.dumps(records, separators=(",", ":")))


def _write(path: str | os.PathLike[str], text: str) -> None:
    data = text.encode()
    write_whole(path, gzip.compress(data, mtime=0) if os.fspath(path).endswith(".gz") else data)
