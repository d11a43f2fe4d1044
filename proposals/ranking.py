"""The order of the proposals: which of all hierarchies' boxes come first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.grouping import Hierarchy
from inception_rcnn.proposals.region_features import Regions

RANKINGS = ("random",)


def gather(
    segmentations: list[tuple[Regions, list[Hierarchy]]],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """All boxes (N, 4), and each one's position from the top of its hierarchy (whole picture 1, superpixels n).

    Superpixels are listed once a segmentation, not once a hierarchy, as in the released code.
    """
    boxes, positions = [], []
    for regions, hierarchies in segmentations:
        count = len(regions.sizes)
        boxes.append(regions.boxes)
        positions.append(np.full(count, count, dtype=np.float32))
        for hierarchy in hierarchies:
            boxes.append(hierarchy.boxes)
            positions.append(np.arange(count - 1, 0, -1, dtype=np.float32))
    return np.concatenate(boxes), np.concatenate(positions)


def random_order(positions: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Scores (N,), higher earlier: minus the position from the top times a uniform random number.

    Source:
        Uijlings et al., IJCV 2013, section 3.3: v = RND * i.
    """
    draws = np.random.default_rng(seed).random(len(positions), dtype=np.float32)
    return -positions * draws
