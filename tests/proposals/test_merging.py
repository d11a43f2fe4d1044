"""Merged proposals against the slow, obvious way to merge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals import merge_proposals
from inception_rcnn.proposals.merging import APART_FROM, APART_PENALTY
from inception_rcnn.structures import InputError, Proposals, pairwise_iou

FRAME = [0, 0, 64, 64]  # with a box as large as this one, boxes of whole numbers keep their overlaps to the bit


def some(count: int, seed: int, name: str = "selective-search", *, frame: bool = True) -> Proposals:
    """Boxes with whole-numbered corners within the frame, many of them alike; the frame itself is the last."""
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 6, (count, 2)) * 8, rng.integers(1, 9, (count, 2)) * 2
    boxes = np.concatenate([corner, corner + size], axis=1).tolist() + [FRAME] * frame
    return Proposals.ordered(boxes, np.arange(len(boxes))[::-1], (), (name,))


def slow_merge(
    sources: list[Proposals], scores: NDArray[np.float32] | None, duplicate_iou: float
) -> list[tuple[list[float], str]]:
    """The boxes with who proposed them: in turn, or always the best that is left after what overlaps cost it."""
    pool = [(box, one.source_names[who]) for one in sources for box, who in zip(one.boxes, one.source, strict=True)]
    turns = [turn for one in sources for turn in range(len(one))]
    ious = pairwise_iou([box for box, _ in pool], [box for box, _ in pool]).tolist()

    def worth(at: int) -> float:
        if scores is None:
            return -turns[at]
        cost = [APART_PENALTY * (ious[at][one] - APART_FROM) / (1 - APART_FROM) for one in picked]
        return float(scores[at]) - max([0.0, *cost])

    picked: list[int] = []
    left = list(range(len(pool)))
    while left:
        best = max(left, key=lambda at: (worth(at), -at))
        left.remove(best)
        picked.append(best)
    kept: list[int] = []
    for at in picked:
        if all(ious[at][one] <= duplicate_iou for one in kept):
            kept.append(at)
    return [(pool[at][0].tolist(), pool[at][1]) for at in kept]


def described(found: Proposals) -> list[tuple[list[float], str]]:
    return [(box.tolist(), found.source_names[who]) for box, who in zip(found.boxes, found.source, strict=True)]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 99), st.sampled_from([0.5, 0.9, 1.0]))
def test_without_scores_sources_take_turns(first: int, second: int, seed: int, duplicate_iou: float) -> None:
    sources = [some(first, seed, "multibox"), some(second, seed + 1)]
    found = merge_proposals(*sources, duplicate_iou=duplicate_iou)
    assert described(found) == slow_merge(sources, None, duplicate_iou)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("duplicate_iou", [0.5, 0.9, 1.0])
def test_with_scores_the_best_come_first_those_alike_apart(seed: int, duplicate_iou: float) -> None:
    sources = [some(seed, seed, "multibox"), some(20 - seed, seed + 1)]
    # Numbers without a pattern: no two boxes are ever worth the same, so that rounding decides nothing.
    scores = np.random.default_rng(seed).normal(0, 2, 22).astype(np.float32)
    found = merge_proposals(*sources, scores=scores, duplicate_iou=duplicate_iou)
    assert described(found) == slow_merge(sources, scores, duplicate_iou)
    assert (np.diff(found.scores) <= 0).all()


def test_what_resembles_a_box_that_went_may_stay() -> None:
    row = [[0, 0, 10, 64], [3, 0, 13, 64], [6, 0, 16, 64], FRAME]  # each resembles its neighbour
    found = merge_proposals(Proposals.ordered(row, [4, 3, 2, 1]), duplicate_iou=0.5)
    assert found.boxes[:, 0].tolist() == [0, 6, 0]


def test_the_first_two_n_hold_the_first_n_of_either() -> None:
    apart = [[[10 * i, y, 10 * i + 8, y + 8] for i in range(5)] for y in (0, 20)]
    first, second = (Proposals.ordered(boxes, [5, 4, 3, 2, 1]) for boxes in apart)
    found = merge_proposals(first, second)
    for n in range(1, 6):
        expected = [*first.top(n).boxes.tolist(), *second.top(n).boxes.tolist()]
        assert sorted(found.top(2 * n).boxes.tolist()) == sorted(expected)


def test_a_shorter_source_runs_out_and_the_longer_goes_on() -> None:
    first = Proposals.ordered([[0, 0, 9, 9]], [1])
    second = Proposals.ordered([[20 * i, 0, 20 * i + 9, 9] for i in range(1, 4)], [3, 2, 1])
    assert merge_proposals(first, second).boxes[:, 0].tolist() == [0, 20, 40, 60]


def test_the_very_same_box_stays_once_and_is_the_first_sources() -> None:
    one = Proposals.ordered([[1, 2, 30, 40]], [1], (), ("multibox",))
    other = Proposals.ordered([[1, 2, 30, 40], [3, 3, 9, 9]], [2, 1])
    found = merge_proposals(one, other)
    assert described(found) == [([1, 2, 30, 40], "multibox"), ([3, 3, 9, 9], "selective-search")]
    assert described(merge_proposals(one, other, scores=[0, 5, 1]))[0][1] == "selective-search"
    assert len(merge_proposals(one, other, duplicate_iou=1)) == 3


def test_boxes_are_given_as_they_came() -> None:
    """However finely they lie: overlaps are measured on a grid, boxes are not moved to it."""
    boxes = np.array([[0.123, 0.5, 1000.25, 800.75], [3.3, 4.4, 3.35, 4.45]], np.float32)
    assert np.array_equal(merge_proposals(Proposals.ordered(boxes, [2, 1])).boxes, boxes)


def test_names_of_all_sources_each_once() -> None:
    both = merge_proposals(some(2, 0, "multibox", frame=False), some(2, 1, frame=False))
    third = some(1, 2, "multibox", frame=False)
    found = merge_proposals(some(1, 3, "by hand", frame=False), both, third, duplicate_iou=1)
    assert found.source_names == ("by hand", "multibox", "selective-search")
    assert np.bincount(found.source).tolist() == [1, 3, 2]
    assert [name for _, name in described(found)][:3] == ["by hand", "multibox", "multibox"]


def with_objectness(found: Proposals) -> Proposals:
    """Each box's left side in pixels, over 100, as its objectness."""
    return replace(found, objectness=found.boxes[:, 0] / np.float32(100))


