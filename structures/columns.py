"""The columns of Proposals, Detections and GroundTruth, one entry for each box: checked, chosen, compared, shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import fields
from html import escape
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.errors import InputError

Selection = slice | Sequence[int] | Sequence[bool] | NDArray[Any]
"""What may stand between the brackets of `detections[...]`, beside the number of one."""

Rows = slice | NDArray[Any]
"""What picks rows of an array and keeps its first dimension."""

Corners = tuple[float, float, float, float]
"""x1 y1 x2 y2 in pixels, x2 and y2 exclusive."""

Number = TypeVar("Number", bound=np.generic)
Entry = TypeVar("Entry")

_LARGEST = np.iinfo(np.int32).max
_MOST_NAMED = 6  # entries in a repr
_MOST_ROWS = 20  # in a notebook's table
_LONGEST_NAME = 40  # characters of a class's in a line


class Columns(ABC, Generic[Entry]):
    """Arrays with one entry for each box, as a sequence of entries.

    Equal is what has equal content: every number of every array, and every other field but those with compare=False.
    So nothing here has a hash. A subclass is a dataclass of arrays, made with eq=False and repr=False.
    """

    _by_score: ClassVar[bool] = False  # whether entries stand in an order, which choosing among them keeps

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of entries."""

    @abstractmethod
    def __iter__(self) -> Iterator[Entry]:
        """Return an iterator over the entries, as plain values."""

    @abstractmethod
    def _at(self, rows: Rows) -> Self:
        """Return some of the entries."""

    @overload
    def __getitem__(self, keep: int | np.integer[Any]) -> Entry: ...
    @overload
    def __getitem__(self, keep: Selection) -> Self: ...
    def __getitem__(self, keep: int | np.integer[Any] | Selection) -> Entry | Self:
        """Return one entry for a number, else those that a slice, a boolean mask or positions select.

        Positions may come in any order, and below 0 they count from the end. What stands by score does so again
        whatever their order, equal scores as before; the rest comes as it was asked for.

        Raises:
            IndexError: There is no entry of this number.
            InputError: Positions are outside, or name an entry twice; or it is no such selection.
        """
        if isinstance(keep, bool):
            raise InputError(f"select boxes by a number, a slice, a mask or positions, got {keep}")
        if isinstance(keep, int | np.integer):
            if not -len(self) <= keep < len(self):
                raise IndexError(f"there is no entry {keep}; {type(self).__name__} has {len(self)}")
            first = int(keep) % len(self)
            return next(iter(self._at(slice(first, first + 1))))
        return self._at(_distinct(rows(keep, len(self)), len(self), ascending=self._by_score))

    def __eq__(self, other: object) -> bool:
        """Return whether the other is of the same kind and has the same content."""
        if type(other) is not type(self):
            return NotImplemented
        compared = (field.name for field in fields(self) if field.compare)  # type: ignore[arg-type]
        return all(_same(getattr(self, name), getattr(other, name)) for name in compared)

    def _repr_html_(self) -> str:
        """Return a table of the first entries, as notebooks show it."""
        some = [vars(entry) for entry in self[:_MOST_ROWS]]
        return html_table(repr(self), list(some[0]) if some else [], [one.values() for one in some], len(self))


def html_table(caption: str, heads: Sequence[str], lines: Iterable[Iterable[object]], count: int | None = None) -> str:
    """Return a table in HTML, as notebooks show it.

    Args:
        caption: What it is, in a line.
        heads: Of the columns; none: the table has no such line.
        lines: The rows, of texts, numbers or boxes; the first 20 are shown.
        count: How many rows there are, where `lines` has the first of them only.

    >>> html_table("two", ["name", "score"], [["<cat>", 0.5]])[19:]
    '</caption><tr><th>name</th><th>score</th></tr><tr><td>&lt;cat&gt;</td><td>0.500</td></tr></table>'
    """
    given = [[_cell(value) for value in line] for line in lines]
    shown = given[:_MOST_ROWS]
    left = (len(given) if count is None else count) - len(shown)
    parts = [_line("th", heads) if heads else "", *(_line("td", line) for line in shown)]
    parts += [_line("td", [f"and {left} more"])] if left else []
    return f"<table><caption>{escape(caption)}</caption>{''.join(parts)}</table>"


