"""One tolerant finder of files: the exact name first, then the one other that people would read as the same.

Names differ in the case of letters and endings, in how accents are composed (NFC, NFD), in backslashes, in folders that
were moved, and in paths of another computer. What is found lies in the data set's folder, and is the only one.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final
from urllib.parse import unquote

from inception_rcnn.structures.images import IMAGE_ENDINGS

_SPLITS: Final = frozenset(("train", "training", "val", "valid", "validation", "test", "testing", "dev", "trainval"))


def folded(name: str) -> str:
    r"""Return what is the same for names that people take for the same.

    >>> folded("Caf\u0065\u0301.JPG") == folded("caf\u00e9.jpg")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def path_parts(name: str) -> tuple[str, ...]:
    r"""Return the parts of a path that another computer may have written, as far as they can lie in a folder here.

    >>> path_parts("images\\cat.jpg"), path_parts("../../upload/1/cat.jpg"), path_parts("C:\\me\\cat.jpg")
    (('images', 'cat.jpg'), ('upload', '1', 'cat.jpg'), ('me', 'cat.jpg'))
    """
    parts = re.sub(r"^[A-Za-z]:(?=/)", "", name.replace("\\", "/")).split("/")
    last = max((place for place, part in enumerate(parts) if part == ".."), default=-1)
    return tuple(part for part in parts[last + 1 :] if part not in ("", "."))


def is_split_name(name: str) -> bool:
    """Return whether a folder is called as parts of data sets are.

    >>> is_split_name("Train2017"), is_split_name("valid"), is_split_name("2026-01-01")
    (True, True, False)
    """
    return folded(name).rstrip("0123456789_-") in _SPLITS


def image_ending(name: str) -> str:
    """Return the ending of an image file's name, as it is written; empty if it is none.

    >>> image_ending("cat.JPG"), image_ending("v1.2")
    ('.JPG', '')
    """
    ending = os.path.splitext(name)[1]
    return ending if ending.lower() in IMAGE_ENDINGS else ""


