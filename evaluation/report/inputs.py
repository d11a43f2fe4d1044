"""What a report is made of: one evaluation, and what is known of how it came about."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.evaluation.recall import ProposalRecall
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.structures import DetectionTable, GroundTruthTable


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ReportInput(Evaluation):
    """One evaluation, ready to be shown.

    Args:
        title, result, truths, detections: See `Evaluation`; the result has its `matches`.
        coverage: How many objects the proposals reach; None without proposals.
        seconds: By stage, over all images; empty if nothing was measured.
        photographs: Position of an image -> uint8 RGB (H, W, 3); None if no photographs are at hand.
        weights: The checkpoints, an ensemble's members in order; empty for detections from a file.
        settings: What else decided the figures, in words.
    """

    coverage: ProposalRecall | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    photographs: Callable[[int], NDArray[np.uint8]] | None = None
    weights: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)


def evaluated(
    found: DetectionTable,
    truths: GroundTruthTable,
    protocol: str,
    *,
    title: str,
    blacklist: Collection[tuple[int | str, str]] = (),
    **beside: Any,
) -> ReportInput:
    """Return the evaluation of detections, ready to be shown.

    Args:
        found: Positions in the images and classes of the ground truth.
        truths: The objects.
        protocol: One of `evaluation.protocols.PROTOCOLS`.
        title: For people.
        blacklist: Pairs of image id and class name that are not evaluated.
        beside: What else is known; see `ReportInput`.
    """
    result = evaluate_by(protocol, truths, found, blacklist=blacklist)
    return ReportInput(title=title, result=result, truths=truths, detections=found, **beside)
