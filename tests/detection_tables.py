"""Detections for the tests of files that hold them."""

from __future__ import annotations

import numpy as np

from inception_rcnn.structures.detections import DetectionTable


def table(count: int = 200, images: int = 4, classes: int = 3) -> DetectionTable:
    """Detections with decimals of all lengths; some boxes inverted."""
    random = np.random.default_rng(0)
    box = random.normal(100, 80, (count, 4))
    box[::2] = box[::2].round(2)
    box[::3] = box[::3].round()
    return DetectionTable(
        random.integers(0, images, count), random.integers(0, classes, count), random.random(count), box
    )


def check_same(a: DetectionTable, b: DetectionTable) -> None:
    """Fail unless both hold the same detections, boxes up to the last bits."""
    assert a.image.tolist() == b.image.tolist()
    assert a.label.tolist() == b.label.tolist()
    assert a.score.tolist() == b.score.tolist()
    assert np.abs(a.box - b.box).max() < 1e-12
