"""The public implementations behind our call, with their faults corrected."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from inception_rcnn.proposals import selective_search
from inception_rcnn.proposals.search.engines import selectivesearch_candidates
from inception_rcnn.proposals.search.strategies import strategy_of
from inception_rcnn.structures import MissingDependencyError, pairwise_iou

needs_ximgproc = pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="this cv2 has no ximgproc")
engines = pytest.mark.parametrize("engine", [pytest.param("opencv", marks=needs_ximgproc), "selectivesearch"])


@pytest.fixture(scope="module")
def photograph() -> NDArray[np.uint8]:
    return np.ascontiguousarray(skimage.data.coffee()[::2, ::2])


@engines
@pytest.mark.parametrize("ranking", ["agreement", "random"])
def test_boxes_are_sound(photograph: NDArray[np.uint8], engine: str, ranking: str) -> None:
    height, width = photograph.shape[:2]
    proposals = selective_search(photograph, engine=engine, ranking=ranking, width=200)
    boxes = proposals.boxes
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes) > 20
    sides = (boxes[:, 2:] - boxes[:, :2]) * [200 / width, round(200 * height / width) / height]
    assert sides.min() > 19.9


@engines
def test_same_call_same_answer(photograph: NDArray[np.uint8], engine: str) -> None:
    first, second = (selective_search(photograph, engine=engine, width=150) for _ in range(2))
    assert first.boxes.tolist() == second.boxes.tolist()


@engines
def test_a_square_is_found_to_the_pixel(engine: str) -> None:
    """The last row and column count: selectivesearch itself leaves them out."""
    picture = np.full((120, 200, 3), 30, np.uint8)
    picture[30:90, 60:140] = (220, 90, 60)
    boxes = selective_search(picture, engine=engine, width=200).boxes
    assert pairwise_iou(np.array([[60, 30, 140, 90]], np.float32), boxes).max() > 0.94


def test_selectivesearch_reaches_the_last_row_and_column() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    boxes = selectivesearch_candidates(picture, strategy_of("single")).boxes
    assert boxes[:, 2].max() == 50 and boxes[:, 3].max() == 40


def test_selectivesearch_sees_grey_spaces_too(photograph: NDArray[np.uint8]) -> None:
    strategy = strategy_of("quality", ks=(300,))
    assert len(selectivesearch_candidates(photograph[:60, :60], strategy).boxes) > 0


@engines
def test_positions_go_by_area(photograph: NDArray[np.uint8], engine: str) -> None:
    from inception_rcnn.proposals.search import engines as adapters

    adapter = adapters.opencv_candidates if engine == "opencv" else adapters.selectivesearch_candidates
    found = adapter(photograph[:100, :100], strategy_of("single"))
    areas = (found.boxes[:, 2] - found.boxes[:, 0]) * (found.boxes[:, 3] - found.boxes[:, 1])
    by_position = areas[np.argsort(found.positions)]
    assert (np.diff(by_position) <= 0).all()
    assert sorted(found.positions.tolist()) == list(range(1, len(areas) + 1))


def test_without_ximgproc_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(
        MissingDependencyError, match="pip uninstall opencv-python && pip install opencv-contrib-python"
    ):
        selective_search(np.zeros((30, 30, 3), np.uint8), engine="opencv")


def test_without_selectivesearch_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "selectivesearch", None)
    with pytest.raises(MissingDependencyError, match="pip install selectivesearch"):
        selective_search(np.zeros((30, 30, 3), np.uint8), engine="selectivesearch")
