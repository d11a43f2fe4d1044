"""One file for each format: position -> (image, GroundTruth), boxes in the project's one convention. No torch."""

from inception_rcnn.datasets.coco import CocoDataset

__all__ = ["CocoDataset"]
