"""Photographs decoded once and kept while memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class ImageCache:
    """Photographs by number; the least recently used ones are forgotten beyond `limit` bytes.

    Args of the constructor:
        load: number -> (H, W, 3) uint8.
        limit: bytes of pixels to keep. Batches are drawn over all photographs, so each would be decoded anew for
            every region drawn from it.
    """

    def __init__(self, load: Callable[[int], Image], limit: int = 2 * 2**30) -> None:
        self._load = load
        self._limit = limit
        self._kept: OrderedDict[int, Image] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, index: int) -> Image:
        """The photograph of that number."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        image = self._load(index)
        self._kept[index] = image
        self._bytes += image.nbytes
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return image