class Finder:
    """Which files there are below a folder; each folder is read once, however many files are asked for."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, bool]] = {}  # folder -> name -> whether it is a folder
        self._folded: dict[str, dict[str, list[str]]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._below: dict[tuple[str, frozenset[str]], dict[str, list[str]]] = {}

    def entries(self, folder: str | os.PathLike[str]) -> dict[str, bool]:
        """Return what is in a folder, in alphabetical order, and whether it is a folder; nothing if there is none.

        Pipes and devices, which whoever reads them would wait for, are left out; links to nothing are not.
        """
        key = os.fspath(folder) or "."
        if key not in self._folders:
            try:
                with os.scandir(key) as found:
                    kept = [one for one in found if one.is_file() or one.is_dir() or not os.path.exists(one.path)]
                self._folders[key] = {one.name: one.is_dir() for one in sorted(kept, key=lambda one: one.name)}
            except (OSError, ValueError):  # ValueError: a name from a file may hold a zero byte
                self._folders[key] = {}
        return self._folders[key]

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Return whether there is a file of exactly that name."""
        folder, name = os.path.split(path)
        return self.entries(folder).get(name) is False

    def images(self, path: str | os.PathLike[str]) -> list[str]:
        """Return the image files that `path`, a name without its ending, may mean, in alphabetical order."""
        return [one for one in self._of_stem(path) if image_ending(one)]

    def child(self, folder: str | os.PathLike[str], name: str) -> str | None:
        """Return the name of an entry of a folder: the exact one, or the only one that reads the same."""
        entries = self.entries(folder)
        if name in entries:
            return name
        same = self._same(folder).get(folded(name), [])
        return same[0] if len(same) == 1 else None

    def follow(self, folder: str | os.PathLike[str], parts: Sequence[str]) -> str | None:
        """Return the path that parts of a name lead to from a folder, each as `child` finds it."""
        path = os.fspath(folder)
        for part in parts:
            found = self.child(path, part)
            if found is None:
                return None
            path = os.path.join(path, found)
        return path

    def file(self, folders: Sequence[str | os.PathLike[str]], name: str, *, splits: Iterable[str] = ()) -> list[str]:
        """Return the file that a name with its ending means; several where it is not clear which one.

        Args:
            folders: Where it may lie, the likeliest first.
            name: As a data set's file has it, folders included.
            splits: Sub-folders that are not searched: files there belong to another part of the data set.
        """
        whole = path_parts(name)
        for parts in _tails(whole):
            for folder in folders:
                found = self.follow(folder, parts)
                if found is not None and self.holds(found):
                    return [found]
        return self.below(folders, whole, splits=splits)

    def below(
        self, folders: Sequence[str | os.PathLike[str]], parts: Sequence[str], *, splits: Iterable[str] = ()
    ) -> list[str]:
        """Return the files anywhere below folders whose names end as `parts` do; those that agree in most of them."""
        if not parts:
            return []
        wanted = [folded(part) for part in parts]
        best: list[str] = []
        most = 0
        for folder in folders:
            for path in self._index(folder, frozenset(map(folded, splits))).get(wanted[-1], []):
                own = [folded(part) for part in path.split(os.sep)]
                common = next(
                    (k for k, (a, b) in enumerate(zip(reversed(own), reversed(wanted), strict=False)) if a != b),
                    min(len(own), len(wanted)),
                )
                if common > most:
                    best, most = [], common
                if common == most and path not in best:
                    best.append(path)
        return best

    def walk(self, folder: str | os.PathLike[str], *, splits: Iterable[str] = ()) -> Iterator[str]:
        """Yield all files below a folder, those of each folder in alphabetical order; hidden ones are left out.

        Links to folders elsewhere are followed, each such folder once; links to folders that are gone through anyway,
        or around these, are not.
        """
        yield from self._walk(os.fspath(folder), set(map(folded, splits)), [os.path.realpath(folder)])

    def _walk(self, folder: str, passed: set[str], known: list[str]) -> Iterator[str]:
        """Yield all files below a folder; the folders gone through so far are below those that are `known`."""
        for name, is_folder in self.entries(folder).items():
            if name.startswith("."):
                continue
            path = os.path.join(folder, name)
            if not is_folder:
                yield path
            elif folded(name) not in passed:
                if os.path.islink(path):
                    real = os.path.realpath(path)
                    if any(os.path.commonpath((real, one)) in (real, one) for one in known):
                        continue
                    known.append(real)
                yield from self._walk(path, passed, known)

    def close_to(self, folders: Sequence[str | os.PathLike[str]], name: str) -> str:
        """Return '; did you mean ...?' for a file's or folder's name that is not there, or nothing."""
        names = dict.fromkeys(entry for folder in folders for entry in self.entries(folder) if entry[0] != ".")
        return did_you_mean((path_parts(name) or ("",))[-1], list(names))

    def _same(self, folder: str | os.PathLike[str]) -> dict[str, list[str]]:
        key = os.fspath(folder) or "."
        if key not in self._folded:
            same: dict[str, list[str]] = {}
            for name in self.entries(key):
                same.setdefault(folded(name), []).append(name)
            self._folded[key] = same
        return self._folded[key]

    def _of_stem(self, path: str | os.PathLike[str]) -> list[str]:
        """Return the files of a name without ending: of the exact one, or of the one that reads the same."""
        folder, stem = os.path.split(path)
        if folder not in self._stems:
            stems: dict[str, list[str]] = {}
            for name, is_folder in self.entries(folder).items():
                if not is_folder:
                    stems.setdefault(os.path.splitext(name)[0], []).append(name)
            self._stems[folder] = stems
        names = self._stems[folder].get(stem)
        return [os.path.join(folder, name) for name in names or []]

    def _index(self, folder: str | os.PathLike[str], splits: frozenset[str]) -> dict[str, list[str]]:
        """Return the files below a folder by their folded names."""
        key = (os.fspath(folder), splits)
        if key not in self._below:
            index: dict[str, list[str]] = {}
            for path in self.walk(folder, splits=splits):
                index.setdefault(folded(os.path.basename(path)), []).append(path)
            self._below[key] = index
        return self._below[key]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return "; did you mean 'valid'?" where a known name is like one that is not known, or nothing.

    >>> did_you_mean("val", ["train", "valid"])
    "; did you mean 'valid'?"
    """
    by_fold = {folded(one): one for one in known}
    near = get_close_matches(folded(name), list(by_fold), n=1, cutoff=0.7)
    near = near or [one for one in by_fold if len(name) > 1 and (one.startswith(folded(name)))][:1]
    return f"; did you mean {by_fold[near[0]]!r}?" if near else ""


def _tails(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the parts, then without the first, and so on; and once more with what "%20" stands for."""
    for one in dict.fromkeys((parts, tuple(part for name in parts for part in path_parts(unquote(name))))):
        yield from (one[k:] for k in range(len(one)))
