"""A detector run over a whole data set, and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inception_rcnn.detector.ensemble import average
from inception_rcnn.detector.pipeline import Detector
from inception_rcnn.detector.stage_clock import StageClock
from inception_rcnn.evaluation import (
    CocoResult,
    ProposalRecall,
    ScoreThreshold,
    best_f1_threshold,
    evaluate_coco,
    proposal_recall,
)
from inception_rcnn.structures import Detections, GroundTruth, Proposals, progress_bar


class EvaluationSet(Protocol):
    """What is needed of a data set."""

    def __len__(self) -> int:
        """How many images."""

    def load_image(self, index: int, /) -> npt.NDArray[np.uint8]:
        """Pixels, (H, W, 3) uint8 RGB."""

    def ground_truth(self, index: int, /) -> GroundTruth:
        """What is on it."""


@dataclass(frozen=True)
class SetEvaluation:
    """What came out.

    Attributes:
        result: AP by COCO's rules.
        coverage: recall of the classified proposals.
        threshold: the score threshold with the best mean F1.
        seconds: in all, by stage.
    """

    result: CocoResult
    coverage: ProposalRecall
    threshold: ScoreThreshold
    seconds: dict[str, float]


def evaluate_set(
    detector: Detector,
    dataset: EvaluationSet,
    *,
    proposals: Sequence[Proposals] | None = None,
    each: bool = False,
    limit: int | None = None,
    quiet: bool = False,
) -> list[SetEvaluation]:
    """The detector's scores on a data set; with `each`, those of its ensemble's members follow, in their order.

    Args:
        detector: as it is, its score threshold included.
        dataset: photographs and ground truth, of the detector's classes.
        proposals: of each photograph, instead of the detector's own; None: it proposes.
        each: score every member alone as well, on the same regions, warped and (as far as they agree) computed once.
        limit: only so many images, the first ones.
        quiet: no progress.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    clock = StageClock()
    truths, classified = [], []
    members = len(detector.ensemble.members)
    found: list[list[Detections]] = [[] for _ in range(1 + members if each and members > 1 else 1)]
    with progress_bar(count, "images", quiet=quiet) as bar:
        for index in range(count):
            with clock.stage("decode"):
                image = dataset.load_image(index)
            with clock.stage("proposals"):
                chosen = detector.choose(detector.propose(image) if proposals is None else proposals[index])
            probabilities = detector.classify_each(image, chosen.boxes, clock)
            with clock.stage("rest"):
                found[0].append(detector.settle(chosen.boxes, average(probabilities)))
                for alone, one in zip(found[1:], probabilities, strict=False):
                    alone.append(detector.settle(chosen.boxes, one))
            truths.append(dataset.ground_truth(index))
            classified.append(chosen)
            bar.advance(1)
    coverage = proposal_recall(truths, classified)
    return [
        SetEvaluation(evaluate_coco(truths, one), coverage, best_f1_threshold(truths, one), clock.seconds)
        for one in found
    ]
