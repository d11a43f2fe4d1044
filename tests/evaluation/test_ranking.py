"""The orders of detections, against NumPy's stable sorts."""

from __future__ import annotations

import numpy as np
import pytest

from inception_rcnn.evaluation.average_precision import eleven_points, hundred_and_one_points, precision_recall
from inception_rcnn.evaluation.ranking import arrange, image_order
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

SCORES = {
    "few": lambda random, count: random.integers(-2, 3, count) / 2,
    "many": lambda random, count: random.normal(0, 1, count) * 10.0 ** random.integers(-200, 200, count),
    "equal": lambda random, count: np.full(count, 0.5),
    "zeros": lambda random, count: random.choice([-0.0, 0.0, 5e-324, -5e-324], count),
}


@pytest.mark.parametrize("ties_by_image", [True, False])
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("count", [0, 1, 40, 300, 3000])
def test_orders_are_those_of_stable_sorts(count: int, scores: str, ties_by_image: bool) -> None:
    random = np.random.default_rng(count)
    image, label = random.integers(0, 5000, count), random.integers(0, 4, count)
    score = SCORES[scores](random, count)
    found = DetectionTable(image, label, score, np.zeros((count, 4)))
    ids = tuple(random.permutation(5000).tolist())
    objects = np.stack([random.integers(0, 5000, 50), random.integers(0, 4, 50)])
    truth = GroundTruthTable(tuple("abcd"), ids, objects[0], objects[1], np.zeros((50, 4)))
    order = arrange(truth, found, ties_by_image=ties_by_image)
    place = np.argsort(np.argsort(ids))
    tie = place[image] if ties_by_image else np.zeros(count)
    ranked = np.lexsort((tie, -score, label))
    assert order.ranked.tolist() == ranked.tolist()
    assert order.starts.tolist() == np.searchsorted(label[ranked], range(5)).tolist()
    assert order.grouped.tolist() == np.lexsort((-score, place[image], label)).tolist()
    assert order.truth_rows.tolist() == np.lexsort((place[objects[0]], objects[1])).tolist()


def test_images_stand_in_the_order_of_whole_ids_else_in_their_own() -> None:
    assert image_order((30, 10, 20)).tolist() == [2, 0, 1]
    assert image_order(("c", "a", "b")).tolist() == [0, 1, 2]
    assert image_order((30, "a", 20)).tolist() == [0, 1, 2]


def test_curves_by_hand() -> None:
    recall, precision = precision_recall(np.array([-1, 0, 1, -1, 1], np.int8), 4)
    assert np.isnan(precision[0])
    assert precision[1:].tolist() == pytest.approx([0, 1 / 2, 1 / 2, 2 / 3])
    assert recall.tolist() == [0, 0, 0.25, 0.25, 0.5]
    assert eleven_points(recall, precision) == pytest.approx(6 / 11 * 2 / 3)
    assert hundred_and_one_points(recall, precision) == pytest.approx(51 / 101 * 2 / 3)
    with pytest.raises(InputError, match="grid 'x' is unknown"):
        eleven_points(recall, precision, "x")


def test_nothing_that_counts_is_0() -> None:
    recall, precision = precision_recall(np.array([-1, -1], np.int8), 4)
    assert eleven_points(recall, precision) == hundred_and_one_points(recall, precision) == 0
