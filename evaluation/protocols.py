"""An evaluation by the name of its protocol, as commands take it, and its figures as plain values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from inception_rcnn.evaluation.coco import CocoResult, evaluate_coco
from inception_rcnn.evaluation.ilsvrc import evaluate_ilsvrc
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput
from inception_rcnn.evaluation.results import EvaluationResult
from inception_rcnn.evaluation.voc import evaluate_voc
from inception_rcnn.structures import InputError

PROTOCOLS: Final = ("ilsvrc", "voc2007", "voc2010", "coco")
PROTOCOL_OF_FORMAT: Final = {"ilsvrc": "ilsvrc", "voc": "voc2010", "coco": "coco", "folder": "voc2010"}
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
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol {protocol!r} is unknown; known: {', '.join(PROTOCOLS)}")
    if protocol == "ilsvrc":
        return evaluate_ilsvrc(ground_truths, detections, blacklist=blacklist)
    if blacklist:
        raise InputError(f"a blacklist is known to the protocol ilsvrc only, not to {protocol}")
    if protocol == "coco":
        return evaluate_coco(ground_truths, detections)
    return evaluate_voc(ground_truths, detections, year=int(protocol.removeprefix("voc")))


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