def corner_tuples(boxes: NDArray[Any]) -> list[Corners]:
    """Return boxes (N, 4) as plain numbers."""
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist()]


def named(texts: Sequence[str], count: int) -> str:
    """Return the first of `count` texts for a repr: what cannot be printed in a line is written as Python would.

    >>> named(["dog 0.90", "cat 0.50"], 7), named([], 0)
    (': dog 0.90, cat 0.50 and 5 more', '')
    """
    shown = [text if text.isprintable() else repr(text) for text in texts[:_MOST_NAMED]]
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f": {', '.join(shown)}{more}" if shown else ""


def shown_name(name: str) -> str:
    """Return the name of a class in a line: short, and without what would move a terminal's cursor.

    >>> shown_name("traffic light"), shown_name("a\\n\\x1b[2Jb"), len(shown_name("x" * 5000))
    ('traffic light', 'a??[2Jb', 40)
    """
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def first_rows(columns: Columns[Entry]) -> list[Entry]:
    """Return the entries that a repr names."""
    return list(columns[:_MOST_NAMED])


def column(values: ArrayLike, name: str, length: int, dtype: type[Number]) -> NDArray[Number]:
    """Return `values` as a finite array (length,) of `dtype`.

    Raises:
        InputError: The shape is another one, or a value is not a finite number.
    """
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} should be numbers of shape ({length},): {error}") from error
    if array.shape != (length,):
        raise InputError(f"{name} should have shape ({length},) to match boxes, got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise InputError(f"{name} should be finite, but entry {row} is {array[row]}")
    return array


def whole_numbers(values: ArrayLike, name: str, limit: int, names: str) -> NDArray[np.int64]:
    """Return `values` as int64 in [0, limit): positions in the tuple called `names`.

    Raises:
        InputError: A value has a fraction, or no name.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} should be whole numbers of shape (N,): {error}") from error
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} should be whole numbers, got an array of {array.dtype}")
    outside = (array < 0) | (array >= limit)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(
            f"{name} should be in 0..{limit - 1}, a position in {names} ({limit}), but entry {row} is {array.flat[row]}"
        )
    return array.astype(np.int64, copy=False)


def descending(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order (N,) that puts higher scores first and keeps equal ones in place."""
    return np.argsort(-scores, kind="stable").astype(np.int64)


def check_descending(scores: NDArray[np.float32], owner: str) -> None:
    """Raise if a score is higher than the one before it.

    Raises:
        InputError: One is; the text names `<owner>.ordered` as the way out.
    """
    rising = scores[1:] > scores[:-1]
    if rising.any():
        row = int(np.argmax(rising)) + 1
        raise InputError(
            f"scores should descend, but entry {row} ({scores[row]:g}) is higher than the one before it "
            f"({scores[row - 1]:g}); use {owner}.ordered(...) to sort"
        )


def rows(keep: Selection, length: int) -> Rows:
    """Return `keep` in a form that picks rows and never drops the first dimension.

    Raises:
        InputError: Neither a slice, nor a mask (length,), nor positions in [-length, length).
    """
    if isinstance(keep, slice):
        return keep
    if isinstance(keep, str):
        raise InputError(
            f"select boxes by a number, a slice, a mask or positions, got {keep!r}; columns are attributes, such as "
            ".boxes"
        )
    try:
        chosen = np.asarray(keep)
    except ValueError as error:
        raise InputError(f"select boxes by a slice, a mask or positions: {error}") from error
    if chosen.dtype == np.bool_:
        if chosen.shape != (length,):
            raise InputError(f"a mask should have shape ({length},), one flag for each box, got {chosen.shape}")
        return chosen
    if chosen.size == 0:
        return np.zeros(0, np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise InputError(f"select boxes by a slice, a mask or positions, got {chosen.dtype} of shape {chosen.shape}")
    if chosen.min() < -length or chosen.max() >= length:
        raise InputError(f"positions should be in 0..{length - 1}, got {chosen.min()}..{chosen.max()}")
    return chosen


def _distinct(chosen: Rows, length: int, *, ascending: bool) -> Rows:
    """Return what `rows` returned, perhaps in ascending order, after a check that no row is there twice."""
    if isinstance(chosen, slice):
        backwards = chosen.step is not None and chosen.step < 0
        return np.arange(length)[chosen][::-1] if ascending and backwards else chosen
    if chosen.dtype == np.bool_:
        return chosen
    counted = np.where(chosen < 0, chosen.astype(np.int64) + length, chosen.astype(np.int64))
    times = np.bincount(counted, minlength=1)
    if times.max() > 1:
        row = int(times.argmax())
        raise InputError(f"positions should differ from each other, but {row} is there {times[row]} times")
    return np.sort(counted) if ascending else counted


def _same(one: object, other: object) -> bool:
    """Return whether two values of a field are equal; arrays of other types or shapes are not."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return not isinstance(one, np.ndarray) and not isinstance(other, np.ndarray) and one == other


def _cell(value: object) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        return ", ".join(f"{number:.1f}" for number in value)
    return "" if value is None else str(value)


def _line(tag: str, cells: Iterable[str]) -> str:
    """Return a row of a table in HTML."""
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def repeated_positions(images: Sequence[Sized]) -> NDArray[np.int32]:
    """Return the position of each image, once for each of its boxes."""
    return np.repeat(np.arange(len(images), dtype=np.int32), [len(one) for one in images])


def joined(parts: Sequence[NDArray[np.generic]], dtype: type[Number], empty: tuple[int, ...] = (0,)) -> NDArray[Number]:
    """Return the parts one after the other as `dtype`; with no part, an array of shape `empty`."""
    return np.concatenate([np.zeros(empty, dtype), *(part.astype(dtype) for part in parts)])


def corners(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return finite float64 (N, 4), C-contiguous."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} should be numbers of shape (N, 4): {error}") from error
    if array.size == 0:
        return np.zeros((0, 4), np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{name} should have shape (N, 4), got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise InputError(f"{name} should be finite, but row {row} is {array[row].tolist()}")
    return array


def positions(values: ArrayLike, name: str, length: int, limit: int = _LARGEST) -> NDArray[np.int32]:
    """Return whole numbers in [0, limit) as int32 (length,)."""
    array = np.asarray(values)
    if array.size == 0 and length == 0:
        return np.zeros(0, np.int32)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise InputError(f"{name} should be whole numbers of shape ({length},), got {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= limit:
        raise InputError(f"{name} should be in 0..{limit - 1}, got {array.min()}..{array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)


def share_column(values: ArrayLike | None, name: str, length: int) -> NDArray[np.float32] | None:
    """Return `values` as float32 (length,) in [0, 1]; None stays None.

    Raises:
        InputError: The shape is another one, or a value is outside.
    """
    if values is None:
        return None
    shares = column(values, name, length, np.float32)
    outside = (shares < 0) | (shares > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"{name} should be in [0, 1], but entry {row} is {shares[row]}")
    return shares


def source_column(source: ArrayLike, length: int, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return who proposed each box, uint8 (length,); none given means that the first name proposed all.

    Raises:
        InputError: The shape is another one, a value has no name, or there are no names or too many.
    """
    if len(names) > 256 or (length and not names):
        raise InputError(f"source_names should hold 1 to 256 names, got {len(names)}")
    given = whole_numbers(source, "source", len(names), "source_names")
    if given.size == 0:
        return np.zeros(length, np.uint8)
    return column(given, "source", length, np.uint8)
