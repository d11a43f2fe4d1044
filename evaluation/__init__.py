"""Detections and ground truth -> the numbers that say how good they are. Pure functions on arrays, no torch."""

from inception_rcnn.evaluation.average_precision import (
    area_under,
    eleven_points,
    hundred_and_one_points,
    precision_recall,
)
from inception_rcnn.evaluation.coco import CocoResult, evaluate_coco
from inception_rcnn.evaluation.comparison import ClassDifference, Comparison, PhotographDifference, compare
from inception_rcnn.evaluation.error_analysis import ErrorAnalysis, analyse_errors
from inception_rcnn.evaluation.explanation import Candidates, Explanation, explain
from inception_rcnn.evaluation.ilsvrc import evaluate_ilsvrc
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.evaluation.recall import ProposalRecall, proposal_recall, recall_by_size
from inception_rcnn.evaluation.results import (
    Evaluation,
    EvaluationResult,
    Matches,
    PrecisionRecallCurve,
    ScoreThreshold,
)
from inception_rcnn.evaluation.voc import evaluate_voc

__all__ = [
    "Candidates",
    "ClassDifference",
    "CocoResult",
    "Comparison",
    "ErrorAnalysis",
    "Evaluation",
    "EvaluationResult",
    "Explanation",
    "Matches",
    "PhotographDifference",
    "PrecisionRecallCurve",
    "ProposalRecall",
    "ScoreThreshold",
    "analyse_errors",
    "area_under",
    "compare",
    "eleven_points",
    "evaluate_by",
    "evaluate_coco",
    "evaluate_ilsvrc",
    "evaluate_voc",
    "explain",
    "hundred_and_one_points",
    "precision_recall",
    "proposal_recall",
    "recall_by_size",
]
