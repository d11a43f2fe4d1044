"""Everything this package raises on purpose.

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
