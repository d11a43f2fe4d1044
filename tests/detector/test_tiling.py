"""Photographs seen in tiles, by a detector that finds white squares as long as they are large enough for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from inception_rcnn.detector import DetectionSettings, Detector
from inception_rcnn.detector.pipeline import PreparedImage
from inception_rcnn.detector.tiling import TileSettings, detect_in_tiles, tile_windows
from inception_rcnn.structures import Detections, InputError

SIDE = 100
NAMES = ("square", "other")


class OfSquares:
    """Finds what is white and, with the image's short side at 100 pixels, at least 8 pixels large: squares, cut or not.

    A smaller one scores less, so that a cut one never wins by its score alone.
    """

    class_names = NAMES

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self.looks = 0

    def with_settings(self, **changes: Any) -> OfSquares:
        return OfSquares(replace(self.settings, **changes))

    def workers_ahead(self) -> tuple[int, int]:
        return 0, 1

    def prepare(self, image: NDArray[np.uint8], **_: Any) -> PreparedImage:
        return PreparedImage(image=image)

    def __call__(self, image: PreparedImage | NDArray[np.uint8]) -> Detections:
        self.looks += 1
        pixels = image.image if isinstance(image, PreparedImage) else image
        least = 8 * min(pixels.shape[:2]) / SIDE
        parts = ndimage.find_objects(ndimage.label(pixels[:, :, 0] > 128)[0])
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in parts]
        boxes = [box for box in boxes if max(box[2] - box[0], box[3] - box[1]) >= least]
        scores = [0.9 - 0.5 / (1 + box[2] - box[0]) for box in boxes]
        found = Detections.ordered(np.reshape(boxes, (-1, 4)), scores, [0] * len(boxes), NAMES)
        return replace(found, size=(pixels.shape[1], pixels.shape[0]))


def detector(**changes: Any) -> tuple[Detector, OfSquares]:
    made = OfSquares(DetectionSettings(**changes))
    return cast(Detector, made), made


def scene(width: int, height: int, sides: list[int], seed: int = 0) -> tuple[NDArray[np.uint8], set[tuple[int, ...]]]:
    """An image with white squares that do not touch, and their boxes."""
    rng, image, boxes = np.random.default_rng(seed), np.zeros((height, width, 3), np.uint8), set[tuple[int, ...]]()
    for side in sides:
        while True:
            x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
            if not image[max(y - 3, 0) : y + side + 3, max(x - 3, 0) : x + side + 3].any():
                break
        image[y : y + side, x : x + side] = 255
        boxes.add((x, y, x + side, y + side))
    return image, boxes


def found_in(detections: Detections) -> list[tuple[int, ...]]:
    return [tuple(int(side) for side in box) for box in detections.boxes.tolist()]


@pytest.mark.parametrize("seed", range(4))
def test_every_object_is_found_once_and_whole_whatever_its_size(seed: int) -> None:
    image, boxes = scene(900, 700, [9, 12, 15, 20, 20, 30, 45, 70, 110, 240], seed)
    finder, _ = detector()
    found = found_in(detect_in_tiles(finder, image, TileSettings(side=SIDE)))
    assert len(found) == len(set(found)) and set(found) == boxes
    assert set(found_in(finder(image))) < boxes, "on the whole image small ones are not seen"


def test_an_image_no_larger_than_a_tile_is_seen_once_as_ever() -> None:
    image, _ = scene(140, 95, [20, 30])
    finder, seen = detector()
    assert detect_in_tiles(finder, image, TileSettings(side=SIDE)) == finder(image)
    assert seen.looks == 2


def test_windows_cover_the_image_evenly_and_double_in_size() -> None:
    windows = tile_windows((1000, 600), TileSettings(side=SIDE, overlap=0.25))
    sides = windows[:, 2] - windows[:, 0]
    assert set(sides.tolist()) == {100, 200, 400, 1000} and windows[-1].tolist() == [0, 0, 1000, 600]
    for side in (100, 200, 400):
        covered = np.zeros((600, 1000), int)
        for x1, y1, x2, y2 in windows[sides == side].tolist():
            assert (x2 - x1, y2 - y1) == (side, side)
            covered[y1:y2, x1:x2] += 1
        assert covered.min() >= 1
        lefts = np.unique(windows[sides == side][:, 0])
        assert np.diff(lefts).max() <= 0.75 * side


def test_without_the_whole_only_tiles_are_seen() -> None:
    with_it, without = (tile_windows((300, 100), TileSettings(side=SIDE, whole=whole)) for whole in (True, False))
    assert len(with_it) == len(without) + 1
    assert len(tile_windows((90, 90), TileSettings(side=SIDE, whole=False))) == 1


def test_the_limit_and_the_threshold_are_those_of_the_image() -> None:
    image, boxes = scene(400, 300, [12] * 12)
    finder, _ = detector(max_detections=5)
    assert len(detect_in_tiles(finder, image, TileSettings(side=SIDE))) == 5 < len(boxes)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="side should be at least 32 pixels, got 31"):
        TileSettings(side=31)
    with pytest.raises(InputError, match="overlap should be"):
        TileSettings(overlap=1.0)
    with pytest.raises(InputError, match="side should be given"):
        tile_windows((10, 10), TileSettings())
