"""Region warp, region classifier, ensemble, post-processing, checkpoints, training: the detector itself.

`pipeline.py` has one image's way on a page; `training/` makes the weights.
"""

from inception_rcnn.backbones.runtime import Runtime, choose_runtime, keep_freed_memory
from inception_rcnn.detector.checkpoints import load_region_classifier, save_region_classifier
from inception_rcnn.detector.dataset_inference import evaluate_detector
from inception_rcnn.detector.ensemble import Ensemble, MemberScores, RegionScores
from inception_rcnn.detector.loading import load_detector
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.postprocessing import DetectionSettings
from inception_rcnn.detector.region_classifier import ClassifierDescription, PooledClassifier, RegionClassifier
from inception_rcnn.detector.region_pooling import PooledNetwork, PoolingSpec
from inception_rcnn.detector.region_warp import warp_regions
from inception_rcnn.detector.tiling import TileSettings, detect_in_tiles
from inception_rcnn.proposals.proposer import ProposalSettings
from inception_rcnn.structures.progress import StageClock

__all__ = [
    "ClassifierDescription",
    "DetectionSettings",
    "Detector",
    "Ensemble",
    "MemberScores",
    "PooledClassifier",
    "PooledNetwork",
    "PoolingSpec",
    "ProposalSettings",
    "RegionClassifier",
    "RegionScores",
    "Runtime",
    "StageClock",
    "TileSettings",
    "choose_runtime",
    "detect_in_tiles",
    "evaluate_detector",
    "keep_freed_memory",
    "load_detector",
    "load_region_classifier",
    "save_region_classifier",
    "warp_regions",
]
