"""Boxes that may hold an object, whatever it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.checks import Selection, check_descending, column, descending, rows, whole_numbers
from inception_rcnn.structures.errors import InputError


def _no_source() -> NDArray[np.uint8]:
    return np.zeros(0, np.uint8)


@dataclass(frozen=True, eq=False)
class Proposals:
    """The proposals of one image, most promising first.

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
        object.__setattr__(self, "source", _sources(self.source, len(boxes), names))
        object.__setattr__(self, "source_names", names)
        object.__setattr__(self, "objectness", _shares(self.objectness, len(boxes)))

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
        shares = _shares(objectness, len(checked))
        return cls(
            checked[order],
            values[order],
            _sources(source, len(checked), names)[order],
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

    def __getitem__(self, keep: Selection) -> Proposals:
        """Return the proposals that a slice, a boolean mask or ascending positions select."""
        chosen = rows(keep, len(self))
        objectness = None if self.objectness is None else self.objectness[chosen]
        return Proposals(self.boxes[chosen], self.scores[chosen], self.source[chosen], self.source_names, objectness)

    def top(self, n: int) -> Proposals:
        """Return the first `n` proposals, all of them if there are fewer."""
        return self[: max(n, 0)]


def _shares(objectness: ArrayLike | None, length: int) -> NDArray[np.float32] | None:
    """Return the objectness of each box (length,), or None if it was not computed."""
    if objectness is None:
        return None
    values = column(objectness, "objectness", length, np.float32)
    outside = (values < 0) | (values > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"objectness should be in [0, 1], but entry {row} is {values[row]}")
    return values


def _sources(source: ArrayLike, length: int, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return who proposed each box (length,); none given means that the first name proposed all."""
    if len(names) > 256 or (length and not names):
        raise InputError(f"source_names should hold 1 to 256 names, got {len(names)}")
    given = whole_numbers(source, "source", len(names), "source_names")
    if given.size == 0:
        return np.zeros(length, np.uint8)
    return column(given, "source", length, np.uint8)


def boxes_checksum(proposals: Sequence[Proposals]) -> str:
    """Return the SHA-256 of the boxes of several images, as 64 hexadecimal digits; scores and sources do not count."""
    digest = hashlib.sha256(np.array([len(one) for one in proposals], "<i8").tobytes())
    for one in proposals:
        digest.update(np.ascontiguousarray(one.boxes, "<f4").tobytes())
    return digest.hexdigest()
