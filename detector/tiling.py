"""A large photograph seen in overlapping tiles, and as a whole: small objects are large enough for the network then.

image --tile_windows--> windows of several sizes, the image last --detector--> Detections of each --> boxes that an
inner edge of a window cuts are dropped --> NMS over all windows --> Detections

A network that pools regions brings every image to one short side: a photograph of 4000 x 3000 pixels is reduced to a
sixth, and an apple of 60 pixels becomes one of 10. A tile of 480 x 480 is seen as it is, a smaller one enlarged. Tiles
double in size from level to level, so that each object, whatever its size, is whole in some tile of which it is a good
part; a box that ends at an inner edge of its tile belongs to an object seen whole elsewhere.

Source: Akyon et al. 2022, "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection" (tiles); the
levels and the dropping of cut boxes are this project's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.detector.pipeline import Detector, PreparedImage
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.structures import Detections, InputError, one_name_each
from inception_rcnn.structures.ahead import run_ahead
from inception_rcnn.structures.errors import check_fields
from inception_rcnn.structures.suppression import nms_by_label

_OF_WARPED: Final = 480  # pixels a side, where no network says how large it wants an image
_CUT: Final = 0.005  # share of a tile's side within which a box ends at its edge


@dataclass(frozen=True, kw_only=True)
class TileSettings:
    """How a photograph is cut.

    Attributes:
        side: Of the smallest tiles, in pixels of the photograph; None: the network's short side, so that they are seen
            as they are. Smaller ones are enlarged to it.
        overlap: Of neighbouring tiles, as a share of their side, 0 to below 1. An object of up to that share is whole
            in some tile of the level.
        whole: Whether the photograph is looked at as a whole, too.

    Raises:
        InputError: A field is of another type or out of range.
    """

    side: int | None = None
    overlap: float = 0.25
    whole: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.side is not None and self.side < 32:
            raise InputError(f"side should be at least 32 pixels, got {self.side}")
        if not 0 <= self.overlap < 1:
            raise InputError(f"overlap should be at least 0 and below 1, got {self.overlap}")


def detect_in_tiles(detector: Detector, image: NDArray[np.uint8], settings: TileSettings | None = None) -> Detections:
    """Return what is on an image that is seen in tiles.

    Costs as many looks as there are windows (`tile_windows`), the same as for as many photographs. An image that is no
    larger than a tile is seen once, and its detections are the detector's own.

    Args:
        detector: Its thresholds and limits are those of the result.
        image: (H, W, 3) uint8 RGB.
        settings: How it is cut; None: as suits the network.
    """
    settings = settings or TileSettings()
    height, width = image.shape[:2]
    side = side_for(detector) if settings.side is None else settings.side
    windows = tile_windows((width, height), replace(settings, side=side))
    if len(windows) == 1:
        return detector(image)
    # One name for one thing, and the limit of the image, are for all windows together.
    each = detector.with_settings(one_name_iou=None, max_detections=None)
    workers, threads = detector.workers_ahead()

    def prepare(window: NDArray[np.int64]) -> PreparedImage:
        x1, y1, x2, y2 = window.tolist()
        return detector.prepare(np.ascontiguousarray(image[y1:y2, x1:x2]), threads=threads)

    with closing(run_ahead(prepare, windows, workers=workers)) as ready:
        seen = [each(done.result()) for done in ready]
    return _joined(detector, seen, windows, (width, height))


def side_for(detector: Detector) -> int:
    """Return the side of tiles that a detector's network sees as they are, in pixels."""
    sides = [
        member.description.pooling.short_side
        for member in detector.ensemble.members
        if isinstance(member, PooledClassifier) and member.description.pooling is not None
    ]
    return max(sides, default=_OF_WARPED)


def tile_windows(size: tuple[int, int], settings: TileSettings) -> NDArray[np.int64]:
    """Return the windows (N, 4) that an image is seen in: x1 y1 x2 y2 in pixels, small ones first, row by row.

    Tiles of one level are evenly spaced, by at most their side less the overlap. Each level doubles the side, as long
    as the image is larger than it by more than half; the image itself is the last window.

    Args:
        size: Width and height of the image.
        settings: How it is cut; its side is given.

    Raises:
        InputError: The side is not given.

    >>> tile_windows((900, 480), TileSettings(side=480)).tolist()
    [[0, 0, 480, 480], [210, 0, 690, 480], [420, 0, 900, 480], [0, 0, 900, 480]]
    """
    if settings.side is None:
        raise InputError("side should be given, in pixels, to say which windows there are")
    windows = [
        (x, y, x + min(side, size[0]), y + min(side, size[1]))
        for side in _levels(size, settings.side)
        for y in _starts(size[1], side, settings.overlap)
        for x in _starts(size[0], side, settings.overlap)
    ]
    if settings.whole or not windows:
        windows.append((0, 0, *size))
    return np.array(windows, np.int64)


def _levels(size: tuple[int, int], side: int) -> Iterator[int]:
    """Yield the sides of tiles, as long as there is more of the image than the whole of it shows as well."""
    while max(size) > 1.5 * side or min(size) > side:
        yield side
        side *= 2


def _starts(length: int, side: int, overlap: float) -> Iterable[int]:
    """Return where the tiles of a row begin."""
    if length <= side:
        return (0,)
    count = int(np.ceil((length - side) / (side * (1 - overlap)))) + 1
    starts: list[int] = np.linspace(0, length - side, count).round().astype(int).tolist()
    return starts


def _joined(
    detector: Detector, seen: list[Detections], windows: NDArray[np.int64], size: tuple[int, int]
) -> Detections:
    """Return the detections of all windows as those of one image."""
    boxes, scores, labels = [], [], []
    for found, window in zip(seen, windows, strict=True):
        whole = found[~_cut(found.boxes, window, size)]
        boxes.append(whole.boxes + np.tile(window[:2], 2).astype(np.float32))
        scores.append(whole.scores)
        labels.append(whole.labels)
    every = Detections.ordered(
        np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels), detector.class_names, size
    )
    settings = detector.settings
    kept = nms_by_label(
        every.boxes, every.scores, every.labels, settings.iou_threshold, max_per_class=settings.max_per_class
    )
    every = every[kept]
    if settings.one_name_iou is not None:
        every = every[np.sort(one_name_each(every.boxes, every.scores, settings.one_name_iou))]
    return every if settings.max_detections is None else every.top(settings.max_detections)


def _cut(boxes: NDArray[np.float32], window: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which boxes of a window end at an edge of it that is none of the image."""
    x1, y1, x2, y2 = window.tolist()
    width, height = x2 - x1, y2 - y1
    near = _CUT * max(width, height) + 1
    inner = np.array([x1 > 0, y1 > 0, x2 < size[0], y2 < size[1]])
    edges = np.stack([boxes[:, 0], boxes[:, 1], width - boxes[:, 2], height - boxes[:, 3]], axis=1)
    cut: NDArray[np.bool_] = ((edges <= near) & inner).any(axis=1)
    return cut
