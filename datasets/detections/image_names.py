"""Which image of a ground truth a file of detections means by a path or a file's name."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from inception_rcnn.structures import GroundTruthTable, InputError
from inception_rcnn.structures.images import IMAGE_ENDINGS

_SEVERAL = -2


class ImageNames:
    """The images of a ground truth, found by what leads to their files, in part or with more before it.

    "photographs/val/cat.jpg" means the image "val/cat", or "cat" where no other image ends so; an ending of image files
    does not count, on either side.

    Args:
        truth: The images, with their names and ids.
    """

    def __init__(self, truth: GroundTruthTable) -> None:
        self._truth = truth
        self._levels: list[dict[str, int]] = []
        exact, ids = list(truth.image_names), list(map(str, truth.image_ids))
        stems = [without_ending(name) for name in exact]
        for names in (exact, ids, stems, [_last(name) for name in stems]):
            level: dict[str, int] = {}
            for position, name in enumerate(names):
                level[name] = _SEVERAL if name in level and level[name] != position else position
            self._levels.append(level)

    def position(self, path: str) -> int:
        """Return which image a path means, -1 if it is none.

        Raises:
            InputError: Several images are called so.
        """
        parts = path.replace("\\", "/").split("/")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for name in dict.fromkeys((tail, without_ending(tail))):
                for level in self._levels:
                    if (found := level.get(name, -1)) >= 0:
                        return found
                    if found == _SEVERAL:
                        raise InputError(self._several(name))
        return -1

    def _several(self, name: str) -> str:
        called = [
            other for other in self._truth.image_names if without_ending(other) == name or _last(other) == _last(name)
        ]
        return f"{name!r} may be any of several images ({', '.join(called[:3])}); name it with its folder"


def without_ending(name: str) -> str:
    """Return the name of an image file without its ending; others as they are.

    >>> without_ending("day1/cat.JPG"), without_ending("v1.2")
    ('day1/cat', 'v1.2')
    """
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in IMAGE_ENDINGS else name


def entry_stem(entry: Mapping[str, Any]) -> str:
    """Return what files that belong to an image are called, as `detect --json` has it; a page or frame has its number.

    >>> entry_stem({"image": "day1/cat.jpg"}), entry_stem({"image": "clip.mp4#6", "frame": 6})
    ('cat', 'clip-000006')
    """
    stem = PurePath(entry["image"]).stem
    if "frame" in entry:
        return f"{stem}-{entry['frame']:06}"
    return f"{stem}-page{entry['page']}" if "page" in entry else stem


def told_apart(stems: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Return names of which each is there once: the second of equal ones gets -2, or the next number that is free.

    Args:
        stems: The names.
        taken: What none may be called.

    >>> told_apart(["a", "a", "a-2"])
    ['a', 'a-3', 'a-2']
    """
    found, used, wanted = [], set(taken), {*stems, *taken}
    for stem in stems:
        name, number = stem, 2
        while name in used or (name != stem and name in wanted):
            name, number = f"{stem}-{number}", number + 1
        used.add(name)
        found.append(name)
    return found


def plain_id(value: object) -> object:
    """Return an id as results files may spell it: 7, 7.0 and "7" are one, "07" is another.

    >>> plain_id("7"), plain_id(7.0), plain_id("07"), plain_id("cat")
    (7, 7, '07', 'cat')
    """
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and str(int(value)) == value else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def ids_in_words(ids: Sequence[int | str]) -> str:
    """Return of what kind ids are, with one of them, for an error.

    >>> ids_in_words([7, 8]), ids_in_words(["a"]), ids_in_words([])
    ('whole numbers, such as 7', "texts, such as 'a'", 'none')
    """
    if not ids:
        return "none"
    kind = "whole numbers" if all(isinstance(one, int) for one in ids) else "texts"
    return f"{kind}, such as {ids[0]!r:.60}"


def _last(name: str) -> str:
    return name.rpartition("/")[2]
