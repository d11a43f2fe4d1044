"""Detections and ground truth -> the numbers that say how good they are. Pure functions on arrays, no torch."""

from inception_rcnn.evaluation.coco_map import CocoResult, evaluate_coco
from inception_rcnn.evaluation.coverage import ProposalRecall, proposal_recall
from inception_rcnn.evaluation.score_threshold import ScoreThreshold, best_f1_threshold

__all__ = [
    "CocoResult",
    "ProposalRecall",
    "ScoreThreshold",
    "best_f1_threshold",
    "evaluate_coco",
    "proposal_recall",
]
