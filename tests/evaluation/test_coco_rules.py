"""COCO's rules that the cases of test_coco_map leave open, thousands of random cases, and the arbiter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.evaluation.coco import CocoResult
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from reference.slow_coco import Found, Item, slow_coco

NAMES = ("cat", "dog", "cow")
BOX = (0, 0, 10, 10)


def truth(*items: Item) -> GroundTruthTable:
    boxes = np.array([item.box for item in items], np.float64).reshape(-1, 4)
    return GroundTruthTable(
        class_names=NAMES,
        image_ids=(0, 1, 2),
        image=np.array([item.image for item in items], int),
        label=np.array([item.label for item in items], int),
        box=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
        ignore=np.array([item.crowd for item in items], bool),
        area=np.array([item.area for item in items], np.float64),
    )


def found(*founds: Found) -> DetectionTable:
    boxes = np.array([one.box for one in founds], np.float64).reshape(-1, 4)
    return DetectionTable(
        np.array([one.image for one in founds], int),
        np.array([one.label for one in founds], int),
        np.array([one.score for one in founds], float),
        np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
    )


def item(box: Any, *, crowd: bool = False, area: int = 100, image: int = 0, label: int = 0) -> Item:
    return Item(image, label, box, crowd, area)


def score(items: list[Item], *boxes: Any) -> CocoResult:
    """The result for detections of falling score in the first image."""
    return evaluate_coco(truth(*items), found(*[Found(0, 0, 1 - k / 1000, box) for k, box in enumerate(boxes)]))


def partners(result: CocoResult) -> list[int]:
    assert result.matches is not None
    return result.matches.partner.tolist()


def test_of_equal_overlaps_the_last_object_is_taken() -> None:
    assert partners(score([item(BOX), item(BOX)], BOX)) == [1]


def test_a_second_detection_is_true_if_another_free_object_will_do() -> None:
    assert partners(score([item(BOX), item((0, 0, 10, 8))], BOX, BOX)) == [0, 1]


def test_an_ordinary_object_goes_before_a_crowd_that_overlaps_more() -> None:
    result = score([item((0, 0, 100, 100), crowd=True), item((0, 0, 10, 16))], BOX)
    assert partners(result) == [1]
    assert result.map == pytest.approx(1)


def test_a_crowd_takes_any_number() -> None:
    result = score([item((0, 0, 100, 100), crowd=True), item((500, 0, 10, 10))], BOX, BOX, BOX, (500, 0, 10, 10))
    assert partners(result) == [0, 0, 0, 1]
    assert result.map == pytest.approx(1)


@pytest.mark.parametrize(
    ("area", "small", "medium", "large"),
    [(1023, 1, None, None), (1024, 1, 1, None), (1025, None, 1, None), (9216, None, 1, 1), (9217, None, None, 1)],
)
def test_sizes_include_both_bounds(area: int, small: Any, medium: Any, large: Any) -> None:
    stats = score([item((0, 0, 50, 50), area=area)], (0, 0, 50, 50)).stats
    expected = [None if value is None else pytest.approx(value) for value in (small, medium, large)]
    assert [stats[name] for name in ("APs", "APm", "APl")] == expected
    assert [stats[name] for name in ("ARs", "ARm", "ARl")] == expected


@pytest.mark.parametrize(("side", "expected"), [(32, 1 / 2), (33, 1)])
def test_an_unmatched_detection_outside_the_size_does_not_count(side: int, expected: float) -> None:
    # the first detection meets nothing; it is a miss among small objects only if it is small itself, by its own box
    stats = score([item(BOX)], (500, 500, side, side), BOX).stats
    assert stats["APs"] == pytest.approx(expected)
    assert stats["AP"] == pytest.approx(1 / 2)


def test_a_matched_detection_of_another_size_counts() -> None:
    assert score([item((0, 0, 40, 40), area=1000)], (0, 0, 40, 40)).stats["APs"] == pytest.approx(1)


def test_a_detection_on_an_object_of_another_size_is_ignored() -> None:
    items = [item((0, 0, 20, 20), area=5000), item((100, 0, 20, 20), area=400)]
    assert score(items, (0, 0, 20, 20), (100, 0, 20, 20)).stats["APs"] == pytest.approx(1)


def test_precision_is_read_at_the_first_recall_that_reaches_the_grid() -> None:
    # 100 objects, one found: recall 0.01 is reached, so precision 1 is read at two of 101 recalls
    boxes = [(20 * k, 0, 10, 10) for k in range(100)]
    assert score([item(box) for box in boxes], boxes[0]).map == pytest.approx(2 / 101)


def test_sides_are_undone_to_the_last_bit() -> None:
    # COCO's file has x, y, width, height; the corners are their sums, rounded
    random = np.random.default_rng(0)
    x, w = random.integers(0, 6000, (2, 400)) / 10, random.integers(10, 3000, (2, 400)) / 10
    box = np.stack([x[0], x[1], w[0], w[1]], axis=1)
    half = box * [1, 1, 0.5, 1]
    half[:, 2] = half[:, 2].round(2)
    items = GroundTruthTable(
        NAMES, tuple(range(400)), np.arange(400), np.zeros(400, int), np.hstack([box[:, :2], box[:, :2] + box[:, 2:]])
    )
    corners = np.hstack([half[:, :2], half[:, :2] + half[:, 2:]])
    result = evaluate_coco(items, DetectionTable(np.arange(400), np.zeros(400, int), np.ones(400), corners))
    shared = np.minimum(box[:, 0] + box[:, 2], half[:, 0] + half[:, 2]) - half[:, 0]
    height = (box[:, 1] + box[:, 3]) - box[:, 1]
    overlap = shared * height / (half[:, 2] * half[:, 3] + box[:, 2] * box[:, 3] - shared * height)
    assert result.matches is not None
    assert 100 < (overlap >= 0.5).sum() < 400
    assert result.matches.outcome.tolist() == (overlap >= 0.5).astype(int).tolist()


def random_case(random: np.random.Generator) -> tuple[list[Item], list[Found]]:
    """Few places, few scores: overlaps at thresholds, ties, duplicates, crowds, areas at the bounds."""

    def box() -> tuple[int, int, int, int]:
        x, y = random.integers(0, 4, 2) * 8
        w, h = random.choice([4, 8, 16, 20, 32, 40, 96, 100], 2)
        return int(x), int(y), int(w), int(h)

    items, founds = [], []
    for _ in range(random.integers(1, 10)):
        place = box()
        area = int(random.choice([place[2] * place[3], 1024, 9216, 50]))
        items.append(Item(*random.integers(0, 3, 2).tolist(), place, bool(random.random() < 0.2), area))
    for _ in range(random.integers(0, 30)):
        near = items[random.integers(len(items))]
        image, label = (near.image, near.label) if random.random() < 0.8 else random.integers(0, 3, 2).tolist()
        x, y, w, h = near.box if random.random() < 0.4 else box()
        if random.random() < 0.1:
            w = -w
        founds.append(Found(image, label, float(random.integers(4)), (x, y, w, h)))
    return items, founds


@pytest.mark.parametrize("seed", range(10))
def test_it_is_what_the_slow_evaluator_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    compared = 0
    for _ in range(100):
        items, founds = random_case(random)
        if all(one.crowd for one in items):
            continue
        expected = slow_coco(items, founds, 3)
        stats = evaluate_coco(truth(*items), found(*founds)).stats
        for name, value in expected.items():
            assert stats[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name
        compared += 1
    assert compared > 80


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_the_arbiter_says_to_the_last_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    items, founds = random_case(random)
    items.append(item(BOX))
    many = [Found(0, 0, float(random.integers(30)) / 8, (int(random.integers(9)), 0, 10, 10)) for _ in range(120)]
    tables = truth(*items), found(*founds, *many)
    native, arbiter = evaluate_coco(*tables), evaluate_coco(*tables, engine="pycocotools")
    assert native == arbiter
    assert native.curve("cat").recall[-1] > 0
    with pytest.raises(InputError, match="native"):
        arbiter.curve("cat")


@pytest.mark.parametrize(("misses", "expected"), [(0, (1, 1, 1)), (1, (0, 1, 1)), (9, (0, 1, 1)), (10, (0, 0, 1))])
def test_recall_with_the_first_and_the_first_ten(misses: int, expected: tuple[int, int, int]) -> None:
    stats = score([item(BOX)], *[(500, 0, 10, 10)] * misses, BOX).stats
    assert (stats["AR1"], stats["AR10"], stats["AR100"]) == expected


def test_detections_beyond_the_hundred_are_no_points_of_the_curve() -> None:
    curve = score([item(BOX)], *[(500, 0, 10, 10)] * 100, BOX).curve("cat")
    assert len(curve.score) == 100
    assert curve.recall[-1] == 0


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(InputError, match="engine 'rust' is unknown; known: native, pycocotools"):
        evaluate_coco(truth(item(BOX)), found(), engine="rust")
