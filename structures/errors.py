"""Everything this package raises on purpose, and the check that raises it for settings of another type than declared.

    InceptionError
    ├── InputError             (also ValueError)   the caller's array, path or option is wrong
    │   └── ImageError                             an image cannot be read
    ├── DataFormatError        (also ValueError)   a file is not what its name promises
    ├── CheckpointError        (also ValueError)   weights do not fit, are damaged, or lie about themselves
    └── MissingDependencyError (also ImportError)  an optional library is not installed

`except InceptionError` catches all of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np

_WORDS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "None",
}


class InceptionError(Exception):
    """The base of every error this package raises on purpose."""


class InputError(InceptionError, ValueError):
    """The caller's array, path or option is wrong; the text names it, what was expected and what came."""


class ImageError(InputError):
    """An image cannot be read; the text names the image, what is wrong with it, and a remedy."""


class DataFormatError(InceptionError, ValueError):
    """A file is not what its name promises.

    Args:
        message: What is wrong, what was expected, and the remedy.
        path: The file.
        place: Where in the file, such as ``"line 12"`` or ``"annotation 7"``; None when the whole file is meant.

    >>> print(DataFormatError("bbox has 3 numbers, expected 4", path="val.json", place="annotation 7"))
    val.json, annotation 7: bbox has 3 numbers, expected 4
    """

    def __init__(self, message: str, *, path: str | os.PathLike[str], place: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = os.fspath(path)
        self.place = place

    def __str__(self) -> str:
        """Return path, place and message in one line."""
        where = self.path if self.place is None else f"{self.path}, {self.place}"
        return f"{where}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        """Return what pickle needs: the keyword-only arguments would be lost otherwise (worker processes)."""
        return (_format_error, (type(self), self.message, self.path, self.place))


class CheckpointError(InceptionError, ValueError):
    """Weights do not fit the network, are damaged, or lie about themselves."""


class MissingDependencyError(InceptionError, ImportError):
    """An optional library is not installed; the text names the command that installs it."""


def _format_error(kind: type[DataFormatError], message: str, path: str, place: str | None) -> DataFormatError:
    return kind(message, path=path, place=place)


def check_fields(settings: Any) -> None:
    """Raise if a field of a dataclass is not what its annotation says; NumPy's numbers become Python's.

    Files hold no NumPy numbers, and what has the wrong type is to be refused before the long work. For `__post_init__`.

    Raises:
        InputError: A field has another type.
    """
    for name, kind in _annotations(settings.__class__).items():
        object.__setattr__(settings, name, as_declared(name, getattr(settings, name), kind))


def as_declared(name: str, value: Any, kind: Any) -> Any:
    """Return a value as its annotation has it: NumPy's numbers as Python's, several values as a tuple.

    Args:
        name: For the error.
        value: Any.
        kind: The annotation. Of a number, a text, several of these in a list, a class or a choice among them values are
            checked, all else is as it is.

    Raises:
        InputError: It is of another type.

    >>> as_declared("cells", np.array([7, 5]), Sequence[int]), as_declared("rate", np.float64(0.5), float | None)
    ((7, 5), 0.5)
    """
    value = (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if not any(_is_of(value, one) for one in choices):
        raise InputError(f"{name} should be {' or '.join(map(_in_words, choices))}, got {value!r:.200}")
    for one in choices:
        if _is_many(one) and _is_of(value, one):
            return tuple(as_declared(f"{name}[{place}]", each, get_args(one)[0]) for place, each in enumerate(value))
    return value


@cache
def _annotations(owner: type[Any]) -> dict[str, Any]:
    return get_type_hints(owner)


def _is_of(value: object, kind: Any) -> bool:
    if _is_many(kind):
        return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    plain = get_origin(kind) or kind
    return plain is Any or not isinstance(plain, type) or isinstance(value, plain)


def _is_many(kind: Any) -> bool:
    """Return whether an annotation is of any number of values of one type."""
    arguments = get_args(kind)
    return get_origin(kind) is Sequence or (get_origin(kind) is tuple and len(arguments) == 2 and arguments[1] is ...)


def _in_words(kind: Any) -> str:
    return "a list" if _is_many(kind) else _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
