"""Which regions of an image are foreground, of which class, and which are background.

Source: R-CNN technical report v5, section 2.3: a region is foreground of the class of the ground-truth box it overlaps
most if that overlap is at least 0.5, background otherwise; ground-truth boxes are regions too. Section 4: photographs
of ILSVRC's training set, on which not all objects are boxed, give no background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import GroundTruth, as_boxes, box_area, clip_boxes, pairwise_iou
from inception_rcnn.structures.boxes import overlap_ratio, share_inside

FOREGROUND_IOU = 0.5


@dataclass(frozen=True)
class LabelledRegions:
    """Regions of one image with what they show.

    Args:
        boxes: (N, 4) float32 x1 y1 x2 y2.
        labels: (N,) int64, 0..C-1, or C for background.
        objects: (N,) int64, the row of the ground-truth box that a foreground region shows; -1 for background.
        overlap: (N,) float32, IoU with the best ground-truth box, 0 without any.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    objects: NDArray[np.int64]
    overlap: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.boxes)


def label_regions(boxes: NDArray[np.float32], truth: GroundTruth) -> LabelledRegions:
    """Return the regions with their labels, without those that mostly lie in an area to be ignored.

    Args:
        boxes: (N, 4) proposals; the ground-truth boxes are not added here.
        truth: Ignored boxes (crowds, difficult) are never foreground, and a region of which more than half lies in
            one of them is dropped rather than called background: what it shows is not known. Where the truth is not
            exhaustive, no region is background.
    """
    boxes = as_boxes(boxes)
    known = ~truth.ignore
    rows = np.flatnonzero(known)
    iou = pairwise_iou(boxes, truth.boxes[known])
    best = iou.argmax(axis=1) if len(rows) else np.zeros(len(boxes), dtype=np.int64)
    overlap = iou.max(axis=1, initial=0.0).astype(np.float32)
    foreground = overlap >= FOREGROUND_IOU
    objects = np.full(len(boxes), -1, dtype=np.int64)
    labels = np.full(len(boxes), len(truth.class_names), dtype=np.int64)
    objects[foreground] = rows[best[foreground]]
    labels[foreground] = truth.labels[objects[foreground]]
    ignored = truth.boxes[truth.ignore].astype(np.float64)
    hidden = share_inside(boxes.astype(np.float64), ignored).max(axis=1, initial=0.0)
    keep = foreground | ((hidden <= 0.5) & truth.exhaustive)
    return LabelledRegions(boxes[keep], labels[keep], objects[keep], overlap[keep])


def with_truths(regions: LabelledRegions, truth: GroundTruth, jitter: int, rng: np.random.Generator) -> LabelledRegions:
    """Return the regions preceded by the ground-truth boxes themselves and `jitter` shaken copies of each.

    Args:
        regions: Of the image, from `label_regions`.
        truth: Its objects.
        jitter: Shaken copies of each object. Objects that no proposal covers would otherwise be seen in one framing
            only.
        rng: Where the shaking comes from.
    """
    rows = np.flatnonzero(~truth.ignore & (box_area(truth.boxes) > 0))
    objects = np.concatenate([rows, np.repeat(rows, jitter)])
    boxes = np.concatenate([truth.boxes[rows], shaken(truth, np.repeat(rows, jitter), rng)])
    overlap = _iou_of_pairs(boxes, truth.boxes[objects])
    return LabelledRegions(
        np.concatenate([boxes, regions.boxes]),
        np.concatenate([truth.labels[objects], regions.labels]),
        np.concatenate([objects, regions.objects]),
        np.concatenate([overlap, regions.overlap]),
    )


def shaken(truth: GroundTruth, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a shifted and rescaled copy of each named box, of IoU 0.5 or more; where a draw misses that, the box."""
    boxes = truth.boxes[rows]
    size = boxes[:, 2:] - boxes[:, :2]
    shift = rng.uniform(-0.25, 0.25, size.shape) * size
    factor = np.exp(rng.uniform(-0.35, 0.35, size.shape))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift
    moved = np.concatenate([centre - size * factor / 2, centre + size * factor / 2], axis=1).astype(np.float32)
    if truth.width is not None and truth.height is not None:
        moved = clip_boxes(moved, truth.width, truth.height)
    close = _iou_of_pairs(moved, boxes) >= FOREGROUND_IOU
    return np.where(close[:, None], moved, boxes)


def _iou_of_pairs(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of each box with the one beside it: (N, 4), (N, 4) -> (N,)."""
    return overlap_ratio(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
