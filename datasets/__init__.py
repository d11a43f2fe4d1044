"""One file for each format: position -> (image, GroundTruth), boxes in the project's one convention. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Unpack

from inception_rcnn.datasets.base import AnnotatedDataset, ReadingOptions
from inception_rcnn.datasets.coco import CocoDataset, write_coco
from inception_rcnn.datasets.detections.base import DetectionFile
from inception_rcnn.datasets.detections.coco import read_coco_detections, write_coco_detections
from inception_rcnn.datasets.detections.ilsvrc import (
    read_blacklist,
    read_ilsvrc_detections,
    write_ilsvrc_detections,
)
from inception_rcnn.datasets.detections.voc import read_voc_detections, write_voc_detections
from inception_rcnn.datasets.folder import FolderDataset, write_folder
from inception_rcnn.datasets.ground_truth_file import read_ground_truth, write_ground_truth
from inception_rcnn.datasets.ilsvrc import IlsvrcDetDataset, write_ilsvrc
from inception_rcnn.datasets.reading.labelled_images import LabelledImages, open_labelled_images, open_labelled_part
from inception_rcnn.datasets.reading.layouts import FORMATS, likely_part, named_format, parts_of, tell_format
from inception_rcnn.datasets.voc import VOC_CLASSES, VocDataset, write_voc
from inception_rcnn.datasets.yolo import YoloDataset, write_yolo
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import DetectionDataset

__all__ = [
    "FORMATS",
    "VOC_CLASSES",
    "CocoDataset",
    "DetectionDataset",
    "DetectionFile",
    "FolderDataset",
    "IlsvrcDetDataset",
    "LabelledImages",
    "VocDataset",
    "YoloDataset",
    "likely_part",
    "named_format",
    "open_dataset",
    "open_labelled_images",
    "open_labelled_part",
    "parts_of",
    "read_blacklist",
    "read_coco_detections",
    "read_ground_truth",
    "read_ilsvrc_detections",
    "read_voc_detections",
    "tell_format",
    "write_coco",
    "write_coco_detections",
    "write_dataset",
    "write_folder",
    "write_ground_truth",
    "write_ilsvrc",
    "write_ilsvrc_detections",
    "write_voc",
    "write_voc_detections",
    "write_yolo",
]


def write_dataset(format: str, dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set in one of the formats that `open_dataset` reads; see `write_coco`, `write_voc` and the others.

    Args:
        format: One of `FORMATS`.
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: What to call this one.

    Raises:
        InputError: The format is unknown, the split is there already, or the format cannot hold what is in the set.
    """
    writers = {
        "coco": write_coco,
        "voc": write_voc,
        "ilsvrc": write_ilsvrc,
        "yolo": write_yolo,
        "folder": write_folder,
    }
    if format not in writers:
        raise InputError(f"data set format {format!r} is unknown; known: {', '.join(FORMATS)}")
    writers[format](dataset, root, split)


def open_dataset(
    data: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    **options: Unpack[ReadingOptions],
) -> AnnotatedDataset:
    """Return the data set of one split; its truth is read and checked, its images are opened when asked for.

    The format is told by what lies in the folder, unless it is named. ``dataset.summary``, which ``print(dataset)``
    shows, says in a line what was understood; ``dataset.notes`` what was odd.

    Args:
        data: The folder, or COCO's JSON or YOLO's YAML; or, if `root` is given, the format alone: ``"coco"``,
            ``"voc"``, ``"ilsvrc"``, ``"yolo"`` or ``"folder"``. Both in one: ``"voc:VOC2007"``.
        root: The folder; see `CocoDataset`, `VocDataset`, `IlsvrcDetDataset`, `YoloDataset`, `FolderDataset` for what
            is where.
        split: Which part; None where there is only one, or for a folder without parts.
        options: `skip_broken` leaves out what is broken and counts it in `skipped`, instead of stopping at the first;
            `strict` refuses boxes that leave their photographs, instead of clipping them; `origin`, 0 or 1, is what the
            annotations call the first pixel, where that is not the format's; `exif`, "stored" or "upright", how the
            photographs were seen when boxes were drawn, where width and height do not tell.

    Raises:
        InputError: The format is unknown, there is no such folder or split, or a split is needed.
        DataFormatError: The data set is broken; the text names the file and the place in it.
    """
    format, path = named_format(data) if root is None else (os.fspath(data), Path(root))
    format = tell_format(path) if format is None else format
    if format not in FORMATS:
        raise InputError(f"data set format {format!r} is unknown; known: {', '.join(FORMATS)}")
    if format == "ilsvrc":
        split = split or likely_part(format, path, "val")
        if split is None:
            raise InputError(f"a data set of format {format!r} needs the name of a split, such as 'val'")
        return IlsvrcDetDataset(path, split, **options)
    readers = {"coco": CocoDataset, "voc": VocDataset, "yolo": YoloDataset, "folder": FolderDataset}
    return readers[format](path, split, **options)
