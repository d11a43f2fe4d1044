"""Batches of regions as pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.training.sampling import Batch
from inception_rcnn.structures.dataset import ImageCache

Image = npt.NDArray[np.uint8]


def cut_batch(images: ImageCache, batch: Batch, spec: InputSpec, *, threads: int = 1) -> Image:
    """The batch's regions as uint8 RGB (B, side, side, 3), mirrored where it says so."""
    crops = np.empty((len(batch.boxes), spec.side, spec.side, 3), dtype=np.uint8)
    for index in np.unique(batch.images):
        rows = np.flatnonzero(batch.images == index)
        crops[rows] = RegionWarp(images[int(index)], spec).cut(batch.boxes[rows], threads=threads)
    crops[batch.mirror] = crops[batch.mirror, :, ::-1]
    return crops
