"""Batches cut from photographs."""

from __future__ import annotations

import numpy as np

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_warp import warp_regions
from inception_rcnn.detector.training.region_loader import cut_batch
from inception_rcnn.detector.training.sampling import Batch
from inception_rcnn.structures.dataset import ImageCache


def test_a_batch_is_what_the_warp_cuts_mirrored_where_it_says_so(spec: InputSpec) -> None:
    rng = np.random.default_rng(0)
    photographs = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    boxes = np.array([(0, 0, 20, 20), (5, 3, 30, 33), (9, 9, 40, 20), (1, 1, 49, 39)], np.float32)
    batch = Batch(np.array([2, 0, 2, 1]), boxes, np.zeros(4, np.int64), np.array([False, True, True, False]))
    crops = cut_batch(ImageCache(photographs.__getitem__), batch, spec)
    for row, image in enumerate((2, 0, 2, 1)):
        expected = warp_regions(photographs[image], boxes[row : row + 1], spec)[0]
        assert np.array_equal(crops[row], expected[:, ::-1] if batch.mirror[row] else expected)
