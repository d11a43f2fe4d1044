"""Two detectors on the same photographs: by how much one is better, how sure that is, in which classes, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.bootstrap import RESAMPLES, Interval, Resampled, known_intervals, resample_images
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.structures import InputError
from inception_rcnn.structures.columns import html_table

_EQUAL: Final = 1e-12  # average precisions closer than that are equal


@dataclass(frozen=True)
class ClassDifference:
    """One class under both detectors.

    Args:
        label: Its position.
        name, key: What people call it, and the data set's own name.
        first, second: Average precisions in [0, 1].
        interval: Of the difference; NaN if its objects are all in one photograph.
        objects: How many there are.
    """

    label: int
    name: str
    key: str
    first: float
    second: float
    interval: Interval
    objects: int

    @property
    def difference(self) -> float:
        """By how much the second detector is better."""
        return self.second - self.first

    @property
    def winner(self) -> int:
        """1 if the first detector has the higher average precision, 2 if the second has, 0 if they are equal."""
        return 0 if abs(self.difference) < _EQUAL else 1 if self.difference < 0 else 2

    @property
    def option(self) -> tuple[int, str]:
        """Position and name, for a list to choose from."""
        return self.label, self.name

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the difference is on one side of 0."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class PhotographDifference:
    """The mistakes in one photograph: false detections and objects not found, each detector at its best score."""

    image: int
    name: str
    false: tuple[int, int]
    missed: tuple[int, int]

    @property
    def difference(self) -> int:
        """How many fewer mistakes the second detector makes; below 0, how many more."""
        return self.false[0] + self.missed[0] - self.false[1] - self.missed[1]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """How two detectors differ; differences are second minus first. A notebook shows those of the classes.

    Args:
        maps: Mean average precisions.
        map_intervals: Theirs, each by itself.
        interval: Of the difference, both detectors on the same drawn photographs.
        better_in: The share of the draws in which the second detector is better.
        thresholds: The score from which on each detector is best used: the best mean F1 over the classes.
        classes: Those with objects, in the order of the data set.
        photographs: All that differ, the largest differences first.
    """

    maps: tuple[float, float]
    map_intervals: tuple[Interval, Interval]
    interval: Interval
    better_in: float
    thresholds: tuple[float, float]
    classes: tuple[ClassDifference, ...]
    photographs: tuple[PhotographDifference, ...]

    def __repr__(self) -> str:
        """Return the difference of the means, how sure it is, and who wins how many classes."""
        first, second = self.maps
        return (
            f"Comparison(mAP@0.5 {first:.3f} and {second:.3f}: {self.difference:+.3f}, 95 % interval "
            f"{self.interval.low:+.3f} to {self.interval.high:+.3f}; of {len(self.classes)} classes the first has "
            f"{len(self.won_by(1))}, the second {len(self.won_by(2))})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the classes, the largest differences first."""
        lines = [
            (one.name, one.first, one.second, f"{one.difference:+.3f}", "yes" if one.is_sure else "no", one.objects)
            for one in sorted(self.classes, key=lambda one: -abs(one.difference))
        ]
        heads = ("class", "first AP@0.5", "second AP@0.5", "difference", "sure", "objects")
        return html_table(repr(self), heads, lines)

    @property
    def difference(self) -> float:
        """The difference of the means."""
        return self.maps[1] - self.maps[0]

    @property
    def largest(self) -> float:
        """The largest difference of a class, whoever wins it."""
        return max((abs(one.difference) for one in self.classes), default=0.0)

    def won_by(self, detector: int) -> list[ClassDifference]:
        """Return the classes in which the first (1) or second (2) detector is better, or neither (0); largest first."""
        won = [one for one in self.classes if one.winner == detector]
        return sorted(won, key=lambda one: -abs(one.difference))

    def photographs_won_by(self, detector: int) -> list[PhotographDifference]:
        """Return the photographs in which the first (1) or second (2) detector makes fewer mistakes, largest first."""
        return [one for one in self.photographs if (one.difference > 0) == (detector == 2)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; shares in [0, 1]."""
        return {
            "maps": list(self.maps),
            "map_intervals": [_ends(one) for one in self.map_intervals],
            "difference": self.difference,
            "interval": _ends(self.interval),
            "second_better_in": self.better_in,
            "thresholds": list(self.thresholds),
            "classes_won": [len(self.won_by(1)), len(self.won_by(2))],
            "classes": {
                one.key: {
                    "ap": [one.first, one.second],
                    "difference": one.difference,
                    "interval": _ends(one.interval),
                    "objects": one.objects,
                }
                for one in self.classes
            },
            "photographs": [
                {"image": one.name, "false": list(one.false), "missed": list(one.missed), "difference": one.difference}
                for one in self.photographs
            ],
        }


def compare(first: Evaluation, second: Evaluation, *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Return how two detectors differ.

    Args:
        first, second: Evaluations of the same ground truth by the same protocol.
        resamples, seed: Of the intervals; see `resample_images`.

    Raises:
        InputError: The protocols or the ground truths differ.
    """
    _check(first, second)
    draws = [resample_images(one, resamples=resamples, seed=seed) for one in (first, second)]
    difference = draws[1].minus(draws[0])
    thresholds = first.matches.best_f1().threshold, second.matches.best_f1().threshold
    return Comparison(
        maps=(first.result.map, second.result.map),
        map_intervals=(draws[0].map_interval(), draws[1].map_interval()),
        interval=difference.map_interval(),
        better_in=float((difference.map > _EQUAL).mean()),
        thresholds=thresholds,
        classes=_classes(first, second, difference),
        photographs=_photographs(first, second, thresholds),
    )


def mistakes(evaluation: Evaluation, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each image how many detections from that score on are false, and how many objects they miss."""
    matches, images = evaluation.matches, len(evaluation.truths.image_ids)
    asked = matches.score >= threshold
    false = np.bincount(evaluation.detections.image[asked & (matches.outcome == FALSE)], minlength=images)
    missed = matches.wanted.copy()
    missed[matches.partner[asked & (matches.outcome == TRUE)]] = False
    return false, np.bincount(evaluation.truths.image[missed], minlength=images)


def _check(first: Evaluation, second: Evaluation) -> None:
    a, b = first.truths, second.truths
    if first.result.protocol != second.result.protocol:
        raise InputError(f"the protocols differ: {first.result.protocol} and {second.result.protocol}")
    same_names = a.class_names == b.class_names and a.image_ids == b.image_ids
    if not same_names or not np.array_equal(a.box, b.box) or not np.array_equal(a.label, b.label):
        raise InputError("two detectors should be compared on the same ground truth, but theirs differ")


def _classes(first: Evaluation, second: Evaluation, difference: Resampled) -> tuple[ClassDifference, ...]:
    objects, names = first.matches.objects.tolist(), first.truths.display_names
    intervals = known_intervals(first, difference)
    rows = []
    for label, (key, before) in enumerate(first.result.ap.items()):
        after = second.result.ap[key]
        if before is not None and after is not None and objects[label]:
            rows.append(ClassDifference(label, names[label], key, before, after, intervals[label], objects[label]))
    return tuple(rows)


def _photographs(
    first: Evaluation, second: Evaluation, thresholds: tuple[float, float]
) -> tuple[PhotographDifference, ...]:
    counts = [mistakes(one, threshold) for one, threshold in zip((first, second), thresholds, strict=True)]
    before, after = (false + missed for false, missed in counts)
    difference = before - after
    order = np.argsort(-np.abs(difference), kind="stable")
    rows = []
    for image in order[difference[order] != 0].tolist():
        false, missed = (tuple(int(counts[k][part][image]) for k in range(2)) for part in range(2))
        name = first.truths.image_names[image]
        rows.append(PhotographDifference(image, name, (false[0], false[1]), (missed[0], missed[1])))
    return tuple(rows)


def _ends(interval: Interval) -> list[float] | None:
    """Return the ends, None where nothing is known: JSON has no NaN."""
    return None if np.isnan(interval.low) else [interval.low, interval.high]
