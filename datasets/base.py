"""What the readers of data sets share: images with objects in flat arrays, what was left out, the files of a folder."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, GroundTruth, InputError, load_image
from inception_rcnn.structures.ground_truth import GroundTruthTable, ImageSize
from inception_rcnn.structures.images import IMAGE_ENDINGS

_HINT: Final = " (--skip-broken or skip_broken=True leaves it out)"


class AnnotatedObject(NamedTuple):
    """One object as a reader hands it to `AnnotatedDataset` and a writer takes it.

    Args:
        name: Its class.
        box: x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
        ignore: Neither rewarded nor punished: VOC's difficult objects, COCO's crowds.
        area: In square pixels, where the format has one.
    """

    name: str
    box: tuple[float, float, float, float]
    ignore: bool = False
    area: float = float("nan")


class AnnotatedDataset:
    """A `DetectionDataset` of annotated images; a reader of one format adds the images and then names the classes.

    Boxes of all images lie in flat arrays: half a million images take some 200 MB, most of it their names.

    Args:
        root: The data set's folder.
        split: Which part of it.
        skip_broken: Leave out what is broken and count it in `skipped`.
        has_areas: The format has an area for each object.

    Attributes:
        class_names: The names that labels are positions in.
        display_names: What people call the classes.
        category_ids: By which files of detections name the classes: COCO's own ids, elsewhere 1, 2, 3 ...
        image_ids: What the data set calls its images, in order.
    """

    def __init__(self, root: Path, split: str | None, *, skip_broken: bool, has_areas: bool = False) -> None:
        self.root = root
        self.split = split
        self.class_names: tuple[str, ...] = ()
        self.display_names: tuple[str, ...] = ()
        self.category_ids: tuple[int, ...] = ()
        self.image_ids: tuple[int | str, ...] = ()
        self._broken = Problems(skip=skip_broken)
        self._has_areas = has_areas
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
        )

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
        """Append an image; without `truth` it has no annotation."""
        self._ids.append(image_id)
        self._paths.append(os.fspath(path))
        self._truth_paths.append(None if truth is None else os.fspath(truth))
        self._sizes.extend(side or 0 for side in size)
        for one in objects:
            self._boxes.extend(one.box)
            self._labels.append(self._names.setdefault(one.name, len(self._names)))
            self._ignore.append(one.ignore)
            if self._has_areas:
                self._areas.append(one.area)
        self._ends.append(len(self._labels))

    def _complete(
        self,
        class_names: Sequence[str],
        display_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        """Turn names into labels, after the last image; every name found must be among the class names."""
        self.class_names = tuple(class_names)
        self.display_names = tuple(display_names or class_names)
        self.category_ids = tuple(category_ids or range(1, len(class_names) + 1))
        self.image_ids = tuple(self._ids)
        place = {name: label for label, name in enumerate(class_names)}
        labels = [place[name] for name in self._names]
        self._labels = array("q", (labels[label] for label in self._labels))

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


class FolderListing:
    """Which files there are; each folder is read once, however many files are asked for."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def images(self, path: str | os.PathLike[str]) -> list[str]:
        """Return the image files that `path`, a name without its ending, may mean, in alphabetical order."""
        folder, stem = os.path.split(path)
        endings = self._read(folder).get(stem, [])
        return [os.path.join(folder, stem + ending) for ending in endings if ending.lower() in IMAGE_ENDINGS]

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Return whether there is something of that name."""
        folder, name = os.path.split(path)
        stem, ending = os.path.splitext(name)
        return ending in self._read(folder).get(stem, [])

    def _read(self, folder: str) -> dict[str, list[str]]:
        """Return the endings of each stem in a folder, none if it does not exist."""
        if folder not in self._folders:
            stems: dict[str, list[str]] = {}
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
                stem, ending = os.path.splitext(name)
                stems.setdefault(stem, []).append(ending)
            self._folders[folder] = stems
        return self._folders[folder]
