"""What a report is made of: one evaluation, and what is known of how it came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.recall import ProposalRecall
from inception_rcnn.evaluation.results import Evaluation


@dataclass(frozen=True, eq=False, kw_only=True)
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
