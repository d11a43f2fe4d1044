"""Which photographs give each class its first objects."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.datasets.image_lists import rows_of_first_objects
from inception_rcnn.structures import GroundTruthTable

OBJECTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.booleans()), max_size=30)


@given(OBJECTS, st.integers(1, 4))
def test_it_is_what_counting_says(objects: list[tuple[int, int, bool]], most: int) -> None:
    image, label, ignored = (np.array(column) for column in zip(*objects, strict=True)) if objects else ([], [], [])
    box = np.tile([0.0, 0, 9, 9], (len(objects), 1)).reshape(-1, 4)
    names = ("a", "b", "c")
    table = GroundTruthTable(names, tuple(range(8)), image, label, box, ignore=np.array(ignored, np.bool_))
    seen, expected = {0: 0, 1: 0, 2: 0}, []
    for number in range(8):
        here = [name for of, name, out in objects if of == number and not out]
        if any(seen[name] < most for name in here):
            expected.append(number)
            for name in here:
                seen[name] += 1
    assert rows_of_first_objects(table, most) == expected
