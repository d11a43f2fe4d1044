"""The four protocols, a row each: their rules by name, as commands take them, and their figures as plain values."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import (
    ELEVEN_RECALLS,
    HUNDRED_AND_ONE_RECALLS,
    area_under,
    mean_at,
)
from inception_rcnn.evaluation.coco import CocoResult, evaluate_coco
from inception_rcnn.evaluation.coco_matching import AREAS
from inception_rcnn.evaluation.ilsvrc import evaluate_ilsvrc
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput
from inception_rcnn.evaluation.results import EvaluationResult
from inception_rcnn.evaluation.voc import evaluate_voc
from inception_rcnn.structures import InputError


@dataclass(frozen=True)
class SizeRange:
    """Areas that go by one name.

    Args:
        name: ``"small"``, ``"medium"`` or ``"large"``.
        low: The smallest area in it, in square pixels.
        high: The largest one, or the first one beyond.
        closed: Whether `high` is in it.
    """

    name: str
    low: float
    high: float
    closed: bool = False

    def holds(self, areas: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which areas (N,) are in the range."""
        not_above = areas <= self.high if self.closed else areas < self.high
        return (areas >= self.low) & not_above


_NAMED_AREAS: Final = list(zip(("small", "medium", "large"), AREAS[1:].tolist(), strict=True))
SIZES: Final = tuple(SizeRange(name, low, high) for name, (low, high) in _NAMED_AREAS)
"""Below 32 x 32 pixels, below 96 x 96, and from there on: every object has one size."""
COCO_SIZES: Final = tuple(SizeRange(name, low, high, closed=True) for name, (low, high) in _NAMED_AREAS)
"""The same as COCO's own code has them: an object of exactly 96 x 96 pixels is medium and large."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Protocol:
    """A set of rules for mean average precision.

    Args:
        title: What people call it.
        evaluate: Matches detections with objects and averages: (ground truths, detections) -> result.
        recalls: (R,) ascending, where precision is read and averaged; empty: the area under its envelope.
        sizes: How objects are divided by their area.
    """

    title: str
    evaluate: Callable[[TruthInput, DetectionInput], EvaluationResult]
    recalls: NDArray[np.float64]
    sizes: tuple[SizeRange, ...] = SIZES

    def average(self, recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
        """Return the average precision of a class from its curve, (M,) each, best detection first."""
        return mean_at(recall, precision, self.recalls) if len(self.recalls) else area_under(recall, precision)


_AREA: Final = np.zeros(0)
PROTOCOLS: Final = {
    "ilsvrc": Protocol(title="ILSVRC DET", evaluate=evaluate_ilsvrc, recalls=_AREA),
    "voc2007": Protocol(
        title="PASCAL VOC 2007 (11 points)",
        evaluate=partial(evaluate_voc, year=2007),
        recalls=ELEVEN_RECALLS["matlab"],
    ),
    "voc2010": Protocol(title="PASCAL VOC 2010 (area)", evaluate=partial(evaluate_voc, year=2010), recalls=_AREA),
    "coco": Protocol(
        title="COCO, at IoU 0.5", evaluate=evaluate_coco, recalls=HUNDRED_AND_ONE_RECALLS, sizes=COCO_SIZES
    ),
}
PROTOCOL_OF_FORMAT: Final = {"ilsvrc": "ilsvrc", "voc": "voc2010", "coco": "coco", "yolo": "coco", "folder": "voc2010"}
"""The protocol that is meant if only the format of the data set is given."""


def evaluate_by(
    protocol: str,
    ground_truths: TruthInput,
    detections: DetectionInput,
    *,
    blacklist: Collection[tuple[int | str, str]] = (),
) -> EvaluationResult:
    """Return how good the detections are by the rules of a protocol.

    Args:
        protocol: One of `PROTOCOLS`.
        ground_truths: One for each image, or a table of all.
        detections: For the same images in the same order, or a table.
        blacklist: Pairs of image id and class name that are not evaluated, which only ILSVRC knows.

    Raises:
        InputError: The protocol is unknown or has no blacklist, the two do not fit, or there is no object to find.
    """
    check_protocol(protocol)
    if blacklist and protocol != "ilsvrc":
        raise InputError(f"a blacklist is known to the protocol ilsvrc only, not to {protocol}")
    if blacklist:
        return evaluate_ilsvrc(ground_truths, detections, blacklist=blacklist)
    return PROTOCOLS[protocol].evaluate(ground_truths, detections)


def check_protocol(protocol: str) -> None:
    """Raise if there is no protocol of this name.

    Raises:
        InputError: There is none.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol {protocol!r} is unknown; known: {', '.join(PROTOCOLS)}")


def result_to_dict(result: EvaluationResult) -> dict[str, Any]:
    """Return the figures as plain values for JSON: shares in [0, 1], None for classes without objects."""
    figures: dict[str, Any] = {
        "map": result.map,
        "median_ap": result.median_ap,
        "ap": dict(result.ap),
        "protocol": result.protocol,
        "images": result.images,
        "detections": result.detections,
    }
    if isinstance(result, CocoResult):
        figures["coco"] = dict(result.stats)
    return figures
