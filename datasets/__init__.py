"""One file for each format: position -> (image, GroundTruth), boxes in the project's one convention. No torch."""

from __future__ import annotations

import os
from typing import Final

from inception_rcnn.datasets.base import AnnotatedDataset
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
from inception_rcnn.datasets.voc import VOC_CLASSES, VocDataset, write_voc
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
    "VocDataset",
    "open_dataset",
    "read_blacklist",
    "read_coco_detections",
    "read_ground_truth",
    "read_ilsvrc_detections",
    "read_voc_detections",
    "write_coco",
    "write_coco_detections",
    "write_folder",
    "write_ground_truth",
    "write_ilsvrc",
    "write_ilsvrc_detections",
    "write_voc",
    "write_voc_detections",
]

FORMATS: Final = ("coco", "voc", "ilsvrc", "folder")
"""What `open_dataset` reads."""


def open_dataset(
    format: str, root: str | os.PathLike[str], split: str | None, *, skip_broken: bool = False
) -> AnnotatedDataset:
    """Return the data set of one split; its truth is read and checked, its images are opened when asked for.

    Args:
        format: ``"coco"``, ``"voc"``, ``"ilsvrc"`` or ``"folder"``.
        root: The folder; see `CocoDataset`, `VocDataset`, `IlsvrcDetDataset`, `FolderDataset` for what is where.
        split: Which part; None for a plain folder without parts.
        skip_broken: Leave out what is broken and count it in `skipped`, instead of stopping at the first.

    Raises:
        InputError: The format is unknown, there is no such folder or split, or a split is needed.
        DataFormatError: The data set is broken; the text names the file and the place in it.
    """
    if format == "folder":
        return FolderDataset(root, split, skip_broken=skip_broken)
    if format not in FORMATS:
        raise InputError(f"data set format {format!r} is unknown; known: {', '.join(FORMATS)}")
    if split is None:
        raise InputError(f"a data set of format {format!r} needs the name of a split, such as 'val'")
    if format == "voc":
        return VocDataset(root, split, skip_broken=skip_broken)
    if format == "ilsvrc":
        return IlsvrcDetDataset(root, split, skip_broken=skip_broken)
    return CocoDataset(root, split, skip_broken=skip_broken)
