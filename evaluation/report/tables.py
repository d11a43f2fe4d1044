"""The tables of a page: classes, kinds of errors, sizes of objects, confusions, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, NEUTRAL, TRUE
from inception_rcnn.evaluation.bootstrap import Interval, Resampled, known_intervals
from inception_rcnn.evaluation.error_analysis import ERROR_KINDS, ErrorAnalysis
from inception_rcnn.evaluation.pixel_matching import average_by_class
from inception_rcnn.evaluation.protocols import PROTOCOLS
from inception_rcnn.evaluation.report.confusion import Confusion
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.structures.boxes import sized_boxes

KIND_TEXTS: Final = {
    "Cls": ("Wrong class", "lies on an object of another class (overlap 0.5 or more)"),
    "Loc": ("Wrong place", "meets an object of its class, but overlaps it by 0.1 to 0.5 only"),
    "Both": ("Wrong class and place", "overlaps an object of another class by 0.1 to 0.5"),
    "Dupe": ("Found twice", "lies on an object of its class that a better detection has"),
    "Bkg": ("Nothing there", "overlaps no object by more than 0.1"),
    "Miss": ("Not found", "an object that no detection found, not even in the wrong place or class"),
}


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Args:
        label: Its position.
        name: What people call it.
        key: The data set's own name, where it is another; else empty.
        ap: In [0, 1]; None without objects.
        interval: Of `ap`; NaN if the objects are all in one photograph.
        objects, detections: How many.
        found: The share of the objects found by some detection; None without objects.
        precision, recall: At the chosen score; None without detections, without objects.
    """

    label: int
    name: str
    key: str
    ap: float | None
    interval: Interval
    objects: int
    detections: int
    found: float | None
    precision: float | None
    recall: float | None

    @property
    def option(self) -> tuple[int, str]:
        """Position and name, for a list to choose from."""
        return self.label, self.name

    @property
    def sort_value(self) -> float:
        """The average precision; classes without one come last."""
        return -1.0 if self.ap is None else self.ap


@dataclass(frozen=True)
class ErrorRow:
    """One kind of error, or a sum of several.

    Args:
        name, text: What it is.
        count: How many there are; None for a sum.
        cost: What mAP would gain if these were corrected and nothing else.
        step: What it gains if those above are corrected already; None for a sum.
    """

    name: str
    text: str
    count: int | None
    cost: float
    step: float | None


def class_rows(evaluation: Evaluation, resampled: Resampled, confusion: Confusion) -> list[ClassRow]:
    """Return the classes, in the order of the data set."""
    matches, rows = evaluation.matches, []
    intervals = known_intervals(evaluation, resampled)
    columns = zip(evaluation.truths.display_names, evaluation.result.ap.items(), intervals, strict=True)
    for label, (name, (key, ap), interval) in enumerate(columns):
        objects, mine = int(matches.objects[label]), matches.of_class(label)
        hits = int((matches.outcome[mine] == TRUE).sum())
        rows.append(
            ClassRow(
                label,
                name,
                "" if key == name else key,
                ap if objects and ap is not None and not isnan(ap) else None,
                interval,
                objects,
                len(mine),
                hits / objects if objects else None,
                confusion.precision(label),
                confusion.recall(label),
            )
        )
    return rows


def error_rows(errors: ErrorAnalysis) -> list[ErrorRow]:
    """Return the six kinds of errors, then all false detections together, then all objects not found."""
    kinds = [
        ErrorRow(*KIND_TEXTS[kind], errors.counts[kind], errors.cost[kind], errors.steps[kind]) for kind in ERROR_KINDS
    ]
    return [
        *kinds,
        ErrorRow("All false detections", "if all scored below all true ones", None, errors.false_positives, None),
        ErrorRow("All objects not found", "if they did not exist", None, errors.false_negatives, None),
    ]


@dataclass(frozen=True)
class SizeGroup:
    """The objects of one size.

    Args:
        name: What they are called.
        objects: How many there are.
        found: The share that some detection found; None without objects.
        map: Mean over the classes with such objects of their average precision; None without objects.
    """

    name: str
    objects: int
    found: float | None
    map: float | None


def by_pixels(evaluation: Evaluation) -> list[SizeGroup]:
    """Return the small, the medium and the large objects, as the protocol divides them.

    The area is COCO's where the truth has it, else that of the box.
    """
    areas, own = _areas(evaluation)
    sizes = PROTOCOLS[evaluation.result.protocol].sizes
    return [_group(size.name, evaluation, size.holds(areas), size.holds(own)) for size in sizes]


def by_class_thirds(evaluation: Evaluation) -> list[SizeGroup]:
    """Return the smallest, the middle and the largest third of each class's objects, by their area in pixels.

    Source: Hoiem et al. 2012, "Diagnosing Error in Object Detectors", section 2.2, which compares sizes within a class,
    because a small airplane is larger than a large cup.
    """
    (areas, own), wanted = _areas(evaluation), evaluation.matches.wanted
    truths, detections = evaluation.truths, evaluation.detections
    third, own_third = np.zeros(len(areas), np.int8), np.zeros(len(own), np.int8)
    for label in range(len(truths.class_names)):
        mine = truths.label == label
        sizes = areas[mine & wanted]
        if len(sizes):
            edges = np.quantile(sizes, [1 / 3, 2 / 3])
            third[mine] = np.searchsorted(edges, areas[mine], side="left")
            theirs = detections.label == label
            own_third[theirs] = np.searchsorted(edges, own[theirs], side="left")
    names = ("smallest third", "middle third", "largest third")
    return [_group(name, evaluation, third == k, own_third == k) for k, name in enumerate(names)]


def _areas(evaluation: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas of all objects and of all detections."""
    sides = np.maximum(sized_boxes(evaluation.detections.box)[:, 2:], 0)  # inverted boxes have no area
    return evaluation.truths.object_areas(), sides[:, 0] * sides[:, 1]


def _group(name: str, evaluation: Evaluation, of_size: NDArray[np.bool_], own_size: NDArray[np.bool_]) -> SizeGroup:
    """Return one size: detections of objects of other sizes count neither way, nor do false ones of other sizes."""
    matches, truths = evaluation.matches, evaluation.truths
    true, false = matches.outcome == TRUE, matches.outcome == FALSE
    elsewhere = true & ~np.append(of_size, False)[matches.partner] | false & ~own_size
    chosen = matches.wanted & of_size
    count = int(chosen.sum())
    if count == 0:
        return SizeGroup(name, 0, None, None)
    objects = np.bincount(truths.label[chosen], minlength=len(truths.class_names))
    outcome = np.where(elsewhere, np.int8(NEUTRAL), matches.outcome)
    average = PROTOCOLS[evaluation.result.protocol].average
    values = np.array(average_by_class(replace(matches, outcome=outcome, objects=objects), average))
    return SizeGroup(name, count, int((outcome == TRUE).sum()) / count, float(values[objects > 0].mean()))


def confusion_data(confusion: Confusion) -> dict[str, Any]:
    """Return the matrix for the page's script, as (what it is, what it was called, how often) where that is not 0."""
    is_, called = np.nonzero(confusion.counts)
    return {
        "cells": np.stack([is_, called, confusion.counts[is_, called]], axis=1).tolist(),
        "shown": confusion.most_confused(24),
    }
