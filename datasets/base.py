"""What the readers of data sets share: images with objects in flat arrays, what was left out, the files of a folder."""

from __future__ import annotations

import os
import warnings
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.reading.box_rules import AnnotatedObject, BoxRules
from inception_rcnn.datasets.reading.finding import folded
from inception_rcnn.datasets.reading.headers import Box, Turns, read_header, upright_box
from inception_rcnn.datasets.reading.texts import number_of
from inception_rcnn.structures import DataFormatError, GroundTruth, InputError, load_image
from inception_rcnn.structures.columns import shown_name
from inception_rcnn.structures.dataset import dataset_name
from inception_rcnn.structures.drawing import is_own_picture
from inception_rcnn.structures.ground_truth import GroundTruthTable, ImageSize

_NAMED: Final = 10  # classes in a line
_HINT: Final = " (--skip-broken or skip_broken=True leaves it out)"


class ReadingOptions(TypedDict, total=False):
    """How a data set is read; what is left out is as in the comments.

    Args:
        skip_broken: Leave out what is broken and count it in `skipped`, instead of stopping at the first. False.
        strict: Refuse boxes that leave their photographs, instead of clipping them. False.
        origin: What the annotations call the first pixel, 0 or 1. None: as the format has it.
        exif: Whether annotations were drawn on photographs as they are "stored" or as their EXIF data turn them,
            "upright". None: as their width and height tell; where these cannot, upright.
    """

    skip_broken: bool
    strict: bool
    origin: int | None
    exif: str | None


