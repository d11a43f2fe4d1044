"""The worst mistakes: confident detections that are false, and large objects that nothing found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.report.pictures import Album, Picture
from inception_rcnn.structures.boxes import overlap_ratio

_OF_A_CLASS: Final = 3
_POSITIVE: Final = 0.5
_BACKGROUND: Final = 0.1


@dataclass(frozen=True)
class Example:
    """One mistake, in words and, if the photograph is at hand, to be looked at.

    Attributes:
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


def worst_false_positives(report: ReportInput, album: Album, count: int = 24) -> list[Example]:
    """Return the false detections with the highest scores, at most three of a class."""
    matches, found = report.result.kept_matches(), report.detections
    false = np.flatnonzero(matches.outcome == FALSE)
    false = false[np.argsort(-found.score[false], kind="stable")]
    chosen = _some_of_each((int(row), int(found.label[row])) for row in false)
    return [_false_positive(report, album, row) for row in _first(chosen, count)]


def worst_misses(report: ReportInput, album: Album, threshold: float, count: int = 24) -> list[Example]:
    """Return the largest objects that no detection found, whatever its score; at most three of a class.

    Args:
        threshold: From which score on other detections there are told of.
    """
    matches, truths = report.result.kept_matches(), report.truths
    missed = matches.wanted.copy()
    missed[matches.partner[matches.outcome == TRUE]] = False
    rows = np.flatnonzero(missed)
    sides = truths.box[rows, 2:] - truths.box[rows, :2]
    rows = rows[np.argsort(-sides[:, 0] * sides[:, 1], kind="stable")]
    chosen = _some_of_each((int(row), int(truths.label[row])) for row in rows)
    return [_miss(report, album, row, threshold) for row in _first(chosen, count)]


def _some_of_each(rows: Iterable[tuple[int, int]]) -> Iterable[int]:
    seen: Counter[int] = Counter()
    for row, label in rows:
        seen[label] += 1
        if seen[label] <= _OF_A_CLASS:
            yield row


def _first(rows: Iterable[int], count: int) -> list[int]:
    return [row for row, _ in zip(rows, range(count), strict=False)]


def _false_positive(report: ReportInput, album: Album, row: int) -> Example:
    truths, found = report.truths, report.detections
    box, label, image = found.box[row], int(found.label[row]), int(found.image[row])
    here = np.flatnonzero((truths.image == image) & ~truths.ignored)
    target, explanation = _what_is_there(report, row, here)
    own = [("other", truths.box[other]) for other in here if truths.label[other] == label and other != target]
    shown = [*own, *([("true", truths.box[target])] if target is not None else []), ("found", box)]
    focus = np.stack([box] if target is None else [box, truths.box[target]])
    return Example(
        report.class_names[label],
        float(found.score[row]),
        explanation,
        report.image_names[image],
        _rounded(box),
        album.cut(image, focus, shown),
    )


def _what_is_there(report: ReportInput, row: int, here: NDArray[np.int64]) -> tuple[int | None, str]:
    """Return the object a false detection probably means, and what is wrong with it, as TIDE asks."""
    truths, found = report.truths, report.detections
    if (found.box[row, 2:] <= found.box[row, :2]).any():
        return None, "the box is inverted: its right or lower side comes before the other"
    overlap = overlap_ratio(found.box[row], truths.box[here])
    same = truths.label[here] == found.label[row]
    own, own_row = _largest(overlap, same, here)
    foreign, foreign_row = _largest(overlap, ~same, here)
    other = report.class_names[truths.label[foreign_row]] if foreign_row is not None else ""
    if _BACKGROUND <= own < _POSITIVE:
        return own_row, f"wrong place: overlaps the {report.class_names[found.label[row]]} by {own:.2f} only"
    if foreign >= _POSITIVE:
        return foreign_row, f"wrong class: it is a {other} (overlap {foreign:.2f})"
    if own >= _POSITIVE:
        return own_row, "found twice: another detection has this object"
    if foreign > _BACKGROUND:
        return foreign_row, f"wrong class and place: overlaps a {other} by {foreign:.2f}"
    return None, "nothing of the known classes is there" if len(here) else "the photograph has no annotated object"


def _largest(
    overlap: NDArray[np.float64], chosen: NDArray[np.bool_], rows: NDArray[np.int64]
) -> tuple[float, int | None]:
    if not chosen.any():
        return 0.0, None
    best = int(np.where(chosen, overlap, -1.0).argmax())
    return float(overlap[best]), int(rows[best])


def _miss(report: ReportInput, album: Album, row: int, threshold: float) -> Example:
    truths, found = report.truths, report.detections
    box, image = truths.box[row], int(truths.image[row])
    here = np.flatnonzero((found.image == image) & (found.score >= threshold))
    overlap = overlap_ratio(box, found.box[here])
    best = int(overlap.argmax()) if len(here) and overlap.max() >= _BACKGROUND else None
    shown: list[tuple[str, NDArray[np.float64]]] = [("missed", box)]
    explanation = f"nothing was detected there with a score of {threshold:.2g} or more"
    if best is not None:
        other = int(here[best])
        name = report.class_names[found.label[other]]
        explanation = f"detected there: {name} {found.score[other]:.2f} (overlap {overlap[best]:.2f})"
        shown.append(("found", found.box[other]))
    return Example(
        report.class_names[truths.label[row]],
        None,
        explanation,
        report.image_names[image],
        _rounded(box),
        album.cut(image, box[None], shown),
    )


def _rounded(box: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(round(side) for side in box.tolist())
