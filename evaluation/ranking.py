"""What the evaluators take, as tables that fit each other, and their rows in the orders that every protocol wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import Detections, GroundTruth, InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from inception_rcnn.structures.jobs import available_processors
from inception_rcnn.structures.kernels import kernel

TruthInput = GroundTruthTable | Sequence[GroundTruth]
DetectionInput = DetectionTable | Sequence[Detections]

_WORTH_A_THREAD = 50_000  # detections; below, starting threads costs more than it saves
_FEW = 48  # below so many, insertion beats counting digits
_DIGIT = 2048  # 11 bits: the counters of a digit stay in the processor's first cache
_SCORE_DIGITS = 6  # of 11 bits make a float64


def as_tables(ground_truths: TruthInput, detections: DetectionInput) -> tuple[GroundTruthTable, DetectionTable]:
    """Return both as tables that fit each other.

    Args:
        ground_truths: A table, or one `GroundTruth` for each image, all with the same classes.
        detections: A table whose images and labels are positions in those of the truth; or one `Detections` for each
            image in the same order, their classes matched by name.

    Raises:
        InputError: The two do not fit.
    """
    truth = truth_table(ground_truths)
    images = len(truth.image_ids)
    if isinstance(detections, DetectionTable):
        found = detections
    elif len(detections) != images:
        raise InputError(f"detections should have one entry for each image, got {len(detections)} for {images} images")
    else:
        found = DetectionTable.from_detections(detections, truth.class_names)
    _check_positions(found.image, images, "image", "images")
    _check_positions(found.label, len(truth.class_names), "label", "classes")
    return truth, found


def truth_table(ground_truths: TruthInput) -> GroundTruthTable:
    """Return the ground truth as a table; one that is a table already as it is.

    Raises:
        InputError: The class names differ between images.
    """
    if isinstance(ground_truths, GroundTruthTable):
        return ground_truths
    return GroundTruthTable.from_ground_truths(ground_truths)


def _check_positions(positions: NDArray[np.int32], limit: int, name: str, what: str) -> None:
    if len(positions) and positions.max() >= limit:
        row = int(np.argmax(positions >= limit))
        raise InputError(
            f"the detections' {name} should be below {limit}, the number of {what} of the ground truth, "
            f"but row {row} has {positions[row]}"
        )


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Rows of a detection table and of a truth table, class by class.

    Args:
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
    place = image_order(truth.image_ids)
    image, truth_image = place[found.image], place[truth.image]
    rows = np.arange(len(found), dtype=np.int32)
    if ties_by_image and (image[1:] < image[:-1]).any():
        rows, _ = _sorted_rows(rows, image, len(place))
    ranked, starts = _sorted_rows(rows, found.label, len(truth.class_names))
    by_image, _ = _sorted_rows(np.arange(len(truth), dtype=np.int32), truth_image, len(place))
    truth_rows, truth_starts = _sorted_rows(by_image, truth.label, len(truth.class_names))
    grouped = np.empty_like(ranked)
    workers = 1 if len(found) < _WORTH_A_THREAD else threads or available_processors()
    bits = (found.score + 0.0).view(np.uint64)  # adding 0 makes -0.0 equal to 0.0
    digits = max(len(place) - 1, 1).bit_length() // 11 + 1
    _in_ranges(workers, starts, rank_classes, bits, image, starts, _SCORE_DIGITS, digits, ranked, grouped)
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


@kernel
def stable_counting_sort(
    keys: NDArray[np.int32], rows: NDArray[np.int32], starts: NDArray[np.int64], out: NDArray[np.int32]
) -> None:
    """Put `rows` into `out` by ascending ``keys[row]``; ``starts[k]`` becomes where key k begins, the last the end."""
    starts[:] = 0
    for row in rows:
        starts[keys[row] + 1] += 1
    for key in range(1, len(starts)):
        starts[key] += starts[key - 1]
    place = starts.copy()
    for row in rows:
        key = keys[row]
        out[place[key]] = row
        place[key] += 1


@kernel
def sort_by_keys(
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    spare_keys: NDArray[np.uint64],
    spare_rows: NDArray[np.int32],
    digits: int,
) -> None:
    """Sort `rows` in place by ascending `keys`, which move along; only the lowest `digits` digits of 11 bits count."""
    count = len(keys)
    # Few rows: insertion, which compares whole keys.
    if count < _FEW:
        for i in range(1, count):
            key, row, j = keys[i], rows[i], i
            while j > 0 and keys[j - 1] > key:
                keys[j], rows[j] = keys[j - 1], rows[j - 1]
                j -= 1
            keys[j], rows[j] = key, row
        return
    # Many rows: a stable pass for each digit, from the lowest to the highest.
    place = np.empty(_DIGIT, np.int64)
    for digit in range(digits):
        shift = np.uint64(11 * digit)
        # How many keys have each value of the digit; if all have the same, the pass would change nothing.
        place[:] = 0
        for key in keys:
            place[(key >> shift) & np.uint64(_DIGIT - 1)] += 1
        if place[(keys[0] >> shift) & np.uint64(_DIGIT - 1)] == count:
            continue
        # Where the keys of each value begin.
        total = np.int64(0)
        for value in range(_DIGIT):
            total, place[value] = total + place[value], total
        # Every key to its place, equal ones in their order.
        for i in range(count):
            value = (keys[i] >> shift) & np.uint64(_DIGIT - 1)
            spare_keys[place[value]] = keys[i]
            spare_rows[place[value]] = rows[i]
            place[value] += 1
        keys[:] = spare_keys
        rows[:] = spare_rows


@kernel
def rank_classes(
    first: int,
    last: int,
    score_bits: NDArray[np.uint64],
    image: NDArray[np.int32],
    starts: NDArray[np.int64],
    score_digits: int,
    image_digits: int,
    ranked: NDArray[np.int32],
    grouped: NDArray[np.int32],
) -> None:
    """Sort the rows of the classes first..last-1: `ranked` by score, descending; `grouped` by image, then by score.

    Args:
        first, last: Which classes.
        score_bits: (M,) the scores' float64 as whole numbers.
        image: (M,) which image a row belongs to.
        starts: (C + 1,) where each class begins in `ranked` and `grouped`.
        score_digits, image_digits: How many digits of 11 bits the scores and `image` need.
        ranked: (M,) holds the rows by class on entry; rows of equal score keep that order.
        grouped: (M,) is written.
    """
    sign = np.uint64(1) << np.uint64(63)
    for label in range(first, last):
        rows = ranked[starts[label] : starts[label + 1]]
        keys, spare_keys = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
        spare_rows = np.empty(len(rows), np.int32)
        # By score, the highest first: the bits of a negative float grow as it falls; those of a positive one grow with
        # it, so they are turned over, which also puts them first.
        for i in range(len(rows)):
            bits = score_bits[rows[i]]
            keys[i] = bits if bits & sign else ~(bits | sign)
        sort_by_keys(keys, rows, spare_keys, spare_rows, score_digits)
        # The same rows by image: the sort is stable, so that scores still descend in each image.
        by_image = grouped[starts[label] : starts[label + 1]]
        for i in range(len(rows)):
            by_image[i] = rows[i]
            keys[i] = np.uint64(image[rows[i]])
        sort_by_keys(keys, by_image, spare_keys, spare_rows, image_digits)
