"""One file for each format: position -> (image, GroundTruth), boxes in the project's one convention. No torch."""

from inception_rcnn.datasets.coco import CocoDataset
from inception_rcnn.datasets.folder import FolderDataset
from inception_rcnn.datasets.ilsvrc import IlsvrcDetDataset
from inception_rcnn.datasets.interface import DetectionDataset
from inception_rcnn.datasets.opening import FORMATS, open_dataset
from inception_rcnn.datasets.voc import VOC_CLASSES, VocDataset
from inception_rcnn.datasets.writers import write_coco, write_folder, write_ilsvrc, write_voc

__all__ = [
    "FORMATS",
    "VOC_CLASSES",
    "CocoDataset",
    "DetectionDataset",
    "FolderDataset",
    "IlsvrcDetDataset",
    "VocDataset",
    "open_dataset",
    "write_coco",
    "write_folder",
    "write_ilsvrc",
    "write_voc",
]
