"""A small evaluation with everything a report can show, and with names that would like to be more than text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation import Evaluation, proposal_recall
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

EVIL = "<script>window.broken = 1</script>"
KEYS = ("n1", "n2", "n3", "n4", "n5")
NAMES = ("cat", EVIL, 'dog" onload="alert(1)', "rare & alone", "nowhere")
IMAGES = 8
BIG, SMALL = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 220.0, 220.0)


def photograph(position: int) -> NDArray[np.uint8]:
    """A picture of 120 x 90 pixels in two colours."""
    pixels = np.full((90, 120, 3), 60 + 20 * position, np.uint8)
    pixels[20:70, 30:90] = (200, 120, 40)
    return pixels


def tables(seed: int = 0, images: int = IMAGES) -> tuple[GroundTruthTable, DetectionTable]:
    """Objects of the first four classes, one of them in a single image, and detections true and false in all ways."""
    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), 3)
    label = random.integers(0, 3, len(image))
    label[4] = 3
    corner = random.integers(0, 50, (len(image), 2)).astype(float)
    size = random.integers(8, 40, (len(image), 2))
    truths = GroundTruthTable(
        KEYS,
        tuple(range(1, images + 1)),
        image,
        label,
        np.hstack([corner, corner + size]),
        image_names=tuple(f"picture {k} <b>" for k in range(images)),
        display_names=NAMES,
    )
    source = random.integers(0, len(image), 60)
    moved = truths.box[source] + random.normal(0, 2, (60, 4)) * random.integers(0, 4, 60)[:, None]
    called = np.where(random.random(60) < 0.25, random.integers(0, 5, 60), label[source])
    return truths, DetectionTable(image[source], called, random.permutation(60) / 60, moved)


def small_report(protocol: str = "voc2010", seed: int = 0) -> ReportInput:
    """A report of `tables` with photographs, proposals and times."""
    truths, found = tables(seed)
    order = np.argsort(-found.score, kind="stable")
    proposals = [found.box[order[found.image[order] == k]] for k in range(IMAGES)]
    return ReportInput(
        title=f"{EVIL} on eight pictures",
        result=evaluate_by(protocol, truths, found),
        truths=truths,
        detections=found,
        coverage=proposal_recall(truths, proposals, counts=(1, 2, 5)),
        seconds={"decode": 0.5, "network <i>": 3.5},
        photographs=photograph,
        weights=("<u>weights</u>.safetensors",),
        settings={"limit": "<8>"},
    )


def with_detections(report: ReportInput, found: DetectionTable) -> ReportInput:
    """The same report of other detections."""
    return replace(report, detections=found, result=evaluate_by(report.result.protocol, report.truths, found))


def no_detections() -> DetectionTable:
    """A table without rows."""
    return DetectionTable(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros((0, 4)))


def case(
    objects: list[tuple], found: list[tuple], classes: int = 3, protocol: str = "voc2010", images: int = 3
) -> Evaluation:
    """Objects as (image, label, box), detections as (image, label, score, box) in images called a, b, c ..."""
    truths = GroundTruthTable(
        KEYS[:classes],
        tuple(range(1, images + 1)),
        [o[0] for o in objects],
        [o[1] for o in objects],
        [o[2] for o in objects],
        image_names=tuple("abcdefghijklmnop"[:images]),
    )
    table = DetectionTable(*([f[k] for f in found] for k in range(4)))
    return Evaluation(title="", result=evaluate_by(protocol, truths, table), truths=truths, detections=table)
