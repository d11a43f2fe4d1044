"""The figures of the official codes for some classes of ILSVRC DET val2, from the files in `data/`."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inception_rcnn.datasets import read_ground_truth, read_ilsvrc_detections
from inception_rcnn.evaluation import evaluate_coco, evaluate_ilsvrc, evaluate_voc
from inception_rcnn.evaluation.bootstrap import resample_images
from inception_rcnn.evaluation.results import Evaluation
from inception_rcnn.structures import DetectionTable, GroundTruthTable

DATA = Path(__file__).resolve().parent / "data"
RULES: dict[str, Any] = {
    "ilsvrc_official": evaluate_ilsvrc,
    "ilsvrc_thr05": partial(evaluate_ilsvrc, relaxed=False),
    "ilsvrc_noplus1": partial(evaluate_ilsvrc, inclusive=False),
    "voc_match_relaxed": partial(evaluate_voc, relaxed=True),
    "voc_area": evaluate_voc,
    "voc_area_strict": partial(evaluate_voc, strict=True),
    "voc_area_noplus1": partial(evaluate_voc, inclusive=False),
    "voc07_11point": partial(evaluate_voc, year=2007),
    "voc07_11point_numpy": partial(evaluate_voc, year=2007, grid="numpy"),
    "coco_ap50_all": evaluate_coco,
    "coco_ap50_valid": evaluate_coco,  # without the inverted boxes
}


@pytest.fixture(scope="module")
def truth(anchors: dict[str, dict[str, str]]) -> GroundTruthTable:
    names = [f"left out {k}" for k in range(1, 201)]
    for name, line in anchors.items():
        names[int(line["det_index"]) - 1] = name
    return read_ground_truth(DATA / "val2_ground_truth.jsonl.gz", names)


@pytest.fixture(scope="module")
def found(truth: GroundTruthTable) -> DetectionTable:
    return read_ilsvrc_detections(DATA / "val2_detections.txt.gz", truth.image_ids).detections


@pytest.fixture(scope="module")
def anchors() -> dict[str, dict[str, str]]:
    """The lines of the table by class."""
    with (DATA / "val2_anchors.tsv").open(encoding="utf-8") as file:
        return {line["wnid"]: line for line in csv.DictReader(file, delimiter="\t")}


def test_the_files_are_what_they_say(
    truth: GroundTruthTable, found: DetectionTable, anchors: dict[str, dict[str, str]]
) -> None:
    inverted = (found.box[:, 2:] <= found.box[:, :2]).any(axis=1)
    assert (len(truth), len(truth.image_ids), len(found), int(inverted.sum())) == (3330, 1776, 2882, 79)
    assert list(anchors["n02672831"]) == ["det_index", "wnid", "num_pos", "num_det", "num_tp", *RULES]
    assert {truth.class_names[label] for label in truth.label} == set(anchors)


@pytest.mark.parametrize("key", RULES)
def test_average_precision_is_the_official_codes(
    key: str, truth: GroundTruthTable, found: DetectionTable, anchors: dict[str, dict[str, str]]
) -> None:
    upright = ((found.box[:, 2:] - found.box[:, :2]) > 0).all(axis=1)
    result = RULES[key](truth, found[upright] if key == "coco_ap50_valid" else found)
    for name, ap in result.ap.items():
        expected = pytest.approx(float(anchors[name][key]), abs=1e-9) if name in anchors else None
        assert ap == expected, name
    if key == "ilsvrc_official":
        matches = result.kept_matches()
        for label, name in enumerate(truth.class_names):
            outcome = matches.outcome[matches.of_class(label)]
            counts = [matches.objects[label], len(outcome), (outcome == 1).sum()]
            line = anchors.get(name, {"num_pos": "0", "num_det": "0", "num_tp": "0"})
            assert counts == [int(line[column]) for column in ("num_pos", "num_det", "num_tp")]


def test_the_interval_holds_the_official_mean(
    truth: GroundTruthTable, found: DetectionTable, anchors: dict[str, dict[str, str]]
) -> None:
    result = evaluate_ilsvrc(truth, found)
    drawn = resample_images(Evaluation(title="", result=result, truths=truth, detections=found), resamples=50)
    official = sum(float(line["ilsvrc_official"]) for line in anchors.values()) / len(anchors)
    assert result.map == pytest.approx(official, abs=1e-9)
    assert official in drawn.map_interval()
