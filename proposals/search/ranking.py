"""The order of the proposals: which of all hierarchies' boxes come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.overlaps import pick_apart
from inception_rcnn.proposals.search.grouping import Hierarchy
from inception_rcnn.proposals.search.region_features import Regions
from inception_rcnn.structures.kernels import kernel

RANKINGS = ("agreement", "random")
AGREEMENT_LEVELS = (0.5, 0.7)
# Fitted for recall at 50 to 1,000 boxes on 800 training photographs of COCO and PASCAL VOC (a logistic regression of
# "overlaps an object", then a random search), and tested on other photographs of both.
EVIDENCE_WEIGHTS = np.array([0.5, 0.57, 0.46, -0.55, 1.64, -0.64, 0.17, -0.38])
APART_FROM = 0.4
APART_PENALTY = 7.6


@dataclass(frozen=True)
class Segmentation:
    """The superpixels of one colour space and k, and the hierarchies grown from them."""

    regions: Regions
    hierarchies: Sequence[Hierarchy]
    mean_contrast: float  # colour distance of neighbouring pixels, mean over the image


@dataclass(frozen=True)
class Candidates:
    """Boxes in the working image, and what the rankings know of each."""

    boxes: NDArray[np.int32]  # (N, 4) x1 y1 x2 y2, exclusive
    positions: NDArray[np.float32]  # (N,) from the top of its hierarchy: whole image 1, superpixels n
    contrasts: NDArray[np.float32]  # (N,) colour distance across its region's contour, over the image's mean

    def __getitem__(self, keep: NDArray[np.generic]) -> Candidates:
        """Return the candidates that a mask or positions select."""
        return Candidates(self.boxes[keep], self.positions[keep], self.contrasts[keep])


def gather(segmentations: Sequence[Segmentation]) -> Candidates:
    """Return the boxes of all hierarchies; superpixels once per segmentation, not per hierarchy.

    Source:
        Released code of Uijlings et al., Image2HierarchicalGrouping.m.
    """
    boxes, positions, contrasts = [], [], []
    for segmentation in segmentations:
        regions = segmentation.regions
        count = len(regions.sizes)
        parts = [(regions.boxes, np.full(count, count), regions.contours)]
        for tree in segmentation.hierarchies:
            parts.append((tree.boxes, np.arange(count - 1, 0, -1), tree.contours))
        for part_boxes, part_positions, contours in parts:
            boxes.append(part_boxes)
            positions.append(part_positions.astype(np.float32))
            mean = contours[:, 1] / np.maximum(contours[:, 0], 1)  # a region that is the whole image: 0
            contrasts.append((mean / segmentation.mean_contrast).astype(np.float32))
    return Candidates(np.concatenate(boxes), np.concatenate(positions), np.concatenate(contrasts))


def large_enough(
    candidates: Candidates, width: int, height: int, min_side: int, widened_from: float = 1.0
) -> Candidates:
    """Return the candidates with both sides of at least `min_side` pixels, or as long as the image's.

    A side a little shorter, at least `widened_from` of that, is widened on both ends. R-CNN left such boxes out; but
    widened to 20 pixels they still overlap an object of 14 by more than half.
    """
    size = np.array([width, height], dtype=np.int32)
    least = np.minimum(min_side, size)
    corner, sides = candidates.boxes[:, :2], candidates.boxes[:, 2:] - candidates.boxes[:, :2]
    wider = np.maximum(sides, least)
    moved = np.clip(corner - (wider - sides) // 2, 0, size - wider)
    widened = np.concatenate([moved, moved + wider], axis=1)
    return replace(candidates, boxes=widened)[np.flatnonzero((sides >= widened_from * least).all(axis=1))]


def distinct(boxes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positions of first occurrences, in order, and for each row of `boxes` which of them it equals."""
    corners = boxes.astype(np.int64)
    sides = corners.max(axis=0) + 1
    if np.prod(sides.astype(np.float64)) < 2**62:
        keys = ((corners[:, 0] * sides[1] + corners[:, 1]) * sides[2] + corners[:, 2]) * sides[3] + corners[:, 3]
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[which.reshape(-1)]


