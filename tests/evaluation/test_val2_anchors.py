"""The figures of the official code and of other evaluators on ILSVRC DET val2, where those files are."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from inception_rcnn.datasets.detections.ilsvrc import read_ilsvrc_detections
from inception_rcnn.datasets.ground_truth_file import read_ground_truth
from inception_rcnn.evaluation import analyse_errors, evaluate_coco, evaluate_ilsvrc, evaluate_voc
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

VAL2 = Path(__file__).resolve().parents[3] / "shared" / "data" / "ilsvrc_det_val2"
pytestmark = pytest.mark.skipif(not VAL2.is_dir(), reason="ILSVRC's files of ../shared are not here")


@pytest.fixture(scope="module")
def truth() -> GroundTruthTable:
    return read_ground_truth(VAL2 / "ground_truth_val2.jsonl.gz")


@pytest.fixture(scope="module")
def found(truth: GroundTruthTable) -> DetectionTable:
    return read_ilsvrc_detections(VAL2 / "demo_detections_val2.txt.gz", truth.image_ids).detections


def upright(found: DetectionTable) -> DetectionTable:
    """The detections without the inverted boxes."""
    return found[((found.box[:, 2:] - found.box[:, :2]) > 0).all(axis=1)]


def table(name: str) -> list[dict[str, str]]:
    with (VAL2 / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_official_evaluation(truth: GroundTruthTable, found: DetectionTable) -> None:
    result = evaluate_ilsvrc(truth, found)
    assert (result.images, result.detections, len(found) - len(upright(found))) == (9917, 23590, 778)
    assert result.map == pytest.approx(0.60168348, abs=5e-9)
    assert result.median_ap == pytest.approx(0.61488134, abs=5e-9)
    assert result.matches is not None
    for label, row in enumerate(table("official_ap_val2.tsv")):
        assert result.ap[row["wnid"]] == pytest.approx(float(row["ap"]), abs=1e-6)
        outcome = result.matches.outcome[result.matches.of_class(label)]
        counted = (int(result.matches.objects[label]), len(outcome), int((outcome == 1).sum()))
        assert counted == (int(row["num_pos"]), int(row["num_det"]), int(row["num_tp"]))
    official = evaluate_ilsvrc(truth, found, official_means=True)
    assert official == result


PROTOCOLS: dict[str, Any] = {
    "ilsvrc_official": (evaluate_ilsvrc, {}),
    "ilsvrc_thr05": (evaluate_ilsvrc, {"relaxed": False}),
    "ilsvrc_noplus1": (evaluate_ilsvrc, {"inclusive": False}),
    "voc_match_relaxed": (evaluate_voc, {"relaxed": True}),
    "voc_area": (evaluate_voc, {}),
    "voc_area_strict": (evaluate_voc, {"strict": True}),
    "voc_area_noplus1": (evaluate_voc, {"inclusive": False}),
    "voc07_11point": (evaluate_voc, {"year": 2007}),
    "voc07_11point_numpy": (evaluate_voc, {"year": 2007, "grid": "numpy"}),
    "coco_ap50_all": (evaluate_coco, {}),
    "coco_ap50_valid": (evaluate_coco, {}),
}


def test_every_row_of_the_anchors_is_here() -> None:
    assert [row["key"] for row in table("anchors_val2.tsv")] == list(PROTOCOLS)


@pytest.mark.parametrize("key", PROTOCOLS)
def test_the_anchors_class_by_class(key: str, truth: GroundTruthTable, found: DetectionTable) -> None:
    evaluate, options = PROTOCOLS[key]
    result = evaluate(truth, upright(found) if key == "coco_ap50_valid" else found, **options)
    row = next(row for row in table("anchors_val2.tsv") if row["key"] == key)
    assert result.map == pytest.approx(float(row["mean"]), abs=1e-8)
    assert result.median_ap == pytest.approx(float(row["median"]), abs=1e-8)
    for row in table("anchors_per_class_val2.tsv"):
        assert result.ap[row["wnid"]] == pytest.approx(float(row[key]), abs=1e-6)


ALL = """.38640577 .61553889 .41190399 .03969294 .27571522 .55874917
         .36306307 .52451314 .52898271 .06340054 .36961806 .66679238"""
UPRIGHT = """.39441261 .62780842 .42059641 .04115555 .28382715 .56567038
             .36327047 .52451314 .52898271 .06340054 .36961806 .66679238"""


def test_the_twelve_numbers_of_pycocotools(truth: GroundTruthTable, found: DetectionTable) -> None:
    for detections, numbers in ((found, ALL), (upright(found), UPRIGHT)):
        stats = evaluate_coco(truth, detections).stats
        assert list(stats.values()) == [pytest.approx(float(number), abs=6e-9) for number in numbers.split()]


def test_the_errors_of_tide(truth: GroundTruthTable, found: DetectionTable) -> None:
    anchor = json.loads((VAL2 / "tide_anchor_val2.json").read_text(encoding="utf-8"))
    for detections, expected in ((found, anchor), (upright(found), anchor["valid_boxes_only"])):
        result = analyse_errors(truth, detections)
        assert result.counts == expected["counts"]
        assert 100 * result.ap == pytest.approx(expected["ap50"], abs=1e-4)
        costs = {kind: 100 * cost for kind, cost in result.cost.items()}
        assert costs == pytest.approx(expected["dap_main"], abs=1e-4)
        special = {"FalsePos": 100 * result.false_positives, "FalseNeg": 100 * result.false_negatives}
        assert special == pytest.approx(expected["dap_special"], abs=1e-4)
    steps = {kind: 100 * step for kind, step in analyse_errors(truth, found).steps.items()}
    assert steps == pytest.approx(anchor["dap_progressive"], abs=1e-4)
