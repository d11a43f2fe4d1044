"""The worst mistakes: confident detections that are false, and large objects that nothing found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation import error_kinds
from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.error_analysis import BACKGROUND_IOU, ErrorAnalysis
from inception_rcnn.evaluation.report.pictures import Album, Picture
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.structures.boxes import overlap_ratio

_OF_A_CLASS: Final = 3


@dataclass(frozen=True)
class Example:
    """One mistake, in words and, if the photograph is at hand, to be looked at.

    Args:
        class_name: Of the detection, or of the object not found.
        score: Of the detection; None for an object.
        explanation: What is there really; or what was found at the object's place.
        image_name: Of the photograph.
        box: Corners in pixels of the photograph, rounded.
        picture: None if there is no photograph.
    """

    class_name: str
    score: float | None
    explanation: str
    image_name: str
    box: tuple[int, ...]
    picture: Picture | None


def worst_false_positives(
    evaluation: Evaluation, errors: ErrorAnalysis, album: Album, count: int = 24
) -> list[Example]:
    """Return the false detections with the highest scores, at most three of a class.

    Args:
        evaluation: Its protocol says which detections are false.
        errors: Of the same tables: what is wrong with each detection.
        album: Of the photographs.
        count: How many to return at most.
    """
    matches, found = evaluation.matches, evaluation.detections
    false = np.flatnonzero(matches.outcome == FALSE)
    false = false[np.argsort(-found.score[false], kind="stable")]
    chosen = _some_of_each((int(row), int(found.label[row])) for row in false)
    return [_false_positive(evaluation, errors, album, row) for row in _first(chosen, count)]


def worst_misses(evaluation: Evaluation, album: Album, threshold: float, count: int = 24) -> list[Example]:
    """Return the largest objects that no detection found, whatever its score; at most three of a class.

    Args:
        evaluation: Its protocol says which objects were found.
        album: Of the photographs.
        threshold: The lowest score of other detections there that are worth naming.
        count: How many to return at most.
    """
    matches, truths = evaluation.matches, evaluation.truths
    missed = matches.wanted.copy()
    missed[matches.partner[matches.outcome == TRUE]] = False
    rows = np.flatnonzero(missed)
    sides = truths.box[rows, 2:] - truths.box[rows, :2]
    rows = rows[np.argsort(-sides[:, 0] * sides[:, 1], kind="stable")]
    chosen = _some_of_each((int(row), int(truths.label[row])) for row in rows)
    return [_miss(evaluation, album, row, threshold) for row in _first(chosen, count)]


def _some_of_each(rows: Iterable[tuple[int, int]]) -> Iterable[int]:
    seen: Counter[int] = Counter()
    for row, label in rows:
        seen[label] += 1
        if seen[label] <= _OF_A_CLASS:
            yield row


def _first(rows: Iterable[int], count: int) -> list[int]:
    return [row for row, _ in zip(rows, range(count), strict=False)]


def _false_positive(evaluation: Evaluation, errors: ErrorAnalysis, album: Album, row: int) -> Example:
    truths, found = evaluation.truths, evaluation.detections
    box, label, image = found.box[row], int(found.label[row]), int(found.image[row])
    target = int(errors.target[row])
    of_class = np.flatnonzero((truths.image == image) & ~truths.ignored & (truths.label == label))
    shown = [("other", truths.box[other]) for other in of_class if other != target]
    shown += [("true", truths.box[target])] if target >= 0 else []
    focus = np.stack([box] if target < 0 else [box, truths.box[target]])
    return Example(
        truths.display_names[label],
        float(found.score[row]),
        _what_is_wrong(evaluation, errors, row),
        truths.image_names[image],
        _rounded(box),
        album.cut(image, focus, [*shown, ("found", box)]),
    )


def _what_is_wrong(evaluation: Evaluation, errors: ErrorAnalysis, row: int) -> str:
    """Return the kind of error in words, with the object that the detection probably means."""
    truths, found, target = evaluation.truths, evaluation.detections, int(errors.target[row])
    if (found.box[row, 2:] <= found.box[row, :2]).any():
        return "the box is inverted: its right or lower side comes before the other"
    if target < 0:
        return _nothing_meant(evaluation, int(errors.kind[row]), int(found.image[row]))
    name = truths.display_names[truths.label[target]]
    overlap = float(overlap_ratio(found.box[row], truths.box[target]))
    return {
        error_kinds.CLASS: f"wrong class: it is a {name} (overlap {overlap:.2f})",
        error_kinds.LOCATION: f"wrong place: overlaps the {name} by {overlap:.2f} only",
        error_kinds.BOTH: f"wrong class and place: overlaps a {name} by {overlap:.2f}",
        error_kinds.DUPLICATE: "found twice: another detection has this object",
        error_kinds.TRUE: f"false by the rules of this report alone: by TIDE's it finds this {name} ({overlap:.2f})",
    }[int(errors.kind[row])]


def _nothing_meant(evaluation: Evaluation, kind: int, image: int) -> str:
    """Return what is wrong with a detection for which no object is known."""
    truths = evaluation.truths
    if kind == error_kinds.UNUSED:
        return "not among the 100 best detections of its photograph, which alone are sorted into kinds of errors"
    if kind == error_kinds.IGNORED:
        return "lies in an object that is marked to be ignored"
    annotated = ((truths.image == image) & ~truths.ignored).any()
    return "nothing of the known classes is there" if annotated else "the photograph has no annotated object"


def _miss(evaluation: Evaluation, album: Album, row: int, threshold: float) -> Example:
    truths, found = evaluation.truths, evaluation.detections
    box, image = truths.box[row], int(truths.image[row])
    here = np.flatnonzero((found.image == image) & (found.score >= threshold))
    overlap = overlap_ratio(box, found.box[here])
    best = int(overlap.argmax()) if len(here) and overlap.max() >= BACKGROUND_IOU else None
    shown: list[tuple[str, NDArray[np.float64]]] = [("missed", box)]
    explanation = f"nothing was detected there with a score of {threshold:.2g} or more"
    if best is not None:
        other = int(here[best])
        name = truths.display_names[found.label[other]]
        explanation = f"detected there: {name} {found.score[other]:.2f} (overlap {overlap[best]:.2f})"
        shown.append(("found", found.box[other]))
    return Example(
        truths.display_names[truths.label[row]],
        None,
        explanation,
        truths.image_names[image],
        _rounded(box),
        album.cut(image, box[None], shown),
    )


def _rounded(box: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(round(side) for side in box.tolist())
