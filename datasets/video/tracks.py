"""Boxes followed from frame to frame by their overlap, and steadied: a thing keeps its number, its box trembles less.

Source: Bochinski, Eiselein, Sikora 2017, "High-Speed Tracking-by-Detection Without Using Image Information" (IOU
tracker): what overlaps most is the same. Smoothing and patience are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import Detections, InputError, pairwise_iou
from inception_rcnn.structures.errors import check_fields


@dataclass(frozen=True, kw_only=True)
class TrackSettings:
    """What counts as the same thing in two frames.

    Args:
        iou: Least overlap of its two boxes, above 0 and at most 1.
        smoothing: Share of the box before in the box that is shown, 0 (none) to below 1.
        patience: For so many frames a thing may be gone and come back with its number.

    Raises:
        InputError: A field is of another type or out of range.
    """

    iou: float = 0.3
    smoothing: float = 0.5
    patience: int = 5

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.iou <= 1:
            raise InputError(f"iou should be above 0 and at most 1, got {self.iou}")
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing should be at least 0 and below 1, got {self.smoothing}")
        if self.patience < 0:
            raise InputError(f"patience should be 0 or more frames, got {self.patience}")


@dataclass
class _Tracks:
    """The things in sight, an array each: number, class, box, and for how many frames each was not seen."""

    number: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float32]
    unseen: NDArray[np.int64]


class Tracker:
    """Numbers the things of a video.

    Args:
        settings: What counts as the same; None: the usual.

    >>> tracker = Tracker(TrackSettings(smoothing=0.5))
    >>> for left in (0, 4):
    ...     found = Detections.ordered([[left, 0, left + 40, 40]], [0.9], [0], ("cat",))
    ...     steadied, numbers = tracker.follow(found)
    ...     print(numbers.tolist(), steadied.boxes.tolist())
    [1] [[0.0, 0.0, 40.0, 40.0]]
    [1] [[2.0, 0.0, 42.0, 40.0]]
    """

    def __init__(self, settings: TrackSettings | None = None) -> None:
        self.settings = settings or TrackSettings()
        self._next = 1
        empty = np.zeros(0, np.int64)
        self._tracks = _Tracks(empty, empty, np.zeros((0, 4), np.float32), empty)

    def follow(self, found: Detections) -> tuple[Detections, NDArray[np.int64]]:
        """Return the next frame's detections with steadied boxes, and the number (M,) of each thing, from 1 on.

        Pairs are made by overlap, the largest first, among equal classes; a detection without a partner begins a track.

        Args:
            found: In the frame.
        """
        tracks, settings = self._tracks, self.settings
        numbers = np.zeros(len(found), np.int64)
        boxes = found.boxes.copy()
        taken = np.full(len(tracks.number), -1)
        for row, track in _pairs(tracks, found, settings.iou):
            numbers[row], taken[track] = tracks.number[track], row
            boxes[row] += np.float32(settings.smoothing) * (tracks.box[track] - boxes[row])
        fresh = np.flatnonzero(numbers == 0)
        numbers[fresh] = self._next + np.arange(len(fresh))
        self._next += len(fresh)
        lost = (taken < 0) & (tracks.unseen < settings.patience)
        self._tracks = _Tracks(
            np.concatenate([numbers, tracks.number[lost]]),
            np.concatenate([found.labels, tracks.label[lost]]),
            np.concatenate([boxes, tracks.box[lost]]),
            np.concatenate([np.zeros(len(found), np.int64), tracks.unseen[lost] + 1]),
        )
        return replace(found, boxes=boxes), numbers


def _pairs(tracks: _Tracks, found: Detections, least: float) -> list[tuple[int, int]]:
    """Return the detections, and which track each goes on, greedily by overlap."""
    if not len(found) or not len(tracks.number):
        return []
    overlap = pairwise_iou(found.boxes, tracks.box)
    overlap[found.labels[:, None] != tracks.label[None, :]] = 0
    rows, columns = np.nonzero(overlap >= least)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    pairs, used_rows, used_columns = [], set[int](), set[int]()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            pairs.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
    return pairs
