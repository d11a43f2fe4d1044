"""What a detector found in a data set, scored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.datasets.detections.stored import StoredDetections
from inception_rcnn.evaluation import (
    EvaluationResult,
    ProposalRecall,
    ScoreThreshold,
    best_f1_threshold,
    proposal_recall,
)
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.structures import Detections, GroundTruth, GroundTruthTable, Proposals
from inception_rcnn.structures.detections import DetectionTable


@dataclass(frozen=True, eq=False)
class SetEvaluation:
    """How good one run over a set is.

    Attributes:
        result: AP by the rules of a protocol.
        detections: what was scored: those of the data set's classes.
        threshold: the score threshold with the best mean F1.
    """

    result: EvaluationResult
    detections: DetectionTable
    threshold: ScoreThreshold


def evaluate_stored(
    stored: StoredDetections,
    truth: GroundTruthTable,
    *,
    protocol: str,
    blacklist: Collection[tuple[int | str, str]] = (),
) -> list[SetEvaluation]:
    """The score of every run: of all networks averaged, then perhaps of each alone.

    Classes of the detector that the data set does not have are left out; classes of the data set that the detector does
    not know have no detections.

    Args:
        stored: of the images of `truth`, in the same order.
        truth: the objects.
        protocol: one of `evaluation.protocols.PROTOCOLS`.
        blacklist: pairs of image id and class name that are not evaluated.
    """
    labels = class_positions(stored.class_names, truth.class_names, truth.display_names)
    truths = ground_truths_of(truth)
    evaluations = []
    for number in range(len(stored.runs)):
        table = stored.table(labels, number)
        result = evaluate_by(protocol, truth, table, blacklist=blacklist)
        evaluations.append(SetEvaluation(result, table, best_f1_threshold(truths, _by_image(table, truth))))
    return evaluations


def region_recall(stored: StoredDetections, truth: GroundTruthTable) -> ProposalRecall:
    """What share of the objects the classified regions cover; see `proposal_recall`."""
    falling = [np.linspace(1, 0, len(boxes), dtype=np.float32) for boxes in stored.regions]
    proposals = [Proposals(boxes, scores) for boxes, scores in zip(stored.regions, falling, strict=True)]
    return proposal_recall(ground_truths_of(truth), proposals)


def ground_truths_of(truth: GroundTruthTable) -> list[GroundTruth]:
    """The objects, image by image."""
    table = truth
    return [
        GroundTruth(
            table.box[rows].astype(np.float32),
            table.label[rows].astype(np.int64),
            table.class_names,
            table.ignored[rows],
        )
        for rows in _rows_by_image(table.image, len(table.image_ids))
    ]


def _by_image(table: DetectionTable, truth: GroundTruthTable) -> list[Detections]:
    names = truth.class_names
    return [
        Detections.ordered(table.box[rows], table.score[rows], table.label[rows], names)
        for rows in _rows_by_image(table.image, len(truth.image_ids))
    ]


def _rows_by_image(image: npt.NDArray[np.int32], images: int) -> list[npt.NDArray[np.int64]]:
    """Which rows each image has, in their order."""
    order = np.argsort(image, kind="stable")
    return np.split(order, np.searchsorted(image[order], np.arange(1, images)))