class AnnotatedDataset:
    """A `DetectionDataset` of annotated images; a reader of one format adds the images and then names the classes.

    Boxes of all images lie in flat arrays: half a million images take some 200 MB, most of it their names.

    Args:
        root: The data set's folder.
        split: Which part of it.
        format: What its format is called.
        box_words: What the format calls the four numbers of a box.
        first_pixel: What it calls the first column and row.
        has_areas: It has an area for each object.
        shares: Its numbers are shares of the photograph, not pixels.
        options: See `ReadingOptions`.

    Attributes:
        format: What the data set's format is called.
        splits: The names of all its parts, where it has such.
        notes: What is odd and was read all the same, one line for each kind; also a warning.
        class_names: The names that labels are positions in.
        display_names: What people call the classes.
        category_ids: By which files of detections name the classes: COCO's own ids, elsewhere 1, 2, 3 ...
        image_ids: What the data set calls its images, in order.
    """

    def __init__(
        self,
        root: Path,
        split: str | None,
        *,
        format: str,
        box_words: str,
        first_pixel: int = 0,
        has_areas: bool = False,
        shares: bool = False,
        **options: Unpack[ReadingOptions],
    ) -> None:
        origin, self._exif = options.get("origin"), options.get("exif")
        _check_options(origin, self._exif)
        self.root = root
        self.split = split
        self.format = format
        self.splits: tuple[str, ...] = ()
        self.class_names: tuple[str, ...] = ()
        self.display_names: tuple[str, ...] = ()
        self.category_ids: tuple[int, ...] = ()
        self.image_ids: tuple[int | str, ...] = ()
        self.notes: list[str] = []
        self._broken = Problems(skip=options.get("skip_broken", False))
        self._has_areas = has_areas
        counted_from = first_pixel if origin is None else origin
        strict = options.get("strict", False)
        self._rules = BoxRules(box_words, counted_from, given=origin is not None, strict=strict, shares=shares)
        self._turns = Turns(self._exif)
        self._repeated, self._first_again = 0, ""
        self._guessed: list[str] = []  # files whose encoding was
        self._drawn: list[str] = []
        self._ids: list[int | str] = []
        self._paths: list[str] = []
        self._truth_paths: list[str | None] = []
        self._sizes = array("q")  # width and height of each image, 0 if unknown
        self._ends = array("q", [0])  # objects of image i: _ends[i] to _ends[i + 1]
        self._boxes = array("d")
        self._labels = array("q")  # positions in _names until the classes are known
        self._ignore = array("b")
        self._areas = array("d")
        self._names: dict[str, int] = {}

    def __repr__(self) -> str:
        """Return what was understood, in a line."""
        return f"<{type(self).__name__} {self.summary}>"

    @property
    def summary(self) -> str:
        """What was understood, in a line: format, part, photographs, objects, classes, the other parts."""
        counts = np.bincount(np.array(self._labels, np.int64), minlength=len(self.class_names))
        named = ", ".join(map(shown_name, self.display_names[:_NAMED]))
        named += ", ..." if len(self.display_names) > _NAMED else ""
        count = len(self.class_names)
        text = f"{dataset_name(self)} ({self.format}): {number_of(len(self), 'photograph')}, "
        text += f"{number_of(len(self._labels), 'object')} of {number_of(count, 'class')}" + (
            f" ({named})" if named else ""
        )
        bare = [name for name, found in zip(self.display_names, counts, strict=True) if not found]
        if bare and len(bare) < count:
            text += (
                f"; no objects: {', '.join(map(shown_name, bare))}"
                if len(bare) <= _NAMED
                else f"; {len(bare)} without objects"
            )
        empty = int((np.diff(np.array(self._ends)) == 0).sum())
        text += f"; {number_of(empty, 'photograph')} without objects" if empty and len(self._labels) else ""
        return text + (f"; parts: {', '.join(self.splits)}" if len(self.splits) > 1 else "")

    @property
    def problems(self) -> list[str]:
        """What was left out and why, one line for each."""
        return self._broken.lines

    @property
    def skipped(self) -> int:
        """How many images and objects were left out; objects of a left-out image are not counted."""
        return len(self.problems)

    @property
    def has_truth(self) -> bool:
        """Whether any image has an annotation; without, "no objects" only means that nobody looked."""
        return any(path is not None for path in self._truth_paths)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._ids)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], GroundTruth]:
        """Return image `i` as uint8 RGB (H, W, 3), and its objects.

        Raises:
            IndexError: There is no such image.
            ImageError: The image is damaged.
            DataFormatError: The image has another size than its annotation says, so its boxes cannot be right.
        """
        return self.load_image(i), self.ground_truth(i)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], GroundTruth]]:
        """Return an iterator over images and objects, one image in memory at a time."""
        return (self[i] for i in range(len(self)))

    def path(self, i: int) -> Path:
        """Return where image `i` is."""
        return Path(self._paths[i])

    def load_image(self, i: int) -> NDArray[np.uint8]:
        """Return image `i` as uint8 RGB (H, W, 3), upright.

        Raises:
            IndexError, ImageError, DataFormatError: As ``dataset[i]`` does.
        """
        image = load_image(self.path(i))
        width, height = self._size(i)
        truth = self._truth_paths[i]
        if truth is not None and None not in (width, height) and image.shape[:2] != (height, width):
            raise DataFormatError(
                f"{self._paths[i]} is {image.shape[1]} x {image.shape[0]} pixels, but width and height say "
                f"{width} x {height}; the boxes would be wrong: use the original photographs",
                path=truth,
                place=self._place_of_size(i),
            )
        return image

    def ground_truth(self, i: int) -> GroundTruth:
        """Return the objects of image `i` in the order of its annotation; the image is not opened."""
        i = range(len(self))[i]
        rows = slice(self._ends[i], self._ends[i + 1])
        width, height = self._size(i)
        return GroundTruth(
            boxes=np.array(self._boxes[4 * rows.start : 4 * rows.stop], np.float32).reshape(-1, 4),
            labels=np.array(self._labels[rows], np.int64),
            class_names=self.class_names,
            ignore=np.array(self._ignore[rows], np.bool_),
            areas=np.array(self._areas[rows], np.float32) if self._has_areas else None,
            image_id=self.image_ids[i],
            width=width,
            height=height,
            exhaustive=self._is_exhaustive(self.image_ids[i]),
        )

    def _is_exhaustive(self, image_id: int | str) -> bool:
        """Return whether all objects of an image are in its annotation; a format where some lack says which."""
        return True

    def ground_truths(self) -> GroundTruthTable:
        """Return the objects of all images in one table, in the same order; no image is opened.

        Its numbers are those of the annotations, in float64, and so the figures of an evaluation are exact.
        """
        return GroundTruthTable(
            class_names=self.class_names,
            image_ids=self._table_ids(),
            image=np.repeat(np.arange(len(self)), np.diff(np.array(self._ends))),
            label=np.array(self._labels, np.int64),
            box=np.array(self._boxes).reshape(-1, 4),
            ignore=np.array(self._ignore, np.bool_),
            area=np.array(self._areas) if self._has_areas else None,
            image_names=self._image_names(),
            sizes=tuple(self._size(i) for i in range(len(self))),
            category_ids=self.category_ids,
            display_names=self.display_names,
        )

    def _table_ids(self) -> tuple[int | str, ...]:
        """Return what files of detections call the images."""
        return self.image_ids

    def _image_names(self) -> tuple[str, ...]:
        """Return what leads to the images."""
        return tuple(str(image_id) for image_id in self.image_ids)

    def _place_of_size(self, i: int) -> str:
        """Return where in its annotation the size of image `i` stands."""
        return "size"

    def _add(
        self,
        image_id: int | str,
        path: str | os.PathLike[str],
        objects: Sequence[AnnotatedObject] = (),
        truth: Path | None = None,
        size: ImageSize = (None, None),
    ) -> None:
        """Append an image; without `truth` it has no annotation. What is wrong with its boxes goes to the problems."""
        width, height = (side or None for side in size)
        header = read_header(path) if objects or (truth is not None and None in (width, height)) else None
        told = None not in (width, height)
        if header is not None and not told:
            frame = (header.width, header.height) if self._exif == "stored" else header.upright
            width, height = width or frame[0], height or frame[1]
        first = len(self._labels)
        seen: set[tuple[str, Box]] = set()
        for one in objects:
            with self._broken.skipping():
                box = self._rules.check(one, (width, height), truth or path)
                if (one.name, box) in seen:
                    self._repeated += 1
                    self._first_again = self._first_again or ", ".join(filter(None, (str(truth or path), one.place)))
                seen.add((one.name, box))
                self._boxes.extend(box)
                self._labels.append(self._names.setdefault(one.name, len(self._names)))
                self._ignore.append(one.ignore)
                if self._has_areas:
                    self._areas.append(one.area)
        rows = range(first, len(self._labels))
        if header is not None and header.orientation > 1:
            width, height = self._turns.of(header, (width, height), rows, os.fspath(path), told=told)
        self._ids.append(image_id)
        self._paths.append(os.fspath(path))
        self._truth_paths.append(None if truth is None else os.fspath(truth))
        self._sizes.extend((width or 0, height or 0))
        self._ends.append(len(self._labels))

    def _is_drawn(self, path: str) -> bool:
        """Return whether an image without annotation is a picture that a command drew; such are counted and said."""
        drawn = is_own_picture(path)
        if drawn:
            self._drawn.append(path)
        return drawn

    def _note(self, text: str) -> None:
        """Say something odd that was read all the same; once for each text."""
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(f"{dataset_name(self)}: {text}", stacklevel=5)

    def _complete(
        self,
        class_names: Sequence[str],
        display_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        """Turn names into labels, after the last image; every name found must be among the class names.

        What was odd is said, and boxes drawn on stored photographs are turned with these.
        """
        self.class_names = tuple(class_names)
        self.display_names = tuple(display_names or class_names)
        self.category_ids = tuple(category_ids or range(1, len(class_names) + 1))
        self.image_ids = tuple(self._ids)
        place = {name: label for label, name in enumerate(class_names)}
        labels = [place[name] for name in self._names]
        self._labels = array("q", (labels[label] for label in self._labels))
        for rows, header in self._turns.turned():
            for row in rows:
                x1, y1, x2, y2 = self._boxes[4 * row : 4 * row + 4]
                self._boxes[4 * row : 4 * row + 4] = array("d", upright_box((x1, y1, x2, y2), header))
        for text in [*self._rules.notes(self.root), *self._turns.notes(), *alike(self.class_names)]:
            self._note(text)
        if self._drawn:
            count = number_of(len(self._drawn), "picture")
            self._note(f"{count} that commands drew left out, the first: {self._drawn[0]}")
        if self._guessed:
            count = number_of(len(self._guessed), "file")
            self._note(f"{count} not in UTF-8, read as GB18030, which suits Chinese; the first: {self._guessed[0]}")
        if self._repeated:
            again = number_of(self._repeated, "time")
            self._note(f"an object repeats another of the same class and box {again}, the first: {self._first_again}")

    def _size(self, i: int) -> ImageSize:
        i = range(len(self))[i]
        return self._sizes[2 * i] or None, self._sizes[2 * i + 1] or None


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


def alike(names: Sequence[str]) -> list[str]:
    """Return a line for class names that differ only in case, spaces, or "_" for a space.

    >>> alike(["Cat", "cat ", "dog"])
    ["classes that differ only in case or spaces: 'Cat', 'cat '; they are different classes: make them one in the data"]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(folded(name).replace("_", " ").split()), []).append(name)
    found = "; ".join(", ".join(map(repr, group)) for group in groups.values() if len(group) > 1)
    if not found:
        return []
    return [
        f"classes that differ only in case or spaces: {found}; they are different classes: make them one in the data"
    ]


def _check_options(origin: int | None, exif: str | None) -> None:
    if origin not in (None, 0, 1):
        raise InputError(f"origin should be 0 or 1, what the annotations call the first pixel, got {origin!r}")
    if exif not in (None, "stored", "upright"):
        raise InputError(f"exif should be 'stored' or 'upright', how photographs were seen, got {exif!r}")
