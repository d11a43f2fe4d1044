"""COCO's results files, read some ten times as fast as by the json module, if nothing in them is unusual."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WORTH_A_THREAD = 1_000_000  # bytes
_MOST_UNSURE = 1000  # numbers of one part that Python reads; more of them make the file unusual


@dataclass(frozen=True, eq=False)
class FlatRecords:
    """The detections of a results file.

    Attributes:
        image_id: (M,) int64.
        category_id: (M,) int64.
        numbers: (M, 5) float64: x, y, width, height, score; those too large for float64 are infinite.
    """

    image_id: NDArray[np.int64]
    category_id: NDArray[np.int64]
    numbers: NDArray[np.float64]


def read_flat_records(data: bytes, threads: int | None = None) -> FlatRecords | None:
    """Return what the json module would read, or None for anything but a list of objects with just the four keys.

    The keys image_id, category_id (whole numbers), bbox (four numbers) and score may stand in any order, with spaces
    anywhere. JSON that is broken gives None too: the json module says where.

    Args:
        data: The file.
        threads: How many; None: as many as there are processors.

    >>> read_flat_records(b'[{"image_id": 7, "category_id": 3, "score": 5e-1, "bbox": [1, 2, 3, 4]}]').numbers
    array([[1. , 2. , 3. , 4. , 0.5]])
    """
    start, end = data.find(b"["), data.rfind(b"]")
    if start < 0 or end < start or data[:start].strip(b" \t\r\n") or data[end + 1 :].strip(b" \t\r\n"):
        return None
    parts = _Parts(data, _edges(data, start + 1, end, threads))
    with ThreadPoolExecutor(len(parts.spans)) as pool:
        read = list(pool.map(parts.read, range(len(parts.spans))))
    if not all(read):
        return None
    return FlatRecords(parts.ids[:, 0], parts.ids[:, 1], parts.numbers)


class _Parts:
    """Parts of a list, read into arrays that all share."""

    def __init__(self, data: bytes, edges: list[int]) -> None:
        self.data = data
        self.spans = [(start, end - 1) for start, end in pairwise(edges)]  # without the comma between two parts
        self.rows = np.cumsum([0, *(data.count(b"{", *span) for span in self.spans)])
        self.ids = np.empty((int(self.rows[-1]), 2), np.int64)
        self.numbers = np.empty((int(self.rows[-1]), 5))

    def read(self, part: int) -> bool:
        """Read one part; return whether nothing in it is unusual."""
        from inception_rcnn.datasets.number_kernels import POWERS
        from inception_rcnn.datasets.record_kernels import KEY_LENGTHS, KEYS, read_records

        start, end = self.spans[part]
        text = np.frombuffer(memoryview(self.data)[start:end], np.uint8)
        unsure, state = np.empty((_MOST_UNSURE, 4), np.int64), np.zeros(1, np.int64)
        row = int(self.rows[part])
        row = read_records(text, row, KEYS, KEY_LENGTHS, POWERS, self.ids, self.numbers, unsure, state)
        for at, column, first, last in unsure[: state[0]].tolist():
            self.numbers[at, column] = float(self.data[start + first : start + last])
        return row == int(self.rows[part + 1])


def _edges(data: bytes, start: int, end: int, threads: int | None) -> list[int]:
    """Return where parts begin: behind a comma that follows a closing brace; last, one behind the end."""
    count = 1 if end - start < _WORTH_A_THREAD else threads or os.cpu_count() or 1
    edges = [start]
    for part in range(1, count):
        comma = data.find(b",", data.find(b"}", start + part * (end - start) // count, end), end)
        if comma > edges[-1]:
            edges.append(comma + 1)
    return [*edges, end + 1]