def random_order(candidates: Candidates, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the order of the candidates without repetitions, and scores: R-CNN's order.

    The first of two equal boxes stays, so a box found by several hierarchies tends to stand earlier.

    Source:
        Uijlings et al., IJCV 2013, section 3.3: ascending by a random number times the position from the top.
    """
    draws = np.random.default_rng(seed).random(len(candidates.positions), dtype=np.float32)
    scores = -candidates.positions * draws
    order = np.argsort(-scores, kind="stable")
    order = order[distinct(candidates.boxes[order])[0]]
    return order, scores[order]


def agreement_order(candidates: Candidates, width: int, height: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the order of the candidates without repetitions, and scores: what the hierarchies agree on first.

    A box's score is `evidence`. The boxes are then taken best first, each losing up to `APART_PENALTY` for its overlap
    with the most similar box taken before: 0 up to an IoU of `APART_FROM`, growing in proportion above.
    """
    first, which = distinct(candidates.boxes)
    boxes = candidates.boxes[first]
    scores = evidence(candidates, first, which, width, height) @ EVIDENCE_WEIGHTS
    order, values = pick_apart(boxes, scores.astype(np.float32), APART_FROM, APART_PENALTY)
    return first[order], values


def evidence(
    candidates: Candidates, first: NDArray[np.int64], which: NDArray[np.int64], width: int, height: int
) -> NDArray[np.float64]:
    """Return (M, 8) what speaks for each distinct box: `EVIDENCE_WEIGHTS` says how much.

    Columns: log of how many candidates overlap the box by more than 0.5, and by more than 0.7, itself included; log of
    its largest contrast (plus 0.1); how many of its sides lie on the image's; log of its share of the image; log
    of width over height; the squares of the last two.

    Args:
        candidates: With repetitions.
        first: (M,) positions of the distinct boxes.
        which: (N,) which distinct box each candidate is.
        width: Of the working image.
        height: Of the working image.
    """
    boxes = candidates.boxes[first]
    counts = np.bincount(which).astype(np.float32)
    agreeing = np.log(sum_overlapping(boxes, counts, AGREEMENT_LEVELS))  # (M, 2)
    contrast = np.zeros(len(first), dtype=np.float32)
    np.maximum.at(contrast, which, candidates.contrasts)
    sides = (boxes == np.array([0, 0, width, height])).sum(axis=1)
    spans = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    share = np.log(spans[:, 0] * spans[:, 1] / (width * height))
    aspect = np.log(spans[:, 0] / spans[:, 1])
    return np.column_stack([agreeing, np.log(contrast + 0.1), sides, share, aspect, share**2, aspect**2])


def sum_overlapping(
    boxes: NDArray[np.int32], values: NDArray[np.float32], levels: Sequence[float]
) -> NDArray[np.float32]:
    """Return (N, levels) sums of `values` over the boxes whose IoU with a box exceeds each level, itself included.

    Args:
        boxes: (N, 4) x1 y1 x2 y2, exclusive, each with an area.
        values: (N,) one for each box.
        levels: Ascending, from 0 up.
    """
    by_left = np.argsort(boxes[:, 0], kind="stable")
    sums = np.repeat(values[by_left, None], len(levels), axis=1)
    add_overlapping(boxes[by_left], values[by_left], np.asarray(levels, dtype=np.float32), sums)
    result = np.empty_like(sums)
    result[by_left] = sums
    return result


@kernel
def add_overlapping(boxes: Any, values: Any, levels: Any, sums: Any) -> Any:
    """Add each box's value to the sums of all boxes it overlaps enough, and the other way round."""
    for i in range(boxes.shape[0]):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        area = np.float32((x2 - x1) * (y2 - y1))
        # further right, the shared width is too small a part of this box's
        last = x2 - levels[0] * (x2 - x1)
        for j in range(i + 1, boxes.shape[0]):
            if boxes[j, 0] > last:
                break
            width = min(x2, boxes[j, 2]) - boxes[j, 0]
            height = min(y2, boxes[j, 3]) - max(y1, boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            shared = np.float32(width * height)
            other = np.float32((boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1]))
            iou = shared / (area + other - shared)
            for level in range(levels.size):
                if iou <= levels[level]:
                    break
                sums[i, level] += values[j]
                sums[j, level] += values[i]
