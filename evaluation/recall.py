"""How well proposals cover the objects, judged without any classifier.

Source: Uijlings et al. 2013, "Selective Search for Object Recognition", section 5 (recall, average best overlap);
Hosang et al. 2016, "What makes for effective detection proposals?" (average recall).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import GroundTruth, InputError, Proposals, box_area
from inception_rcnn.structures.boxes import overlap_ratio

_AVERAGED = tuple(step / 20 for step in range(10, 20))  # 0.5, 0.55 ... 0.95, each the nearest float64


@dataclass(frozen=True)
class ProposalRecall:
    """How well proposals cover the objects of all images together.

    Attributes:
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
    ground_truths: Sequence[GroundTruth],
    proposals_list: Sequence[Proposals],
    thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9),
    counts: Sequence[int] = (50, 100, 200, 300, 500, 1000),
) -> ProposalRecall:
    """Return what share of the objects the proposals cover, classes and images pooled.

    An object counts as covered when the IoU (exclusive corners, no pixel added) is equal to the threshold or greater;
    one proposal may cover several objects.

    Args:
        ground_truths: One for each image; objects to ignore are left out.
        proposals_list: For the same images in the same order.
        thresholds: IoU thresholds in (0, 1].
        counts: How many first proposals to judge by themselves, each at least 1.

    Raises:
        InputError: The two lists do not fit, an option is out of range, or there is no object to cover.

    >>> truth = GroundTruth([[0, 0, 10, 10]], [0], ("cat",))
    >>> result = proposal_recall([truth], [Proposals.ordered([[0, 0, 10, 5], [0, 0, 10, 8]], [2, 1])], counts=(1, 2))
    >>> result.recall[0.8], result.recall[0.9], result.recall_at
    (1.0, 0.0, {1: 1.0, 2: 1.0})
    """
    _check(ground_truths, proposals_list, thresholds, counts)
    limits = [*counts, max(map(len, proposals_list))]  # the last one: all
    pairs = zip(ground_truths, proposals_list, strict=True)
    best = np.concatenate([_best_overlaps(truth, proposals, limits) for truth, proposals in pairs])  # [truths, limits]
    if len(best) == 0:
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    final = best[:, -1]
    return ProposalRecall(
        recall={threshold: _share(final, threshold) for threshold in thresholds},
        recall_at={count: _share(best[:, column], 0.5) for column, count in enumerate(counts)},
        average_recall=float(np.mean([_share(final, threshold) for threshold in _AVERAGED])),
        average_best_overlap=float(final.mean()),
        boxes_per_image=float(np.mean([len(proposals) for proposals in proposals_list])),
        truths=len(best),
        images=len(ground_truths),
    )


def recall_by_size(
    ground_truths: Sequence[GroundTruth], proposals_list: Sequence[Proposals]
) -> dict[str, ProposalRecall | None]:
    """Return the same for COCO's small (area under 32² pixels), medium and large (over 96²) objects alone.

    The area is the one its data set names, or else the box's. None where there is no object of the size.

    Source: cocodataset.org, "Detection Evaluation".
    """
    small, large = 32.0**2, 96.0**2
    bounds = {
        "small": (0.0, np.nextafter(small, 0)),
        "medium": (small, large),
        "large": (np.nextafter(large, 2 * large), np.inf),
    }
    found: dict[str, ProposalRecall | None] = {}
    for name, (low, high) in bounds.items():
        chosen = [_of_size(truth, low, high) for truth in ground_truths]
        nothing = all(truth.ignore.all() for truth in chosen)
        found[name] = None if nothing else proposal_recall(chosen, proposals_list)
    return found


def _of_size(truth: GroundTruth, low: float, high: float) -> GroundTruth:
    areas = (box_area(truth.boxes) if truth.areas is None else truth.areas).astype(np.float64)
    return truth[(areas >= low) & (areas <= high)]


def _best_overlaps(truth: GroundTruth, proposals: Proposals, limits: list[int]) -> NDArray[np.float64]:
    """Return for each object not ignored the largest IoU among the first n proposals: [objects, limits]."""
    objects = truth.boxes[~truth.ignore].astype(np.float64)[:, None, :]
    best = np.zeros((len(objects), len(proposals) + 1))  # column n: among the first n, so that none gives 0
    best[:, 1:] = overlap_ratio(objects, proposals.boxes.astype(np.float64)[None, :, :])
    np.maximum.accumulate(best, axis=1, out=best)
    reached: NDArray[np.float64] = best[:, np.minimum(limits, len(proposals))]
    return reached


def _share(overlaps: NDArray[np.float64], threshold: float) -> float:
    return float(np.mean(overlaps >= threshold))


def _check(
    ground_truths: Sequence[GroundTruth],
    proposals_list: Sequence[Proposals],
    thresholds: Sequence[float],
    counts: Sequence[int],
) -> None:
    if len(ground_truths) != len(proposals_list):
        raise InputError(
            f"proposals_list should have one entry for each image, got {len(proposals_list)} for {len(ground_truths)}"
        )
    if not ground_truths:
        raise InputError("ground_truths should hold at least one image, got none")
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise InputError(f"thresholds should be in (0, 1], got {tuple(thresholds)}")
    if not all(count >= 1 for count in counts):
        raise InputError(f"counts should be at least 1, got {tuple(counts)}")
