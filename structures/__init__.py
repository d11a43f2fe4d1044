"""What travels between the rooms: images, boxes, proposals, detections, ground truth, and the errors they raise.

NumPy and Pillow only; nothing here knows a network.
"""

from inception_rcnn.structures.annotated_pictures import picture_files, write_picture
from inception_rcnn.structures.boxes import (
    as_boxes,
    box_area,
    clip_boxes,
    pairwise_iou,
    scale_boxes,
    unique_boxes,
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from inception_rcnn.structures.detections import DetectionRecord, Detections, DetectionTable
from inception_rcnn.structures.drawing import class_colour, draw_boxes, draw_detections
from inception_rcnn.structures.errors import (
    CheckpointError,
    DataFormatError,
    ImageError,
    InceptionError,
    InputError,
    MissingDependencyError,
)
from inception_rcnn.structures.files import sha256_of, write_json, write_whole
from inception_rcnn.structures.ground_truth import GroundTruth, GroundTruthTable
from inception_rcnn.structures.images import ImageSource, check_rgb, load_image, resize_image
from inception_rcnn.structures.progress import ProgressBar, progress_bar
from inception_rcnn.structures.proposals import Proposals
from inception_rcnn.structures.suppression import nms, nms_per_class

__all__ = [
    "CheckpointError",
    "DataFormatError",
    "DetectionRecord",
    "DetectionTable",
    "Detections",
    "GroundTruth",
    "GroundTruthTable",
    "ImageError",
    "ImageSource",
    "InceptionError",
    "InputError",
    "MissingDependencyError",
    "ProgressBar",
    "Proposals",
    "as_boxes",
    "box_area",
    "check_rgb",
    "class_colour",
    "clip_boxes",
    "draw_boxes",
    "draw_detections",
    "load_image",
    "nms",
    "nms_per_class",
    "pairwise_iou",
    "picture_files",
    "progress_bar",
    "resize_image",
    "scale_boxes",
    "sha256_of",
    "unique_boxes",
    "write_json",
    "write_picture",
    "write_whole",
    "xywh_to_xyxy",
    "xyxy_to_xywh",
]
