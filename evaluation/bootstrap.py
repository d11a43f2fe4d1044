"""How far average precision would move with other images of the same kind: the bootstrap over images.

Whether a detection is true depends on its image alone. So the detections are matched and sorted once, and a data set
of drawn images is the same list in which every image counts as often as it was drawn.

Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; percentile intervals, Efron and Tibshirani 1993,
"An Introduction to the Bootstrap", chapter 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.protocols import PROTOCOLS
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.structures import InputError
from inception_rcnn.structures.kernels import kernel

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
_TOGETHER: Final = 64  # draws scored side by side, so that one reading of the detections serves all of them


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; both NaN where nothing is known."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        """Return whether the value is inside, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, eq=False)
class Resampled:
    """Average precision in data sets drawn from the same images, or a difference of two such.

    Among repeated images the best precision from a recall on is a little higher than among different ones, so the draws
    lie above the estimate (on val2 of ILSVRC DET, by 1.0 point of mAP). Their intervals are therefore moved so that the
    draws' mean is the estimate: they tell how far another sample of as many images would lie from this one.

    A difference of two detectors stays where it was drawn: what lifts both cancels, and where one is never better in
    any draw, its interval must not say that it may be, nor that it is surely worse where many draws are equal.

    Args:
        ap: float64 (resamples, classes); NaN where a class has no objects among the images drawn.
        estimate: float64 (classes,), in the images as they are; NaN for classes without objects.
        is_difference: Whether the numbers are differences, from -1 on, and not values, from 0 on.
    """

    ap: NDArray[np.float64]
    estimate: NDArray[np.float64]
    is_difference: bool = False

    @property
    def map(self) -> NDArray[np.float64]:
        """The mean over classes with objects, (resamples,); draws without a single object are left out."""
        known = ~np.isnan(self.ap)
        some = known.any(axis=1)
        total = np.where(known, self.ap, 0.0).sum(axis=1)[some]
        mean: NDArray[np.float64] = total / known.sum(axis=1)[some]
        return mean

    def minus(self, other: Resampled) -> Resampled:
        """Return by how much this is better than another detector's, draw by draw of the same images."""
        return Resampled(self.ap - other.ap, self.estimate - other.estimate, is_difference=True)

    def map_interval(self, level: float = LEVEL) -> Interval:
        """Return the interval of the mean over classes."""
        return self._around(self.map, float(np.nanmean(self.estimate)), level)

    def class_intervals(self, level: float = LEVEL) -> list[Interval]:
        """Return the interval of each class, from the draws in which it has objects."""
        columns = zip(self.ap.T, self.estimate.tolist(), strict=True)
        return [self._around(values[~np.isnan(values)], estimate, level) for values, estimate in columns]

    def _around(self, draws: NDArray[np.float64], estimate: float, level: float) -> Interval:
        if len(draws) == 0 or np.isnan(estimate):
            return Interval(np.nan, np.nan)
        ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        if not self.is_difference:
            ends = np.clip(ends - draws.mean() + estimate, 0.0, 1.0)
        low, high = ends.tolist()
        return Interval(min(low, estimate), max(high, estimate))  # very skewed draws may have both ends on one side


def drawn_images(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield for each resample how many times each image was drawn, (images,)."""
    draw = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(draw.integers(0, images, images), minlength=images)


def resample_images(evaluation: Evaluation, *, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
    """Return the average precisions in data sets of as many images, drawn with replacement.

    The same seed draws the same images, whatever the detector: the difference of two results is a paired one. Copies of
    an image stand next to each other among equal scores. Classes without objects in a draw are left out of its mean, as
    the evaluators do.

    Args:
        evaluation: Its result has `matches`; its protocol says how a curve is averaged.
        resamples: How many data sets to draw.
        seed: Of the drawing.

    Raises:
        InputError: The result has no matches, or there is nothing to draw.

    >>> from inception_rcnn.evaluation import evaluate_voc
    >>> from inception_rcnn.structures import DetectionTable, GroundTruthTable
    >>> truths = GroundTruthTable(("cat",), (1, 2), [0, 1], [0, 0], [[0, 0, 9, 9], [0, 0, 9, 9]])
    >>> found = DetectionTable([0], [0], [0.9], [[0, 0, 9, 9]])
    >>> result = evaluate_voc(truths, found)
    >>> drawn = resample_images(Evaluation(title="one of two", result=result, truths=truths, detections=found))
    >>> drawn.estimate.tolist(), 0.5 in drawn.map_interval()
    ([0.5], True)
    """
    if resamples < 1:
        raise InputError(f"resamples should be at least 1, got {resamples}")
    matches, truths = evaluation.matches, evaluation.truths
    outcome = matches.outcome[matches.ranked]
    counts = (outcome == TRUE) | (outcome == FALSE)
    rows = matches.ranked[counts]
    starts = np.append(0, np.cumsum(counts))[matches.starts].astype(np.int64)
    image, true = evaluation.detections.image[rows], outcome[counts] == TRUE
    classes, images = len(truths.class_names), len(truths.image_ids)
    home, label = truths.image[matches.wanted], truths.label[matches.wanted]
    recalls = PROTOCOLS[evaluation.result.protocol].recalls

    def score(weights: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        weight = np.stack(weights, axis=1).astype(np.uint16)
        objects = [np.bincount(label, weights=one[home], minlength=classes) for one in weights]
        ap = np.empty((classes, len(weights)))
        weighted_average_precision(weight, image, true, starts, np.stack(objects, axis=1), recalls, ap)
        return ap.T

    draws = drawn_images(images, resamples, seed)
    parts = iter(lambda: list(islice(draws, _TOGETHER)), [])
    return Resampled(np.concatenate([score(part) for part in parts]), score([np.ones(images, np.int64)])[0])


def known_intervals(evaluation: Evaluation, resampled: Resampled) -> list[Interval]:
    """Return the interval of each class, NaN if all its objects are in one image: every draw has the same.

    Args:
        evaluation: It says where the objects are.
        resampled: Its draws, or the differences of two detectors' on the same objects.
    """
    wanted, truths = evaluation.matches.wanted, evaluation.truths
    pairs = np.unique(np.stack([truths.label[wanted], truths.image[wanted]]), axis=1)
    images = np.bincount(pairs[0], minlength=len(truths.class_names)).tolist()
    unknown = Interval(np.nan, np.nan)
    return [own if n > 1 else unknown for own, n in zip(resampled.class_intervals(), images, strict=True)]


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
        # Down the ranks, all sets side by side: a point of each curve at every true detection.
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
        # The best precision from each point on.
        for i in range(points - 1, 0, -1):
            for s in range(sets):
                precision[i - 1, s] = max(precision[i - 1, s], precision[i, s])
        # The area under it, or its mean at the recalls.
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
