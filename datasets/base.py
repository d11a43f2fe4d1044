"""Photographs with an XML file each: what the readers of VOC, ILSVRC DET and plain folders have in common."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.interface import Problems
from inception_rcnn.datasets.voc_xml import AnnotatedObject, Annotation
from inception_rcnn.structures import DataFormatError, GroundTruth, load_image
from inception_rcnn.structures.ground_truth import GroundTruthTable

PICTURES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".avif"),
    *(".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)
"""How the names of photographs end, in lower case."""


class AnnotatedPhotographs:
    """Positions -> (image, objects). A reader of one format adds the photographs and settles the classes.

    Boxes of all photographs lie in flat arrays: half a million photographs take some 200 MB, most of it their names.

    Args:
        root: The data set's folder.
        split: Which part of it.
        skip_broken: Leave out what is broken and count it in `skipped`.

    Attributes:
        class_names: What labels are positions in.
        image_ids: In order.
        problems: What was left out and why, one line for each.
    """

    def __init__(self, root: Path, split: str | None, *, skip_broken: bool) -> None:
        self.root = root
        self.split = split
        self.class_names: tuple[str, ...] = ()
        self.image_ids: list[str] = []
        self._broken = Problems(skip=skip_broken)
        self._paths: list[str] = []
        self._truth_paths: list[str | None] = []
        self._sizes = array("q")  # width and height of each photograph, 0 if unknown
        self._ends = array("q", [0])  # objects of photograph i: _ends[i] to _ends[i + 1]
        self._boxes = array("d")
        self._labels = array("q")  # positions in _names until the classes are settled
        self._ignore = array("b")
        self._names: dict[str, int] = {}

    @property
    def display_names(self) -> tuple[str, ...]:
        """What people call the classes."""
        return self.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """By which files of detections name the classes: 1, 2, 3 ..."""
        return tuple(range(1, len(self.class_names) + 1))

    @property
    def problems(self) -> list[str]:
        """What was left out and why, one line for each."""
        return self._broken.lines

    @property
    def skipped(self) -> int:
        """How many photographs and objects were left out; objects of a left-out photograph are not counted."""
        return len(self.problems)

    @property
    def has_truth(self) -> bool:
        """Whether any photograph has an annotation; without, "no objects" only means that nobody looked."""
        return any(path is not None for path in self._truth_paths)

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.image_ids)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], GroundTruth]:
        """Return photograph `i` as uint8 RGB (H, W, 3), and its objects.

        Raises:
            IndexError: There is no such photograph.
            ImageError: The photograph is damaged.
            DataFormatError: The photograph has another size than its annotation says, so its boxes cannot be right.
        """
        return self.load_image(i), self.ground_truth(i)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], GroundTruth]]:
        """Return an iterator over photographs and objects, one photograph in memory at a time."""
        return (self[i] for i in range(len(self)))

    def path(self, i: int) -> Path:
        """Return where photograph `i` is."""
        return Path(self._paths[i])

    def load_image(self, i: int) -> NDArray[np.uint8]:
        """Return photograph `i` as uint8 RGB (H, W, 3), upright. Raises what ``dataset[i]`` raises."""
        image = load_image(self.path(i))
        width, height = self._size(i)
        truth = self._truth_paths[i]
        if truth is not None and None not in (width, height) and image.shape[:2] != (height, width):
            raise DataFormatError(
                f"{self._paths[i]} is {image.shape[1]} x {image.shape[0]} pixels, but width and height say "
                f"{width} x {height}; the boxes would be wrong: use the original photographs",
                path=truth,
                place="size",
            )
        return image

    def ground_truth(self, i: int) -> GroundTruth:
        """Return the objects of photograph `i` in the order of its annotation; the photograph is not opened."""
        i = range(len(self))[i]
        rows = slice(self._ends[i], self._ends[i + 1])
        width, height = self._size(i)
        return GroundTruth(
            boxes=np.array(self._boxes[4 * rows.start : 4 * rows.stop], np.float32).reshape(-1, 4),
            labels=np.array(self._labels[rows], np.int64),
            class_names=self.class_names,
            ignore=np.array(self._ignore[rows], np.bool_),
            image_id=self.image_ids[i],
            width=width,
            height=height,
        )

    def ground_truths(self) -> GroundTruthTable:
        """Return the objects of all photographs in one table, in the same order; no photograph is opened."""
        sizes = [(self._sizes[k] or None, self._sizes[k + 1] or None) for k in range(0, len(self._sizes), 2)]
        return GroundTruthTable(
            class_names=self.class_names,
            image_ids=tuple(self._table_ids()),
            image=np.repeat(np.arange(len(self)), np.diff(np.array(self._ends))),
            label=np.array(self._labels, np.int64),
            box=np.array(self._boxes).reshape(-1, 4),
            ignore=np.array(self._ignore, np.bool_),
            image_names=tuple(self.image_ids),
            sizes=tuple(sizes),
            display_names=self.display_names,
        )

    def _table_ids(self) -> Sequence[int | str]:
        """Return what files of detections call the photographs."""
        return self.image_ids

    def _add(
        self, image_id: str, path: str | os.PathLike[str], truth: Annotation | None, objects: Sequence[AnnotatedObject]
    ) -> None:
        """Append a photograph; without `truth` it has no annotation."""
        self.image_ids.append(image_id)
        self._paths.append(os.fspath(path))
        self._truth_paths.append(None if truth is None else os.fspath(truth.path))
        self._sizes.extend((0, 0) if truth is None else (truth.width or 0, truth.height or 0))
        for one in objects:
            self._boxes.extend(one.box)
            self._labels.append(self._names.setdefault(one.name, len(self._names)))
            self._ignore.append(one.difficult)
        self._ends.append(len(self._labels))

    def _settle_classes(self, class_names: Sequence[str]) -> None:
        """Turn names into labels; every name found must be among the class names."""
        self.class_names = tuple(class_names)
        place = {name: label for label, name in enumerate(class_names)}
        labels = [place[name] for name in self._names]
        self._labels = array("q", (labels[label] for label in self._labels))

    def _size(self, i: int) -> tuple[int | None, int | None]:
        i = range(len(self))[i]
        return self._sizes[2 * i] or None, self._sizes[2 * i + 1] or None


class FolderListing:
    """Which files there are; each folder is read once, however many files are asked for."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def pictures(self, path: str | os.PathLike[str]) -> list[str]:
        """Return the photographs that `path`, a name without its ending, may mean, in alphabetical order."""
        folder, stem = os.path.split(path)
        endings = self._read(folder).get(stem, [])
        return [os.path.join(folder, stem + ending) for ending in endings if ending.lower() in PICTURES]

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
