"""One file for each format: position -> (image, GroundTruth), boxes in the project's one convention. No torch."""

from inception_rcnn.datasets.coco import CocoDataset
from inception_rcnn.datasets.detections.base import (
    DetectionFile,
    read_blacklist,
    read_coco_detections,
    read_ilsvrc_detections,
    read_voc_detections,
)
from inception_rcnn.datasets.detections.writing import (
    write_coco_detections,
    write_ilsvrc_detections,
    write_voc_detections,
)
from inception_rcnn.datasets.folder import FolderDataset
from inception_rcnn.datasets.ground_truth_file import read_ground_truth, write_ground_truth
from inception_rcnn.datasets.ilsvrc import IlsvrcDetDataset
from inception_rcnn.datasets.opening import FORMATS, open_dataset
from inception_rcnn.datasets.voc import VOC_CLASSES, VocDataset
from inception_rcnn.datasets.writing import write_coco, write_folder, write_ilsvrc, write_voc
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
