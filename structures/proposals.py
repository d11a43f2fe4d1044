"""Boxes that may hold an object, whatever it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.columns import (
    Columns,
    Corners,
    Rows,
    check_descending,
    column,
    corner_tuples,
    descending,
    share_column,
    source_column,
)
from inception_rcnn.structures.errors import InputError


def _no_source() -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Proposal:
    """One box that may hold an object.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the image, x2 and y2 exclusive.
        score: Its rank is what counts.
        source_name: The method that proposed it.
        objectness: In [0, 1], how likely it fits an object; None where it has not been computed.
    """

    box: Corners
    score: float
    source_name: str
    objectness: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Proposals(Columns[Proposal]):
    """The proposals of one image, most promising first: a sequence of `Proposal`, and its columns as arrays.

    `proposals[0]` is the first one. A slice, a boolean mask or positions in any order give `Proposals` again, by score.
    Those of equal content are equal.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the image, x2 and y2 exclusive.
        scores: (N,) float32, descending: a higher score stands earlier. Only the order has a meaning.
        source: (N,) uint8 positions in `source_names`, who proposed the box; left out, the first one proposed all.
        source_names: Names of the methods.
        objectness: (N,) float32 in [0, 1], how likely each box fits an object, as MultiBox's network says; None where
            it has not been computed.

    Raises:
        InputError: Lengths differ, a number is not finite, scores rise, objectness is outside [0, 1], or a source has
            no name.

    >>> proposals = Proposals.ordered([[0, 0, 9, 9], [5, 5, 20, 20]], [0.1, 0.7])
    >>> proposals.scores.tolist() == [np.float32(0.7), np.float32(0.1)], len(proposals.top(1))
    (True, 1)
    """

    _by_score: ClassVar[bool] = True

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    source: NDArray[np.uint8] = field(default_factory=_no_source)
    source_names: tuple[str, ...] = ("selective-search",)
    objectness: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes, "proposals' boxes")
        names = tuple(self.source_names)
        scores = column(self.scores, "scores", len(boxes), np.float32)
        check_descending(scores, "Proposals")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "source", source_column(self.source, len(boxes), names))
        object.__setattr__(self, "source_names", names)
        object.__setattr__(self, "objectness", share_column(self.objectness, "objectness", len(boxes)))

    @classmethod
    def ordered(
        cls,
        boxes: ArrayLike,
        scores: ArrayLike,
        source: ArrayLike = (),
        source_names: Sequence[str] = ("selective-search",),
        objectness: ArrayLike | None = None,
    ) -> Proposals:
        """Return proposals sorted by score, descending; equal scores keep their order."""
        checked = as_boxes(boxes, "proposals' boxes")
        values = column(scores, "scores", len(checked), np.float32)
        names = tuple(source_names)
        order = descending(values)
        shares = share_column(objectness, "objectness", len(checked))
        return cls(
            checked[order],
            values[order],
            source_column(source, len(checked), names)[order],
            names,
            None if shares is None else shares[order],
        )

    @classmethod
    def empty(cls, source_names: Sequence[str] = ("selective-search",)) -> Proposals:
        """Return no proposals at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), _no_source(), tuple(source_names))

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.boxes)

    def __iter__(self) -> Iterator[Proposal]:
        """Return an iterator over the proposals, the most promising first."""
        names = [self.source_names[source] for source in self.source.tolist()]
        objectness = [None] * len(self) if self.objectness is None else self.objectness.tolist()
        columns = (corner_tuples(self.boxes), self.scores.tolist(), names, objectness)
        return (Proposal(*values) for values in zip(*columns, strict=True))

    def __repr__(self) -> str:
        """Return how many there are, of which sources, and between which scores."""
        between = f", scores {self.scores[0]:.3g} to {self.scores[-1]:.3g}" if len(self) else ""
        return f"Proposals({len(self)} from {' and '.join(self.source_names)}{between})"

    def _at(self, rows: Rows) -> Self:
        objectness = None if self.objectness is None else self.objectness[rows]
        boxes, scores, source = self.boxes[rows], self.scores[rows], self.source[rows]
        return replace(self, boxes=boxes, scores=scores, source=source, objectness=objectness)

    def top(self, n: int) -> Proposals:
        """Return the first `n` proposals, all of them if there are fewer."""
        return self[: max(n, 0)]


def proposals_to_arrays(proposals: Sequence[Proposals]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the proposals of many images as arrays for a file, images one after the other, and their source names.

    Returns:
        `boxes` (N, 4) float32, `scores` (N,) float32, `source` (N,) uint8, perhaps `objectness` (N,) float32, and
        `counts` (images,) int64.

    Raises:
        InputError: The proposals have different source names, or some have objectness and others not. Images without
            proposals have neither.
    """
    some = [one for one in proposals if len(one)]
    names = some[0].source_names if some else ("selective-search",)
    if any(one.source_names != names for one in some):
        raise InputError("proposals of one file should all have the same source names")
    objectness = [one.objectness for one in some if one.objectness is not None]
    if objectness and len(objectness) != len(some):
        raise InputError("proposals of one file should all have objectness, or none of them")
    arrays: dict[str, NDArray[Any]] = {
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in some)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(one.scores for one in some)]),
        "source": np.concatenate([np.zeros(0, np.uint8), *(one.source for one in some)]),
        "counts": np.array([len(one) for one in proposals], np.int64),
    }
    return arrays | ({"objectness": np.concatenate(objectness)} if objectness else {}), names


def proposals_from_arrays(arrays: Mapping[str, NDArray[Any]], source_names: Sequence[str]) -> tuple[Proposals, ...]:
    """Return what `proposals_to_arrays` was given.

    Raises:
        InputError: The arrays are others, or do not fit each other.
    """
    if set(arrays) - {"objectness"} != {"boxes", "scores", "source", "counts"}:
        raise InputError(f"it has the arrays {', '.join(sorted(arrays))}")
    counts, objectness = arrays["counts"], arrays.get("objectness")
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or counts.min(initial=0) < 0:
        raise InputError(f"counts should be whole numbers, 0 or more, got {counts.dtype} {counts.shape}")
    if any(len(array) != counts.sum() for name, array in arrays.items() if name != "counts"):
        raise InputError(f"the counts add up to {counts.sum()}, there are {len(arrays['boxes'])} boxes")
    parts = (slice(end - count, end) for end, count in zip(np.cumsum(counts), counts, strict=True))
    return tuple(
        Proposals(
            arrays["boxes"][rows],
            arrays["scores"][rows],
            arrays["source"][rows],
            tuple(source_names),
            None if objectness is None else objectness[rows],
        )
        for rows in parts
    )


def boxes_checksum(proposals: Sequence[Proposals]) -> str:
    """Return the SHA-256 of the boxes of several images, as 64 hexadecimal digits; scores and sources do not count."""
    digest = hashlib.sha256(np.array([len(one) for one in proposals], "<i8").tobytes())
    for one in proposals:
        digest.update(np.ascontiguousarray(one.boxes, "<f4").tobytes())
    return digest.hexdigest()
