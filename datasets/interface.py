"""What all data sets have in common, whatever the format of their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inception_rcnn.structures import DataFormatError, InputError

_HINT = " (--skip-broken or skip_broken=True leaves it out)"


class Problems:
    """What is broken in a data set: the first is raised, or all are noted and left out.

    Args:
        skip: Note and go on.

    Attributes:
        lines: What was left out and why, one line for each.

    >>> problems = Problems(skip=True)
    >>> with problems.skipping():
    ...     raise DataFormatError("has no area", path="7.xml", place="object 2 (dog)")
    >>> problems.lines
    ['7.xml, object 2 (dog): has no area']
    """

    def __init__(self, *, skip: bool) -> None:
        self.lines: list[str] = []
        self._skip = skip

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Leave out what the `with` statement's body fails to read, or say how to leave it out."""
        try:
            yield
        except DataFormatError as error:
            if self._skip:
                self.lines.append(str(error))
            elif error.message.endswith(_HINT):  # an object inside a file: it has been said already
                raise
            else:
                raise DataFormatError(error.message + _HINT, path=error.path, place=error.place) from error.__cause__


def existing_folder(root: str | os.PathLike[str], holds: str) -> Path:
    """Return the folder of a data set.

    Args:
        root: What the caller gave.
        holds: What should be in it, for the error.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds {holds}")
    return folder


def is_inside(name: str) -> bool:
    """Return whether a name from a data set's file stays in its folder: not empty, not absolute, no "..".

    >>> is_inside("n02086646/n02086646_7175"), is_inside("../secret"), is_inside("/etc/hosts"), is_inside("")
    (True, False, False, False)
    """
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts
