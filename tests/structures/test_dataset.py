"""Photographs kept in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inception_rcnn.structures.dataset import ImageCache


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
