"""Labels never meet, never leave the picture, and are left out only without a place: against trying them all."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.structures.label_places import LabelPlaces, Rectangle

WIDTH, HEIGHT = 24, 16
Placed = tuple[int, int, int] | None


def meet(a: Rectangle, b: Rectangle) -> bool:
    """Whether they have a pixel in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def touch(a: Rectangle, b: Rectangle) -> bool:
    """Whether they have a pixel, a side or a corner in common."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def has_place(box: Rectangle, width: int, height: int, taken: list[Rectangle]) -> bool:
    """Whether a label can stand anywhere, by trying every pixel."""
    for left, top in product(range(WIDTH - width + 1), range(HEIGHT - height + 1)):
        label = (left, top, left + width, top + height)
        if touch(label, box) and not any(meet(label, other) for other in taken):
            return True
    return False


@st.composite
def boxes(draw: st.DrawFn) -> Rectangle:
    left, top = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return left, top, draw(st.integers(left + 1, WIDTH)), draw(st.integers(top + 1, HEIGHT))


sizes = st.lists(st.tuples(st.integers(1, WIDTH + 2), st.integers(1, 7)), min_size=1, max_size=3)


@given(st.lists(st.tuples(boxes(), sizes), max_size=30))
def test_labels_never_meet_never_leave_and_stand_wherever_there_is_a_place(asked: list[tuple[Rectangle, list]]) -> None:
    places, taken = LabelPlaces((WIDTH, HEIGHT)), list[Rectangle]()
    for box, wanted in asked:
        placed = places.place(box, wanted)
        first = next((n for n, size in enumerate(wanted) if has_place(box, *size, taken)), None)
        assert (None if placed is None else placed[0]) == first
        if placed is None:
            continue
        choice, left, top = placed
        label = (left, top, left + wanted[choice][0], top + wanted[choice][1])
        assert left >= 0 and top >= 0 and label[2] <= WIDTH and label[3] <= HEIGHT
        assert touch(label, box) and not any(meet(label, other) for other in taken)
        taken.append(label)


def test_a_label_stands_above_then_inside_then_below_then_inside_at_the_bottom_then_aside() -> None:
    places, box = LabelPlaces((100, 80)), (20, 20, 60, 50)
    corners = [places.place(box, [(40, 10)]) for _ in range(7)]
    assert corners[:4] == [(0, 20, 10), (0, 20, 20), (0, 20, 50), (0, 20, 40)]
    assert corners[4:] == [(0, 20, 30), (0, 60, 10), (0, 60, 20)]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((30, 3, 60, 50), (30, 3)),  # at the upper edge: inside
        ((30, 3, 40, 8), (30, 3)),
        ((95, 40, 100, 60), (60, 30)),  # a long label on a narrow box at the right edge is shifted
        ((95, 0, 100, 80), (60, 0)),
        ((0, 0, 100, 80), (0, 0)),  # fills the picture
    ],
)
def test_labels_at_the_edges_are_shifted_into_the_picture(box: Rectangle, expected: tuple[int, int]) -> None:
    assert LabelPlaces((100, 80)).place(box, [(40, 10)]) == (0, *expected)


def test_a_smaller_size_is_taken_where_the_wanted_one_has_no_place() -> None:
    places = LabelPlaces((30, 20))
    assert places.place((0, 0, 30, 20), [(40, 10), (20, 8)]) == (1, 0, 0)
    assert places.place((0, 0, 30, 20), [(40, 10), (20, 21)]) is None
    assert places.place((0, 0, 5, 8), [(30, 12)]) == (0, 0, 8)  # below the other label
    assert places.place((0, 0, 30, 20), [(10, 8)]) == (0, 20, 0)
    assert places.place((0, 0, 30, 20), [(10, 8), (2, 1)]) is None  # full
