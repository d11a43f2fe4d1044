"""Lines of words and numbers, apart by spaces, read into one array, as fast as memory allows and as exactly as float().

Text files of detections have millions of lines; a compiled loop reads them in several threads. A line that it does not
understand is read again by Python, which either knows the number or names the line.
"""

from __future__ import annotations

import gzip
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, InputError

_WORTH_A_THREAD = 1_000_000  # bytes
_LINES_SHOWN = 60


@dataclass(frozen=True, eq=False)
class NumberLines:
    """The content of a file.

    Attributes:
        path: The file.
        data: Its bytes, unpacked.
        values: (lines, words) float64, blank lines left out; a name's column is unspecified.
        spans: (lines, 2) int64, begin and end of each line's name in `data`; (0, 2) without names.
    """

    path: Path
    data: bytes
    values: NDArray[np.float64]
    spans: NDArray[np.int64]

    def names(self) -> list[str]:
        """Return the first word of each line."""
        return [self.data[start:end].decode("utf-8", "replace") for start, end in self.spans.tolist()]

    def broken(self, row: int, message: str) -> DataFormatError:
        """Return an error that names the line of `values[row]`."""
        lines = enumerate(self.data.split(b"\n"), start=1)
        number = [line for line, content in lines if content.strip()][row]
        return DataFormatError(message, path=self.path, place=f"line {number}")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file, unpacked if it is packed by gzip, whatever its name.

    Raises:
        InputError: There is no such file.
        DataFormatError: It is packed and damaged.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    data = file.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFormatError(f"is a damaged gzip file: {error}; is the download complete?", path=file) from error


def read_number_lines(
    path: str | os.PathLike[str], words: tuple[str, ...], *, named: bool = False, threads: int | None = None
) -> NumberLines:
    """Return the numbers of a text file, plain or packed by gzip.

    Args:
        path: The file.
        words: What is on each line, for errors.
        named: The first word is a name and not a number.
        threads: How many; None: as many as there are processors.

    Raises:
        InputError: There is no such file.
        DataFormatError: A line has more or fewer words, or something else than a finite number; the text names it.
    """
    from inception_rcnn.datasets.number_kernels import count_lines

    data = read_bytes(path)
    text = np.frombuffer(data, np.uint8)
    workers = 1 if len(data) < _WORTH_A_THREAD else threads or os.cpu_count() or 1
    parts = [text[start:end] for start, end in pairwise(_edges(data, workers))]
    with ThreadPoolExecutor(workers) as pool:
        rows = np.cumsum([0, *(lines + 1 for lines in pool.map(count_lines, parts))])
        values = np.empty((rows[-1], len(words)))
        spans = np.empty((rows[-1] if named else 0, 2), np.int64)
        reader = _Reader(Path(path), data, words, named, values, spans)
        ends = list(pool.map(reader.read, _edges(data, workers)[:-1], parts, rows[:-1].tolist()))
    used = np.concatenate([rows[:0], *(np.arange(start, end) for start, end in zip(rows[:-1], ends, strict=True))])
    if len(used) and used[-1] + 1 == len(used):  # usual: nothing to close up
        values, spans = values[: len(used)], spans[: len(used)]
    else:
        values, spans = values[used], spans[used] if named else spans
    lines = NumberLines(Path(path), data, values, spans)
    numbers = values[:, 1:] if named else values
    if not np.isfinite(numbers.sum()):
        bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
        if len(bad):
            raise lines.broken(int(bad[0]), "holds a number that is not finite")
    return lines


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads parts of a file into arrays that all parts share."""

    path: Path
    data: bytes
    words: tuple[str, ...]
    named: bool
    values: NDArray[np.float64]
    spans: NDArray[np.int64]

    def read(self, offset: int, text: NDArray[np.uint8], row: int) -> int:
        """Read the part that begins at `offset` into the rows from `row` on; return the row behind the last."""
        from inception_rcnn.datasets.number_kernels import POWERS, read_lines

        state = np.zeros(2, np.int64)
        while True:
            row = read_lines(text, len(self.words), row, offset, self.named, POWERS, self.values, self.spans, state)
            if state[1] == 0:
                return row
            start = offset + int(state[0])
            end = self.data.find(b"\n", start)
            end = len(self.data) if end < 0 else end
            self._read_line(start, end, row)
            row += 1
            state[0] = end + 1 - offset

    def _read_line(self, start: int, end: int, row: int) -> None:
        """Read one line by Python's own means."""
        words = self.data[start:end].split()
        if len(words) != len(self.words):
            raise self._broken(start, end, f"should have {len(self.words)} words ({' '.join(self.words)})")
        for k, word in enumerate(words):
            if self.named and k == 0:
                begin = self.data.index(word, start)
                self.spans[row] = begin, begin + len(word)
                continue
            try:
                self.values[row, k] = float(word.replace(b"_", b"?"))  # Python's own 1_000 is no number in a file
            except ValueError:
                raise self._broken(start, end, f"{self.words[k]} should be a number") from None

    def _broken(self, start: int, end: int, message: str) -> DataFormatError:
        line = self.data[start:end].decode("utf-8", "replace").rstrip()
        shown = line if len(line) <= _LINES_SHOWN else line[:_LINES_SHOWN] + "..."
        number = self.data.count(b"\n", 0, start) + 1
        return DataFormatError(f"{message}, got {shown!r}", path=self.path, place=f"line {number}")


def _edges(data: bytes, parts: int) -> list[int]:
    """Return where to cut the data so that the parts are about equally long and hold whole lines."""
    cuts = {0, len(data)}
    for part in range(1, parts):
        cuts.add(data.find(b"\n", part * len(data) // parts) + 1 or len(data))
    return sorted(cuts)
