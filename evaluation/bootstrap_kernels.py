"""Compiled average precision of data sets in which every image counts a number of times, many sets side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel


@kernel
def weighted_average_precision(
    weight: NDArray[np.uint16],
    image: NDArray[np.int32],
    true: NDArray[np.bool_],
    starts: NDArray[np.int64],
    objects: NDArray[np.float64],
    recalls: NDArray[np.float64],
    ap: NDArray[np.float64],
) -> None:
    """Write the average precision of each class in each set, NaN for classes without objects.

    A detection of an image that is there k times is k equal detections in a row. Precision only rises along a row of
    true ones, so its highest value from any of them on is that from the last of them on: one point stands for the row.

    Args:
        weight: (I, S) how many times each image is in each set.
        image: (M,) of the detections that count, class by class, best first.
        true: (M,) whether they are true.
        starts: (C + 1,) where each class begins.
        objects: (C, S) how many there are to find, every image as often as it is there.
        recalls: (R,) ascending, where to read precision; none for the area under the envelope.
        ap: (C, S) is written.
    """
    sets = weight.shape[1]
    for label in range(len(objects)):
        first, last = starts[label], starts[label + 1]
        room = int(np.count_nonzero(true[first:last]))
        found, precision = np.empty((room, sets), np.int32), np.empty((room, sets), np.float64)
        hits, counted = np.zeros(sets, np.int32), np.zeros(sets, np.int32)
        points = 0
        for i in range(first, last):
            times = weight[image[i]]
            for s in range(sets):
                counted[s] += times[s]
            if true[i]:
                for s in range(sets):
                    hits[s] += times[s]
                    found[points, s] = hits[s]
                    precision[points, s] = hits[s] / max(counted[s], np.int32(1))
                points += 1
        for i in range(points - 1, 0, -1):
            for s in range(sets):
                precision[i - 1, s] = max(precision[i - 1, s], precision[i, s])
        for s in range(sets):
            if objects[label, s] == 0:
                ap[label, s] = np.nan
                continue
            total, before, i = 0.0, 0, 0
            if len(recalls) == 0:
                for i in range(points):
                    total += (found[i, s] - before) * precision[i, s]
                    before = found[i, s]
                total /= objects[label, s]
            else:
                for recall in recalls:
                    while i < points and found[i, s] / objects[label, s] < recall:
                        i += 1
                    if i < points:
                        total += precision[i, s]
                total /= len(recalls)
            ap[label, s] = total
