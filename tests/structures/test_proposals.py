"""Proposals: what they promise about their columns, and what selecting keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.proposals import boxes_checksum

BOXES = [[0, 0, 10, 10], [5, 5, 20, 20], [1, 2, 3, 4]]


def test_proposals_default_to_one_source() -> None:
    proposals = Proposals(BOXES, [3, 2, 1])  # type: ignore[arg-type]
    assert proposals.source.tolist() == [0, 0, 0]
    assert proposals.source_names == ("selective-search",)
    assert (proposals.boxes.dtype, proposals.scores.dtype, proposals.source.dtype) == (np.float32, np.float32, np.uint8)


def test_ordered_proposals_keep_box_score_and_source_together() -> None:
    proposals = Proposals.ordered(BOXES, [1, 3, 1], [0, 1, 1], ("a", "b"))
    assert proposals.boxes.tolist() == [BOXES[1], BOXES[0], BOXES[2]]
    assert (proposals.scores.tolist(), proposals.source.tolist()) == ([3, 1, 1], [1, 0, 1])


def test_selected_proposals_keep_their_sources() -> None:
    proposals = Proposals(BOXES, [3, 2, 1], [1, 0, 1], ("a", "b"))  # type: ignore[arg-type]
    assert proposals[proposals.source == 1].boxes.tolist() == [BOXES[0], BOXES[2]]
    assert proposals[1:].source_names == ("a", "b")
    assert (len(proposals.top(2)), len(proposals.top(9)), len(proposals.top(-3)), len(proposals[[]])) == (2, 3, 0, 0)


def test_objectness_stays_with_its_box() -> None:
    proposals = Proposals.ordered(BOXES, [1, 3, 1], objectness=[0.25, 1, 0])
    assert proposals.objectness is not None and proposals.objectness.dtype == np.float32
    assert proposals.objectness.tolist() == [1, 0.25, 0]
    for chosen, expected in ((proposals[1:], [0.25, 0]), (proposals[[0, 2]], [1, 0]), (proposals.top(1), [1])):
        assert chosen.objectness is not None and chosen.objectness.tolist() == expected
    assert Proposals.ordered(BOXES, [1, 3, 1])[1:].objectness is None


def test_empty_proposals() -> None:
    nothing = Proposals.empty(("a",))
    assert (len(nothing), nothing.boxes.shape, nothing.source_names) == (0, (0, 4), ("a",))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scores": [1, 2, 3]}, "use Proposals.ordered"),
        ({"scores": [1]}, "scores should have shape"),
        ({"source": [0, 0]}, "source should have shape"),
        ({"source": [0, 0, 1]}, "source should be in 0..0"),
        ({"source_names": ()}, "source_names should hold"),
        ({"source_names": tuple(map(str, range(257)))}, "got 257"),
        ({"boxes": [[0, 0, 1, float("nan")]] * 3}, "proposals' boxes should be finite"),
        ({"objectness": [0.5, 0.5]}, "objectness should have shape"),
        ({"objectness": [0.5, 1.5, -1]}, r"objectness should be in \[0, 1\], but entry 1 is 1.5"),
        ({"objectness": [0.5, 1, float("nan")]}, "objectness should be finite"),
    ],
)
def test_proposals_refuse_columns_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Proposals(**({"boxes": BOXES, "scores": [3, 2, 1]} | change))


def test_the_checksum_of_boxes_is_of_the_boxes_of_each_image_alone() -> None:
    def some(*boxes: list[int], scores: float = 1.0) -> Proposals:
        return Proposals.ordered(np.array(boxes, np.float32).reshape(-1, 4), [scores] * len(boxes))

    first, second = [0, 0, 10, 10], [5, 5, 20, 20]
    one = boxes_checksum([some(first, second), some()])
    assert boxes_checksum([some(first, second, scores=0.5), some()]) == one
    others = ([some(first), some(second)], [some(second, first), some()], [some(first, second)], [some(first), some()])
    assert len({boxes_checksum(other) for other in others} | {one}) == 5
