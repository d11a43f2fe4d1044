"""Detections and objects in the orders in which every protocol wants them, found once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

_WORTH_A_THREAD = 50_000  # detections; below, starting threads costs more than it saves


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Rows of a detection table and of a truth table, class by class.

    Attributes:
        image: (M,) int32, the place of each detection's image in the order of images.
        ranked: (M,) int32 rows of detections, class by class, in a class by score, descending.
        grouped: (M,) int32 the same rows, class by class, in a class image by image, in an image by score.
        starts: (C + 1,) int64, where each class begins in `ranked` and `grouped`.
        truth_image: (N,) int32, the place of each object's image.
        truth_rows: (N,) int32 rows of objects, class by class, image by image, in an image in their own order.
        truth_starts: (C + 1,) int64, where each class begins in `truth_rows`.
        threads: How many to run kernels in.
    """

    image: NDArray[np.int32]
    ranked: NDArray[np.int32]
    grouped: NDArray[np.int32]
    starts: NDArray[np.int64]
    truth_image: NDArray[np.int32]
    truth_rows: NDArray[np.int32]
    truth_starts: NDArray[np.int64]
    threads: int

    def each_class(self, kernel: Callable[..., Any], *arguments: Any) -> None:
        """Call ``kernel(first, last, *arguments)`` so that the ranges first..last-1 make up all classes."""
        _in_ranges(self.threads, self.starts, kernel, *arguments)


def arrange(
    truth: GroundTruthTable, found: DetectionTable, *, ties_by_image: bool, threads: int | None = None
) -> Arrangement:
    """Return the orders.

    Args:
        truth: The objects.
        found: The detections, their labels and images known to be those of `truth`.
        ties_by_image: Equal scores stand in the order of the images' ids, and in an image in the order of the table;
            if not, in the order of the table alone.
        threads: How many; None: as many as there are processors.
    """
    from inception_rcnn.evaluation.ranking_kernels import rank_classes

    place = image_order(truth.image_ids)
    image, truth_image = place[found.image], place[truth.image]
    rows = np.arange(len(found), dtype=np.int32)
    if ties_by_image and (image[1:] < image[:-1]).any():
        rows, _ = _sorted_rows(rows, image, len(place))
    ranked, starts = _sorted_rows(rows, found.label, len(truth.class_names))
    by_image, _ = _sorted_rows(np.arange(len(truth), dtype=np.int32), truth_image, len(place))
    truth_rows, truth_starts = _sorted_rows(by_image, truth.label, len(truth.class_names))
    grouped = np.empty_like(ranked)
    workers = 1 if len(found) < _WORTH_A_THREAD else threads or os.cpu_count() or 1
    bits = (found.score + 0.0).view(np.uint64)  # adding 0 makes -0.0 equal to 0.0
    digits = max(len(place) - 1, 1).bit_length() // 11 + 1
    _in_ranges(workers, starts, rank_classes, bits, image, starts, digits, ranked, grouped)
    return Arrangement(image, ranked, grouped, starts, truth_image, truth_rows, truth_starts, workers)


def image_order(image_ids: tuple[int | str, ...]) -> NDArray[np.int32]:
    """Return the place of each image: by id where all ids are whole numbers, else where it is in the list."""
    numbers = [image_id for image_id in image_ids if isinstance(image_id, int)]
    place = np.arange(len(image_ids), dtype=np.int32)
    if len(numbers) == len(image_ids):
        place[sorted(range(len(numbers)), key=numbers.__getitem__)] = np.arange(len(numbers), dtype=np.int32)
    return place


def _sorted_rows(
    rows: NDArray[np.int32], keys: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rows by ascending keys 0..count-1, and where each key begins."""
    from inception_rcnn.evaluation.ranking_kernels import stable_counting_sort

    out, starts = np.empty_like(rows), np.zeros(count + 1, np.int64)
    stable_counting_sort(keys, rows, starts, out)
    return out, starts


def _in_ranges(threads: int, starts: NDArray[np.int64], kernel: Callable[..., Any], *arguments: Any) -> None:
    """Call the kernel for ranges of classes that hold about equally many detections, several at the same time."""
    classes = len(starts) - 1
    if threads == 1 or classes < 2:
        kernel(0, classes, *arguments)
        return
    wanted = np.linspace(0, starts[-1], 4 * threads + 1)
    edges = np.unique(np.append(np.searchsorted(starts[:-1], wanted[:-1]), [0, classes])).tolist()
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(kernel, first, last, *arguments) for first, last in pairwise(edges)]
        for job in jobs:
            job.result()
