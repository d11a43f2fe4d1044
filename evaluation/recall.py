"""How well proposals cover the objects, whatever the classes.

Source: Uijlings et al. 2013, "Selective Search for Object Recognition", section 5 (recall, average best overlap);
Hosang et al. 2016, "What makes for effective detection proposals?" (average recall).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.protocols import SIZES
from inception_rcnn.evaluation.ranking import TruthInput, truth_table
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.boxes import overlap_ratio
from inception_rcnn.structures.ground_truth import GroundTruthTable

ProposalInput = Sequence[Proposals] | Sequence[NDArray[np.float32]]
"""For each image its proposals, or their boxes (N, 4), best first."""

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
COUNTS = (50, 100, 200, 300, 500, 1000)
_AVERAGED = tuple(step / 20 for step in range(10, 20))  # 0.5, 0.55 ... 0.95, each the nearest float64


@dataclass(frozen=True)
class ProposalRecall:
    """How well proposals cover the objects of all images together.

    Args:
        recall: For each IoU threshold the share of objects that some proposal overlaps at least so much.
        recall_at: For each number n the share of objects covered at IoU 0.5 by the first n proposals of their image.
        average_recall: Mean recall over the thresholds 0.5, 0.55 ... 0.95.
        average_best_overlap: Mean over objects of the largest IoU any proposal has with it.
        boxes_per_image: Mean number of proposals.
        truths: Number of objects, ignored ones left out.
        images: Number of images.
    """

    recall: dict[float, float]
    recall_at: dict[int, float]
    average_recall: float
    average_best_overlap: float
    boxes_per_image: float
    truths: int
    images: int


def proposal_recall(
    ground_truths: TruthInput,
    proposals_list: ProposalInput,
    thresholds: Sequence[float] = THRESHOLDS,
    counts: Sequence[int] = COUNTS,
) -> ProposalRecall:
    """Return what share of the objects the proposals cover, classes and images pooled.

    An object counts as covered when the IoU (exclusive corners, no pixel added) is equal to the threshold or greater;
    one proposal may cover several objects.

    Args:
        ground_truths: One for each image, or a table of all; objects to ignore are left out.
        proposals_list: For the same images in the same order.
        thresholds: IoU thresholds in (0, 1].
        counts: How many first proposals to measure by themselves, each at least 1.

    Raises:
        InputError: The two do not fit, an option is out of range, or there is no object to cover.

    >>> from inception_rcnn.structures import GroundTruth
    >>> truth = GroundTruth([[0, 0, 10, 10]], [0], ("cat",))
    >>> result = proposal_recall([truth], [Proposals.ordered([[0, 0, 10, 5], [0, 0, 10, 8]], [2, 1])], counts=(1, 2))
    >>> result.recall[0.8], result.recall[0.9], result.recall_at
    (1.0, 0.0, {1: 1.0, 2: 1.0})
    """
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise InputError(f"thresholds should be in (0, 1], got {tuple(thresholds)}")
    if not all(count >= 1 for count in counts):
        raise InputError(f"counts should be at least 1, got {tuple(counts)}")
    truth, boxes = _fitting(ground_truths, proposals_list)
    if truth.ignored.all():
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    best = _best_overlaps(truth, boxes, counts)[~truth.ignored]
    return _summary(best, boxes, thresholds, counts)


def recall_by_size(ground_truths: TruthInput, proposals_list: ProposalInput) -> dict[str, ProposalRecall | None]:
    """Return the same for the small, the medium and the large objects alone: see `evaluation.protocols.SIZES`.

    The area is the one its data set names, or else the box's. None where there is no object of the size.

    Args:
        ground_truths: One for each image, or a table of all; objects to ignore are left out.
        proposals_list: For the same images in the same order.

    Raises:
        InputError: The two do not fit.
    """
    truth, boxes = _fitting(ground_truths, proposals_list)
    best, areas = _best_overlaps(truth, boxes, COUNTS), truth.object_areas()
    found: dict[str, ProposalRecall | None] = {}
    for size in SIZES:
        chosen = size.holds(areas) & ~truth.ignored
        found[size.name] = _summary(best[chosen], boxes, THRESHOLDS, COUNTS) if chosen.any() else None
    return found


def _fitting(
    ground_truths: TruthInput, proposals_list: ProposalInput
) -> tuple[GroundTruthTable, list[NDArray[np.float64]]]:
    """Return the objects and the boxes of each image, and raise if they are of more or fewer images or of none."""
    truth = truth_table(ground_truths)
    images = len(truth.image_ids)
    if len(proposals_list) != images:
        raise InputError(f"proposals_list should have one entry for each image, got {len(proposals_list)} for {images}")
    if images == 0:
        raise InputError("ground_truths should hold at least one image, got none")
    boxes = [one.boxes if isinstance(one, Proposals) else one for one in proposals_list]
    return truth, [one.astype(np.float64) for one in boxes]


def _best_overlaps(
    truth: GroundTruthTable, boxes: Sequence[NDArray[np.float64]], counts: Sequence[int]
) -> NDArray[np.float64]:
    """Return for each object the largest IoU with one of the first n boxes of its image: (N, counts + 1), last: all."""
    best = np.zeros((len(truth), len(counts) + 1))
    order = np.argsort(truth.image, kind="stable")
    rows_by_image = np.split(order, np.searchsorted(truth.image[order], np.arange(1, len(boxes))))
    for rows, mine in zip(rows_by_image, boxes, strict=True):
        reached = np.zeros((len(rows), len(mine) + 1))  # column n: among the first n, so that none gives 0
        reached[:, 1:] = overlap_ratio(truth.box[rows][:, None, :], mine[None, :, :])
        np.maximum.accumulate(reached, axis=1, out=reached)
        best[rows] = reached[:, np.minimum([*counts, len(mine)], len(mine))]
    return best


def _summary(
    best: NDArray[np.float64],
    boxes: Sequence[NDArray[np.float64]],
    thresholds: Sequence[float],
    counts: Sequence[int],
) -> ProposalRecall:
    """Return the figures of the objects whose overlaps (N, counts + 1) these are."""
    final = best[:, -1]
    return ProposalRecall(
        recall={threshold: _share(final, threshold) for threshold in thresholds},
        recall_at={count: _share(best[:, column], 0.5) for column, count in enumerate(counts)},
        average_recall=float(np.mean([_share(final, threshold) for threshold in _AVERAGED])),
        average_best_overlap=float(final.mean()),
        boxes_per_image=float(np.mean([len(one) for one in boxes])),
        truths=len(best),
        images=len(boxes),
    )


def _share(overlaps: NDArray[np.float64], threshold: float) -> float:
    return float(np.mean(overlaps >= threshold))
