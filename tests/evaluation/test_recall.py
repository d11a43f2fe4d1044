"""Coverage of objects by proposals, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.evaluation import proposal_recall, recall_by_size
from inception_rcnn.structures import GroundTruth, GroundTruthTable, InputError, Proposals
from reference.slow_nms import slow_iou

OBJECT = [0, 0, 10, 10]


def truth(*boxes: Any, **change: Any) -> GroundTruth:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return GroundTruth(array, np.zeros(len(array), np.int64), ("cat",), **change)


def ranked(*boxes: Any) -> Proposals:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Proposals(array, -np.arange(len(array), dtype=np.float32))


def test_recall_at_each_threshold() -> None:
    # best overlaps 0.5, 0.8 and 0: equal to a threshold is enough
    objects = truth(OBJECT, [100, 0, 110, 10], [200, 0, 210, 10])
    result = proposal_recall([objects], [ranked([0, 0, 10, 5], [100, 0, 110, 8])], thresholds=(0.5, 0.51, 0.8, 0.9))
    assert result.recall == {0.5: 2 / 3, 0.51: 1 / 3, 0.8: 1 / 3, 0.9: 0.0}
    assert result.average_best_overlap == pytest.approx((0.5 + 0.8) / 3)
    # 0.5 passes one of the ten thresholds, 0.8 passes 0.5 ... 0.8, which are seven
    assert result.average_recall == pytest.approx((1 + 7) / 30)
    assert (result.truths, result.images, result.boxes_per_image) == (3, 1, 2.0)


@pytest.mark.parametrize("twentieths", range(10, 20))
def test_an_overlap_exactly_at_an_averaged_threshold_is_enough(twentieths: int) -> None:
    result = proposal_recall([truth([0, 0, 20, 7])], [ranked([0, 0, twentieths, 7])])
    assert result.average_recall == pytest.approx((twentieths - 9) / 10)


def test_recall_of_the_first_boxes() -> None:
    objects = truth(OBJECT, [100, 0, 110, 10])
    proposals = ranked([300, 0, 310, 10], OBJECT, [400, 0, 410, 10], [100, 0, 110, 10])
    result = proposal_recall([objects], [proposals], counts=(1, 2, 3, 4, 1000))
    assert result.recall_at == {1: 0.0, 2: 0.5, 3: 0.5, 4: 1.0, 1000: 1.0}


def test_counts_are_for_each_image_and_objects_are_pooled() -> None:
    objects = [truth(OBJECT), truth(OBJECT, [100, 0, 110, 10], [200, 0, 210, 10])]
    proposals = [ranked(OBJECT), ranked([300, 0, 310, 10], OBJECT)]
    result = proposal_recall(objects, proposals, counts=(1, 2))
    assert result.recall_at == {1: 1 / 4, 2: 2 / 4}
    assert (result.truths, result.images, result.boxes_per_image) == (4, 2, 1.5)


def test_objects_to_ignore_are_left_out() -> None:
    objects = truth(OBJECT, [100, 0, 110, 10], ignore=[False, True])
    result = proposal_recall([objects], [ranked(OBJECT)])
    assert (result.recall[0.5], result.truths) == (1.0, 1)


def test_one_proposal_may_cover_several_objects() -> None:
    assert proposal_recall([truth(OBJECT, OBJECT)], [ranked(OBJECT)]).recall[0.9] == 1.0


def test_images_without_proposals_or_objects() -> None:
    result = proposal_recall([truth(OBJECT), truth(OBJECT), truth()], [ranked(), ranked(OBJECT), ranked(OBJECT)])
    assert result.recall == dict.fromkeys((0.5, 0.6, 0.7, 0.8, 0.9), 0.5)
    assert result.recall_at == dict.fromkeys((50, 100, 200, 300, 500, 1000), 0.5)
    assert (result.truths, result.images) == (2, 3)
    nothing = proposal_recall([truth(OBJECT)], [Proposals.empty()])
    assert (nothing.recall[0.5], nothing.average_best_overlap, nothing.boxes_per_image) == (0.0, 0.0, 0.0)


corner = st.integers(0, 10)
some_boxes = st.lists(st.tuples(corner, corner, corner, corner), min_size=1, max_size=6)


@given(some_boxes, some_boxes, st.integers(1, 8))
def test_it_is_what_exact_fractions_say(objects: Any, proposals: Any, count: int) -> None:
    best = [max(slow_iou(one, box) for box in proposals) for one in objects]
    first = [max(slow_iou(one, box) for box in proposals[:count]) for one in objects]
    result = proposal_recall([truth(*objects)], [ranked(*proposals)], thresholds=(0.5, 0.75), counts=(count,))
    assert result.recall[0.5] == sum(2 * value >= 1 for value in best) / len(best)
    assert result.recall[0.75] == sum(4 * value >= 3 for value in best) / len(best)
    assert result.recall_at[count] == sum(2 * value >= 1 for value in first) / len(first)
    assert result.average_best_overlap == pytest.approx(float(sum(best)) / len(best))


@pytest.mark.parametrize(
    ("objects", "proposals", "options", "text"),
    [
        ([truth(OBJECT)], [], {}, "one entry for each image, got 0 for 1"),
        ([], [], {}, "at least one image"),
        ([truth()], [ranked(OBJECT)], {}, "at least one object"),
        ([truth(OBJECT, ignore=[True])], [ranked(OBJECT)], {}, "not ignored"),
        ([truth(OBJECT)], [ranked(OBJECT)], {"thresholds": (0,)}, r"thresholds should be in \(0, 1\]"),
        ([truth(OBJECT)], [ranked(OBJECT)], {"thresholds": (1.1,)}, "thresholds"),
        ([truth(OBJECT)], [ranked(OBJECT)], {"counts": (0,)}, "counts should be at least 1"),
    ],
)
def test_wrong_arguments_are_named(objects: Any, proposals: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        proposal_recall(objects, proposals, **options)


def test_a_table_and_plain_boxes_serve_as_well() -> None:
    objects = [truth(OBJECT), truth(OBJECT, [100, 0, 110, 10], ignore=[True, False]), truth()]
    proposals = [ranked([0, 0, 10, 8]), ranked(OBJECT, [100, 0, 110, 6]), ranked()]
    expected = proposal_recall(objects, proposals, counts=(1, 2))
    table = GroundTruthTable.from_ground_truths(objects)
    assert proposal_recall(table, [one.boxes for one in proposals], counts=(1, 2)) == expected
    assert (expected.recall[0.6], expected.recall_at) == (1.0, {1: 0.5, 2: 1.0})
    # objects of an image need not be next to each other in a table
    mixed = GroundTruthTable(("cat",), (1, 2), [1, 0, 1], [0, 0, 0], [OBJECT, OBJECT, [100, 0, 110, 10]])
    sorted_ = [truth(OBJECT), truth(OBJECT, [100, 0, 110, 10])]
    assert proposal_recall(mixed, proposals[:2]) == proposal_recall(sorted_, proposals[:2])


def test_recall_by_size_is_that_of_the_objects_of_a_size() -> None:
    small, medium, large = [0, 0, 20, 20], [0, 0, 40, 40], [0, 0, 200, 200]
    objects = [truth(small, large), truth(medium, [300, 0, 320, 20], ignore=[False, True])]
    proposals = [ranked(small, [0, 0, 200, 90]), ranked([0, 0, 40, 30])]
    found = recall_by_size(objects, proposals)
    for name, image, row in (("small", 0, 0), ("large", 0, 1), ("medium", 1, 0)):
        alone = [one[[row]] if k == image else one[:0] for k, one in enumerate(objects)]
        assert found[name] == proposal_recall(alone, proposals)
    assert [found[name].recall[0.5] for name in ("small", "medium", "large")] == [1, 1, 0]  # type: ignore[union-attr]
    given = [truth(large, areas=[500])]  # the data set's own area counts
    assert [name for name, one in recall_by_size(given, proposals[:1]).items() if one is not None] == ["small"]
