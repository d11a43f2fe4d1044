"""Pieces of photographs with boxes on them."""

from __future__ import annotations

import numpy as np
import pytest
from report_cases import photograph

from inception_rcnn.evaluation.report.pictures import LONG_SIDE, Album
from inception_rcnn.structures import ImageError


def test_a_picture_shows_the_boxes_where_they_are() -> None:
    album = Album(photograph)
    box = np.array([30.0, 20.0, 90.0, 70.0])
    picture = album.cut(0, box[None], [("found", box), ("other", np.array([500.0, 500.0, 600.0, 600.0]))])
    assert picture is not None
    assert picture.data.startswith("data:image/webp;base64,")
    assert max(picture.width, picture.height) <= LONG_SIDE
    (drawn,) = picture.boxes  # the other one is outside
    assert drawn.width / drawn.height == pytest.approx(60 / 50, rel=0.01)
    scale = drawn.width / 60
    assert (drawn.x, drawn.y) == (pytest.approx(21 * scale, abs=0.2), pytest.approx(20 * scale, abs=0.2))
    whole = album.cut(0, np.zeros((0, 4)), [])
    assert whole is not None
    assert whole.width / whole.height == pytest.approx(120 / 90, rel=0.01)


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (500, 500, 600, 700), (10, 10, 10, 10), (50, 50, 20, 20)])
def test_a_box_outside_the_photograph_still_gives_a_picture(box: tuple[float, ...]) -> None:
    picture = Album(photograph).cut(0, np.array([box], float), [("found", np.array(box, float))])
    assert picture is not None
    assert picture.width >= 1


def test_photographs_that_cannot_be_opened_are_counted() -> None:
    def broken(position: int) -> np.ndarray:
        if position:
            raise ImageError("no such photograph")
        raise OSError("gone")

    album = Album(broken)
    assert [album.cut(k, np.zeros((0, 4)), []) for k in range(2)] == [None, None]
    assert album.broken == 2
