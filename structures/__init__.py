"""What travels between the rooms, and what all rooms stand on; nothing here knows a network, and nothing needs torch.

Images, boxes, proposals, detections, ground truth, the protocol of a data set; non-maximum suppression, compiled
kernels, checked files, resumable jobs, progress, errors.
"""

from inception_rcnn.structures.boxes import (
    as_boxes,
    box_area,
    clip_boxes,
    pairwise_iou,
)
from inception_rcnn.structures.detections import Detection, DetectionRecord, Detections, DetectionTable
from inception_rcnn.structures.drawing import (
    class_colour,
    draw_boxes,
    draw_detections,
    draw_ranking,
    picture_files,
    write_picture,
)
from inception_rcnn.structures.errors import (
    CheckpointError,
    DataFormatError,
    ImageError,
    InceptionError,
    InputError,
    MissingDependencyError,
)
from inception_rcnn.structures.files import sha256_of, write_json, write_whole
from inception_rcnn.structures.ground_truth import AnnotatedObject, GroundTruth, GroundTruthTable
from inception_rcnn.structures.images import ImageSource, check_rgb, load_image, resize_image
from inception_rcnn.structures.progress import ProgressBar, progress_bar
from inception_rcnn.structures.proposals import Proposal, Proposals
from inception_rcnn.structures.suppression import nms, nms_per_class, one_name_each

__all__ = [
    "AnnotatedObject",
    "CheckpointError",
    "DataFormatError",
    "Detection",
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
    "Proposal",
    "Proposals",
    "as_boxes",
    "box_area",
    "check_rgb",
    "class_colour",
    "clip_boxes",
    "draw_boxes",
    "draw_detections",
    "draw_ranking",
    "load_image",
    "nms",
    "nms_per_class",
    "one_name_each",
    "pairwise_iou",
    "picture_files",
    "progress_bar",
    "resize_image",
    "sha256_of",
    "write_json",
    "write_picture",
    "write_whole",
]
