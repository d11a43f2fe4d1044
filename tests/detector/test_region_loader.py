"""Photographs kept in memory, and batches cut from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_loader import ImageCache, cut_batch
from inception_rcnn.detector.region_warp import warp_regions
from inception_rcnn.detector.sampling import Batch


class Album:
    """Photographs of 300 bytes, each of one grey; remembers which were loaded."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def load(self, index: int) -> npt.NDArray[np.uint8]:
        self.loaded.append(index)
        return np.full((10, 10, 3), index, np.uint8)


def test_a_photograph_is_loaded_once_while_there_is_room() -> None:
    album = Album()
    images = ImageCache(album.load, limit=900)
    assert [int(images[index][0, 0, 0]) for index in (4, 7, 4, 5, 7, 4)] == [4, 7, 4, 5, 7, 4]
    assert album.loaded == [4, 7, 5]


def test_the_least_recently_used_one_is_forgotten() -> None:
    album = Album()
    images = ImageCache(album.load, limit=600)
    for index in (1, 2, 1, 3):  # 2 has to go
        images[index]
    album.loaded.clear()
    images[1], images[3]
    assert album.loaded == []
    images[2]
    assert album.loaded == [2]


def test_one_photograph_is_kept_however_small_the_limit() -> None:
    album = Album()
    images = ImageCache(album.load, limit=1)
    images[1], images[1], images[2], images[2]
    assert album.loaded == [1, 2]


def test_a_batch_is_what_the_warp_cuts_mirrored_where_it_says_so(spec: InputSpec) -> None:
    rng = np.random.default_rng(0)
    photographs = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    boxes = np.array([(0, 0, 20, 20), (5, 3, 30, 33), (9, 9, 40, 20), (1, 1, 49, 39)], np.float32)
    batch = Batch(np.array([2, 0, 2, 1]), boxes, np.zeros(4, np.int64), np.array([False, True, True, False]))
    crops = cut_batch(ImageCache(photographs.__getitem__), batch, spec)
    for row, image in enumerate((2, 0, 2, 1)):
        expected = warp_regions(photographs[image], boxes[row : row + 1], spec)[0]
        assert np.array_equal(crops[row], expected[:, ::-1] if batch.mirror[row] else expected)
