"""The choice of an evaluator by name, and its figures as plain values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inception_rcnn.evaluation import evaluate_coco, evaluate_ilsvrc, evaluate_voc
from inception_rcnn.evaluation.coco import STAT_NAMES
from inception_rcnn.evaluation.protocols import COCO_SIZES, PROTOCOLS, SIZES, evaluate_by, result_to_dict
from inception_rcnn.structures import DetectionTable, GroundTruthTable, InputError


def tables() -> tuple[GroundTruthTable, DetectionTable]:
    """Small objects found so badly that every protocol has figures of its own; one class without objects."""
    random = np.random.default_rng(3)
    corner, side = random.integers(0, 60, (60, 2)), random.integers(8, 30, (60, 2))
    box = np.hstack([corner, corner + side]).astype(np.float64)
    image, label = random.integers(0, 9, 60), random.integers(0, 3, 60)
    truth = GroundTruthTable(("cat", "dog", "owl", "yak"), tuple(range(9)), image, label, box)
    moved = np.repeat(box, 2, axis=0) + random.normal(0, 3, (120, 4))
    return truth, DetectionTable(np.repeat(image, 2), np.repeat(label, 2), random.random(120), moved)


def test_every_protocol_is_its_evaluator() -> None:
    truth, found = tables()
    expected = {
        "ilsvrc": evaluate_ilsvrc(truth, found),
        "voc2007": evaluate_voc(truth, found, year=2007),
        "voc2010": evaluate_voc(truth, found, year=2010),
        "coco": evaluate_coco(truth, found),
    }
    assert list(expected) == list(PROTOCOLS)
    assert len({result.map for result in expected.values()}) == 4
    for name, result in expected.items():
        assert evaluate_by(name, truth, found) == result
        assert result.protocol == name


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_row_averages_as_its_evaluator(name: str) -> None:
    result = evaluate_by(name, *tables())
    for key, ap in result.ap.items():
        if ap is not None:
            curve = result.curve(key)
            assert PROTOCOLS[name].average(curve.recall, curve.precision) == pytest.approx(ap, abs=1e-12)


def test_size_ranges_meet_and_cocos_overlap_in_their_bounds() -> None:
    areas = np.array([0, 32.0**2 - 1, 32.0**2, 96.0**2 - 1, 96.0**2, 1e9])
    assert [size.name for size in SIZES] == [size.name for size in COCO_SIZES] == ["small", "medium", "large"]
    assert [np.flatnonzero(size.holds(areas)).tolist() for size in SIZES] == [[0, 1], [2, 3], [4, 5]]
    assert [np.flatnonzero(size.holds(areas)).tolist() for size in COCO_SIZES] == [[0, 1, 2], [2, 3, 4], [4, 5]]


def test_the_blacklist_is_ilsvrcs() -> None:
    truth, found = tables()
    pairs = [(k, "cat") for k in range(8)]
    assert evaluate_by("ilsvrc", truth, found, blacklist=pairs) == evaluate_ilsvrc(truth, found, blacklist=pairs)
    assert evaluate_by("ilsvrc", truth, found, blacklist=pairs) != evaluate_by("ilsvrc", truth, found)
    with pytest.raises(InputError, match="to the protocol ilsvrc only, not to voc2010"):
        evaluate_by("voc2010", truth, found, blacklist=pairs)
    with pytest.raises(InputError, match="'voc' is unknown; known: ilsvrc, voc2007, voc2010, coco"):
        evaluate_by("voc", truth, found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_figures_as_plain_values(protocol: str) -> None:
    result = evaluate_by(protocol, *tables())
    figures = json.loads(json.dumps(result_to_dict(result), allow_nan=False))
    keys = ["map", "median_ap", "ap", "protocol", "images", "detections"] + ["coco"] * (protocol == "coco")
    assert list(figures) == keys
    assert (figures["map"], figures["median_ap"], figures["ap"]) == (result.map, result.median_ap, result.ap)
    assert (figures["protocol"], figures["images"], figures["detections"]) == (protocol, 9, 120)
    assert figures["ap"]["yak"] is None
    if protocol == "coco":
        assert tuple(figures["coco"]) == STAT_NAMES
        assert figures["coco"]["AP50"] == pytest.approx(figures["map"], rel=1e-12)
