"""Proposals of several sources as one list: near-duplicates removed, most promising first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.proposals.overlaps import pick_apart
from inception_rcnn.structures import InputError, Proposals, nms
from inception_rcnn.structures.columns import column

# With scores on one scale, a box gives way to a better one that it overlaps: by up to so much, in units of the score,
# growing in proportion from this IoU on. Chosen on the photographs that MultiBox's training held out.
APART_FROM = 0.4
APART_PENALTY = 8.0
_GRID = 4096  # cells across an image, in which overlaps are measured


def merge_proposals(*sources: Proposals, scores: ArrayLike | None = None, duplicate_iou: float = 0.9) -> Proposals:
    """Return the proposals of all sources as one list, most promising first.

    With `scores`, which compare all boxes with each other, the best come first, those alike apart: a box loses up to
    `APART_PENALTY` for its overlap with the most similar box before it. Without, the sources take turns, so that the
    first 2 n hold the first n of each of two. Boxes keep their objectness where every source with boxes has it.

    Args:
        sources: Of the same image.
        scores: For all boxes, one source after the other, any finite numbers; higher is better. For example
            `MultiBox.rank`.
        duplicate_iou: A box that overlaps an earlier one by more is left out; 1 leaves out none.

    Raises:
        InputError: No source, or scores that do not fit.

    >>> first, second = Proposals.ordered([[0, 0, 9, 9], [0, 0, 4, 4]], [2, 1]), Proposals.ordered([[5, 5, 9, 9]], [7])
    >>> merge_proposals(first, second).boxes[:, 0].tolist()
    [0.0, 5.0, 0.0]
    """
    if not sources:
        raise InputError("merge_proposals needs at least one source")
    if not 0 <= duplicate_iou <= 1:
        raise InputError(f"duplicate_iou should lie in [0, 1], got {duplicate_iou}")
    boxes = np.concatenate([one.boxes for one in sources])
    if scores is None:
        turns = np.concatenate([np.arange(len(one)) for one in sources])
        order, values = np.argsort(turns, kind="stable"), -np.sort(turns).astype(np.float32)
    else:
        order, values = pick_apart(
            _on_grid(boxes), column(scores, "scores", len(boxes), np.float32), APART_FROM, APART_PENALTY
        )
    if duplicate_iou < 1:
        kept = nms(boxes[order], values, duplicate_iou)
        order, values = order[kept], values[kept]
    names, source = _named(sources)
    objectness = _objectness(sources)
    return Proposals(boxes[order], values, source[order], names, None if objectness is None else objectness[order])


def _on_grid(boxes: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return boxes in whole cells of a grid over all of them, (N, 4), each with an area."""
    if not len(boxes):
        return np.zeros((0, 4), dtype=np.int32)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    scale = _GRID / np.maximum(high - low, 1e-6)
    cells: NDArray[np.int32] = np.rint((boxes - np.tile(low, 2)) * np.tile(scale, 2)).astype(np.int32)
    cells[:, 2:] = np.maximum(cells[:, 2:], cells[:, :2] + 1)
    return cells


def _objectness(sources: Sequence[Proposals]) -> NDArray[np.float32] | None:
    """Return the objectness of all boxes, one source after the other; None if it is not known of all."""
    parts = [one.objectness for one in sources if len(one) or one.objectness is not None]
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None


def _named(sources: Sequence[Proposals]) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Return the names of all sources, each once, and for every box which it is (N,)."""
    names = tuple(dict.fromkeys(name for one in sources for name in one.source_names))
    places = [np.array([names.index(name) for name in one.source_names], np.uint8)[one.source] for one in sources]
    return names, np.concatenate(places)
