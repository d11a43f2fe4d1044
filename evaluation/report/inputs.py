"""What a report is made of: the figures of one evaluation and all they were computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.error_analysis import ErrorAnalysis
from inception_rcnn.evaluation.recall import ProposalRecall
from inception_rcnn.evaluation.results import EvaluationResult
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportInput:
    """One evaluation, ready to be shown.

    Args:
        title: What was evaluated on what, in one line.
        result: By the rules of its protocol, its `matches` included.
        class_names: What people call the classes, by position in `truths.class_names`; the two differ for ILSVRC,
            whose tables name classes by their WordNet ids.
        image_names: What people call the images, by position in `truths.image_ids`.
        truths: The objects.
        detections: What was found; positions in the image ids and class names of `truths`.
        errors: Of the same two tables; None if it was not computed.
        coverage: How many objects the proposals reach; None without proposals.
        seconds: By stage, over all images; empty if nothing was measured.
        photographs: Position of an image -> uint8 RGB (H, W, 3); None if no photographs are at hand.
        weights: The checkpoints, an ensemble's members in order; empty for detections from a file.
        settings: What else decided the figures, in words.
    """

    title: str
    result: EvaluationResult
    class_names: tuple[str, ...]
    image_names: tuple[str, ...]
    truths: GroundTruthTable
    detections: DetectionTable
    errors: ErrorAnalysis | None = None
    coverage: ProposalRecall | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    photographs: Callable[[int], NDArray[np.uint8]] | None = None
    weights: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
