"""GoogLeNet as a torch module, its weights, its preprocessing. Knows nothing of detection; stands alone."""

from inception_rcnn.backbones.body import GoogLeNetBody, googlenet_body
from inception_rcnn.backbones.checkpoints import (
    Checkpoint,
    load_into,
    read_checkpoint,
    read_description,
    write_checkpoint,
)
from inception_rcnn.backbones.classification import Classifier, CropAccuracy, crop_accuracies, over_crops
from inception_rcnn.backbones.crops import CROP_COUNTS, Crop, crop_plan, cut_crops
from inception_rcnn.backbones.inception import (
    INCEPTION_TABLE,
    MAPS,
    STAGES,
    VARIANTS,
    GoogLeNet,
    Inception,
    InceptionWidths,
    LocalResponseNorm,
    NaiveInception,
    stages_between,
)
from inception_rcnn.backbones.preprocessing import CAFFE_INPUT, SYMMETRIC_INPUT, InputSpec
from inception_rcnn.backbones.weights import googlenet, network_of, read_state

__all__ = [
    "CAFFE_INPUT",
    "CROP_COUNTS",
    "INCEPTION_TABLE",
    "MAPS",
    "STAGES",
    "SYMMETRIC_INPUT",
    "VARIANTS",
    "Checkpoint",
    "Classifier",
    "Crop",
    "CropAccuracy",
    "GoogLeNet",
    "GoogLeNetBody",
    "Inception",
    "InceptionWidths",
    "InputSpec",
    "LocalResponseNorm",
    "NaiveInception",
    "crop_accuracies",
    "crop_plan",
    "cut_crops",
    "googlenet",
    "googlenet_body",
    "load_into",
    "network_of",
    "over_crops",
    "read_checkpoint",
    "read_description",
    "read_state",
    "stages_between",
    "write_checkpoint",
]