@pytest.mark.parametrize("scores", [None, np.arange(13) % 5])
def test_objectness_stays_with_its_box(scores: NDArray[np.int64] | None) -> None:
    found = merge_proposals(with_objectness(some(5, 0, "multibox")), with_objectness(some(6, 1)), scores=scores)
    assert found.objectness is not None and len(set(found.objectness.tolist())) > 2
    np.testing.assert_array_equal(found.objectness, found.boxes[:, 0] / np.float32(100))


def test_objectness_that_one_source_lacks_is_not_kept() -> None:
    known = with_objectness(some(5, 0, "multibox"))
    assert merge_proposals(known, some(5, 1)).objectness is None
    assert merge_proposals(some(5, 1), known).objectness is None
    assert merge_proposals(known, Proposals.empty()).objectness is not None  # which lacks nothing
    assert merge_proposals(Proposals.empty()).objectness is None


@pytest.mark.parametrize("scores", [None, []])
def test_empty_sources(scores: list[float] | None) -> None:
    nothing = merge_proposals(Proposals.empty(("multibox",)), Proposals.empty(), scores=scores)
    assert len(nothing) == 0 and nothing.source_names == ("multibox", "selective-search")


def test_an_empty_source_beside_a_full_one() -> None:
    full = some(3, 0)
    for scores in (None, [4, 3, 2, 1]):
        found = merge_proposals(Proposals.empty(("multibox",)), full, scores=scores, duplicate_iou=1)
        assert described(found) == described(full)


def test_the_answer_does_not_depend_on_where_the_picture_begins() -> None:
    one, other = some(20, 0), some(20, 1)
    moved = [Proposals(each.boxes + 100, each.scores) for each in (one, other)]
    assert np.array_equal(merge_proposals(*moved).boxes - 100, merge_proposals(one, other).boxes)
    far = np.array([[0, 0, 1, 1], [0.5, 0, 1, 1]]) + 2**20  # all boxes far away, and small
    assert len(merge_proposals(Proposals.ordered(far, [2, 1]))) == 2


def test_bad_input() -> None:
    one = some(2, 0)
    with pytest.raises(InputError, match="at least one source"):
        merge_proposals()
    with pytest.raises(InputError, match=r"scores should have shape \(3,\)"):
        merge_proposals(one, scores=[1, 2])
    with pytest.raises(InputError, match="scores should be finite, but entry 1 is nan"):
        merge_proposals(one, scores=[1, float("nan"), 2])
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"duplicate_iou should lie in \[0, 1\]"):
            merge_proposals(one, duplicate_iou=wrong)
