"""What files of detections share: the record that a reader returns, ids found in a list, lines of numbers.

Any file may be packed by gzip. Boxes are taken as they are: inverted ones, and ones outside the image, belong to the
result. Numbers are written with all their digits, so that reading them gives the same numbers; a writer never clips,
rounds, sorts or leaves out what it is given.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, GroundTruthTable
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.files import read_bytes

_HINT: Final = " (--skip-broken or skip_unknown=True leaves such detections out)"
_LONGEST_SHOWN: Final = 60
_SHARE_END: Final = 2.0  # pixels: 1 and, in formats that count inclusive pixels, 1 more
_MOST: Final = 0.5
_FAR: Final = 1.1
_SOME: Final = 0.1


@dataclass(frozen=True, eq=False)
class DetectionFile:
    """What a file holds.

    Attributes:
        detections: Their images and labels are positions in the lists given to the reader.
        dropped: How many detections of images outside the list were left out.
        known: Labels of the classes the detector knows, None if the file does not say.
        notes: What looks wrong, or should be known, one line for each.
    """

    detections: DetectionTable
    dropped: int = 0
    known: frozenset[int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class NumberLines:
    """The lines of a text file, blank ones left out.

    Attributes:
        path: The file.
        values: (lines, numbers) float64, finite.
        names: What stands before the numbers of each line where it is a name; otherwise empty.
    """

    path: Path
    values: NDArray[np.float64]
    names: tuple[str, ...] = ()

    def broken(self, row: int, message: str) -> DataFormatError:
        """Return an error that names the line of `values[row]`."""
        lines = enumerate(read_bytes(self.path).split(b"\n"), start=1)
        number = [line for line, content in lines if content.strip()][row]
        return DataFormatError(message, path=self.path, place=f"line {number}")


def read_number_lines(
    path: str | os.PathLike[str], words: Sequence[str], *, named: bool = False, spaced: bool = False
) -> NumberLines:
    """Return the numbers of a text file, words separated by spaces or tabs, each the very float64 that Python reads.

    Args:
        path: The file, plain or packed by gzip.
        words: What is on each line, for errors.
        named: The first word is a name and not a number.
        spaced: All that stands before the numbers is the name, such as "photo 1".

    Raises:
        InputError: There is no such file.
        DataFormatError: A line has more or fewer words, or something else than a finite number; the text names it.
    """
    file, data = Path(path), read_bytes(path)
    numbers = len(words) - named
    names, source = _without_names(data, numbers if spaced else 0) if named else ((), io.BytesIO(data))
    if not data.strip():
        return NumberLines(file, np.zeros((0, numbers)))
    try:
        # No comments and no quotes: what they would hide is no number.
        values = np.loadtxt(source, np.float64, comments=None, quotechar=None, encoding="latin-1", ndmin=2)
    except ValueError as error:
        raise _broken_line(file, data, words, named, spaced, str(error)) from None
    if values.shape[1] != numbers:
        raise _broken_line(file, data, words, named, spaced, f"has {values.shape[1]} numbers a line")
    read = NumberLines(file, values, names)
    if not np.isfinite(values).all():
        raise read.broken(int(np.argmin(np.isfinite(values).all(axis=1))), "holds a number that is not finite")
    return read


def select_known(
    image: NDArray[np.int64],
    label: NDArray[Any],
    score: NDArray[np.float64],
    box: NDArray[np.float64],
    *,
    skip_unknown: bool,
    error: Callable[[int, str], DataFormatError],
    name: Callable[[int], object],
) -> DetectionFile:
    """Return the detections of images that are in the list.

    Args:
        image: (M,) positions in the list, -1 for images that are not in it.
        label: (M,) positions of classes.
        score: (M,) as the file has them.
        box: (M, 4) x1 y1 x2 y2, x2 and y2 exclusive.
        skip_unknown: Leave out detections of other images and count them, instead of stopping at the first.
        error: Row and message -> error that names the row's place in the file.
        name: Row -> what the file calls the image.

    Raises:
        DataFormatError: An image is not in the list, and `skip_unknown` is not given.
    """
    known = image >= 0
    if not known.all():
        if not skip_unknown:
            row = int(np.argmin(known))
            raise error(row, f"the image {name(row)} is not in the list of images{_HINT}")
        image, label, score, box = image[known], label[known], score[known], box[known]
    return DetectionFile(DetectionTable(image.astype(np.int32), label, score, box), int(len(known) - len(image)))


def note_of_shown(table: DetectionTable) -> str:
    """Return a line that says of what `detect` shows that it is not all that mAP counts."""
    lowest = f", the lowest score is {table.score.min():.3g}" if len(table) else ""
    return (
        f"it has what `detect` shows{lowest}; mAP counts detections of any score, so `eval_map` without "
        "--detections gives more"
    )


def box_notes(table: DetectionTable, truth: GroundTruthTable) -> list[str]:
    """Return a line each if boxes look like shares of their photographs, or like corners given as x y width height.

    Args:
        table: Detections.
        truth: With sizes, as far as they are known.
    """
    if not len(table):
        return []
    sizes = np.array([[side or np.nan for side in size] for size in truth.sizes], np.float64).reshape(-1, 2)
    x2, y2 = table.box[:, 2:].T
    tiny = (x2 <= _SHARE_END) & (y2 <= _SHARE_END) & (table.box.min(axis=1) >= -1)
    if tiny.mean() > _MOST:
        return [
            f"{int(tiny.sum())} of {len(table)} boxes end within {_SHARE_END:g} pixels of the photograph's corner: "
            "boxes are expected in pixels, and these look like shares of the photograph"
        ]
    width, height = sizes[table.image].T
    far = (x2 > width * _FAR) | (y2 > height * _FAR)
    if far.mean() >= _SOME:
        return [
            f"{int(far.sum())} of {len(table)} boxes end far outside their photographs: are x y width height expected "
            "where corners are given, or are the photographs others?"
        ]
    return []


def _without_names(data: bytes, numbers: int) -> tuple[tuple[str, ...], list[bytes]]:
    """Return the first word of each line, or all before so many numbers, and the rest; see `_parted`."""
    lines = [_parted(line, numbers) for line in data.split(b"\n") if line.strip()]
    return tuple(name.decode("utf-8", "replace") for name, _ in lines), [rest for _, rest in lines]


def _parted(line: bytes, numbers: int) -> tuple[bytes, bytes]:
    """Return the name and the rest of a line; a lone name is followed by what is no number.

    Args:
        line: With a word at least.
        numbers: So many words behind the name, if there are more than a name of one word needs; 0: it has one word.
    """
    words = line.split(None, 1)
    if numbers and len(line.split()) > numbers + 1:
        words = line.strip().rsplit(None, numbers)
    return words[0], b" ".join(words[1:]) or b"-"


def _broken_line(
    path: Path, data: bytes, words: Sequence[str], named: bool, spaced: bool, reason: str
) -> DataFormatError:
    """Return an error that names the first line that is not as it should be, or `reason` if all look right."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        found = line.split()
        if not found:
            continue
        if spaced and len(found) > len(words):
            name, rest = _parted(line, len(words) - 1)
            found = [name, *rest.split()]
        message = None
        if len(found) != len(words):
            message = f"should have {len(words)} words ({' '.join(words)})"
        else:
            wrong = [name for name, word in list(zip(words, found, strict=True))[named:] if not _is_number(word)]
            message = f"{wrong[0]} should be a number" if wrong else None
        if message is not None:
            text = line.decode("utf-8", "replace").rstrip()
            shown = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
            return DataFormatError(f"{message}, got {shown!r}", path=path, place=f"line {number}")
    return DataFormatError(f"should be lines of {' '.join(words)}: {reason}", path=path)


def _is_number(word: bytes) -> bool:
    """Return whether a word is a number to NumPy: to Python, 1_000 is one too."""
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word
