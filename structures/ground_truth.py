"""What is really there: the annotated objects of one image, and of many as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.boxes import as_boxes, sized_boxes
from inception_rcnn.structures.columns import (
    Columns,
    Corners,
    Rows,
    column,
    corner_tuples,
    corners,
    first_rows,
    joined,
    named,
    positions,
    repeated_positions,
    whole_numbers,
)
from inception_rcnn.structures.errors import InputError


def _no_flags() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True)
class AnnotatedObject:
    """One object that is really there.

    Attributes:
        label: Position of its class among the names of all classes.
        class_name: What the class is called.
        box: x1 y1 x2 y2 in pixels of the original image, x2 and y2 exclusive.
        ignore: Whether it neither rewards nor punishes.
        area: In square pixels, as annotated; None where the format has none.
    """

    label: int
    class_name: str
    box: Corners
    ignore: bool = False
    area: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class GroundTruth(Columns[AnnotatedObject]):
    """The objects of one image, in the order of the annotation file: a sequence of `AnnotatedObject`, and its columns.

    `truth[0]` is the first one. A slice, a boolean mask or positions give `GroundTruth` again, in the order asked for.
    Those of equal content are equal.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the original image, x2 and y2 exclusive.
        labels: (N,) int64 positions in `class_names`.
        class_names: The names of all classes of the data set.
        ignore: (N,) bool, objects that neither reward nor punish (COCO's crowds, VOC's difficult ones); left out, none.
        areas: (N,) float32 in square pixels, the `area` of COCO's annotations, or None where the format has none.
        image_id: What the data set calls the image.
        width: Width of the image in pixels, None if unknown.
        height: Height of the image in pixels, None if unknown.
        exhaustive: Whether all objects of the classes are here. If not, nothing in the image is known to be background.

    Raises:
        InputError: Lengths differ, a number is not finite, or a label has no name.

    >>> truth = GroundTruth([[0, 0, 9, 9]], [1], ("cat", "dog"), image_id="000005")
    >>> truth.names(), truth.ignore.tolist()
    (['dog'], [False])
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    ignore: NDArray[np.bool_] = field(default_factory=_no_flags)
    areas: NDArray[np.float32] | None = None
    image_id: int | str = 0
    width: int | None = None
    height: int | None = None
    exhaustive: bool = True

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes, "ground truth's boxes")
        count = len(boxes)
        names = tuple(self.class_names)
        labels = whole_numbers(self.labels, "labels", len(names), "class_names")
        ignore = np.asarray(self.ignore)
        if ignore.size == 0:
            ignore = np.zeros(count, np.bool_)
        elif ignore.dtype.kind not in "biu":
            raise InputError(f"ignore should be flags of shape ({count},), got an array of {ignore.dtype}")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", column(labels, "labels", count, np.int64))
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "ignore", column(ignore, "ignore", count, np.bool_))
        if self.areas is not None:
            object.__setattr__(self, "areas", column(self.areas, "areas", count, np.float32))

    def __len__(self) -> int:
        """Return the number of objects, ignored ones included."""
        return len(self.boxes)

    def __iter__(self) -> Iterator[AnnotatedObject]:
        """Return an iterator over the objects, ignored ones included."""
        areas = [None] * len(self) if self.areas is None else self.areas.tolist()
        columns = (self.labels.tolist(), self.names(), corner_tuples(self.boxes), self.ignore.tolist(), areas)
        return (AnnotatedObject(*values) for values in zip(*columns, strict=True))

    def __repr__(self) -> str:
        """Return how many there are, in which image, and the first by name."""
        texts = [one.class_name + (" (ignored)" if one.ignore else "") for one in first_rows(self)]
        where = f"{len(self)} of {len(self.class_names)} classes in image {self.image_id!r}"
        return f"GroundTruth({where}{named(texts, len(self))})"

    def _at(self, rows: Rows) -> Self:
        areas = None if self.areas is None else self.areas[rows]
        boxes, labels, ignore = self.boxes[rows], self.labels[rows], self.ignore[rows]
        return replace(self, boxes=boxes, labels=labels, ignore=ignore, areas=areas)

    def names(self) -> list[str]:
        """Return the class name of each object."""
        return [self.class_names[label] for label in self.labels.tolist()]


ImageSize = tuple[int | None, int | None]
"""Width and height of an image in pixels, None where unknown."""


@dataclass(frozen=True)
class GroundTruthRow:
    """One row of a `GroundTruthTable`.

    Attributes:
        image_id: What files of detections call its image.
        image: Position of the image.
        label: Position of its class.
        class_name: What the class is called.
        box: x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
        ignore: Whether it neither rewards nor punishes.
        area: In square pixels, as annotated; None where the format has none.
    """

    image_id: int | str
    image: int
    label: int
    class_name: str
    box: Corners
    ignore: bool
    area: float | None


@dataclass(frozen=True, eq=False, repr=False)
class GroundTruthTable(Columns[GroundTruthRow]):
    """The objects of many images, a row each, in the order of their annotation files; and what is known of the images.

    `table[0]` is a `GroundTruthRow`; a slice, a boolean mask or positions give those rows, in the order asked for, and
    all images.

    Args:
        class_names: The names of all classes, each once.
        image_ids: What files of detections call the images, each once: `image` holds positions in it.
        image: (N,) positions in `image_ids`.
        label: (N,) positions in `class_names`.
        box: (N, 4) float64, x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
        ignore: (N,) bool, COCO's crowds and VOC's difficult objects; None for none.
        area: (N,) float64, the `area` of COCO's annotations; None where the format has none.
        image_names: What leads to the photographs, a text for each image; left out, the ids.
        sizes: Width and height of each image in pixels, None where unknown; left out, all unknown.
        category_ids: By which files of detections name the classes, such as COCO's; left out, 1, 2, 3 ...
        display_names: What people call the classes, where the class names are codes; left out, the class names.

    Raises:
        InputError: Lengths differ, a number is not finite, a position has no name, or a name is there twice.
    """

    class_names: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    image: NDArray[np.int32]
    label: NDArray[np.int32]
    box: NDArray[np.float64]
    ignore: NDArray[np.bool_] | None = None
    area: NDArray[np.float64] | None = None
    image_names: tuple[str, ...] = ()
    sizes: tuple[ImageSize, ...] = ()
    category_ids: tuple[int, ...] = ()
    display_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names, ids = tuple(self.class_names), tuple(self.image_ids)
        if len(set(names)) != len(names):
            raise InputError("class_names should differ from each other; average precision is given by name")
        if len(set(ids)) != len(ids):
            raise InputError("image_ids should differ from each other")
        box = corners(self.box, "objects' box")
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "image_ids", ids)
        object.__setattr__(self, "image", positions(self.image, "image", len(box), len(ids)))
        object.__setattr__(self, "label", positions(self.label, "label", len(box), len(names)))
        object.__setattr__(self, "box", box)
        flags = np.zeros(len(box), np.bool_) if self.ignore is None else self.ignore
        object.__setattr__(self, "ignore", column(flags, "ignore", len(box), np.bool_))
        if self.area is not None:
            object.__setattr__(self, "area", column(self.area, "area", len(box), np.float64))
        self._complete("image_names", tuple(str(image_id) for image_id in ids))
        self._complete("sizes", ((None, None),) * len(ids))
        self._complete("category_ids", tuple(range(1, len(names) + 1)))
        self._complete("display_names", names)

    def _complete(self, field_name: str, default: tuple[object, ...]) -> None:
        """Put the default in the place of an empty tuple, and refuse one of another length."""
        given = tuple(getattr(self, field_name)) or default
        if len(given) != len(default):
            raise InputError(f"{field_name} should have {len(default)} entries, got {len(given)}")
        object.__setattr__(self, field_name, given)

    def __len__(self) -> int:
        """Return the number of objects, ignored ones included."""
        return len(self.box)

    def __iter__(self) -> Iterator[GroundTruthRow]:
        """Return an iterator over the objects, ignored ones included."""
        images, labels = self.image.tolist(), self.label.tolist()
        areas = [None] * len(self) if self.area is None else self.area.tolist()
        columns = (images, labels, corner_tuples(self.box), self.ignored.tolist(), areas)
        for image, label, box, ignore, area in zip(*columns, strict=True):
            yield GroundTruthRow(self.image_ids[image], image, label, self.class_names[label], box, ignore, area)

    def __repr__(self) -> str:
        """Return how many objects there are, of how many images and classes."""
        images, classes = len(self.image_ids), len(self.class_names)
        return f"GroundTruthTable({len(self)} objects of {classes} classes in {images} images)"

    def _at(self, rows: Rows) -> Self:
        area = None if self.area is None else self.area[rows]
        image, label, box, ignore = self.image[rows], self.label[rows], self.box[rows], self.ignored[rows]
        return replace(self, image=image, label=label, box=box, ignore=ignore, area=area)

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """The flags `ignore`, which are always there after construction."""
        return np.zeros(len(self), np.bool_) if self.ignore is None else self.ignore

    def object_areas(self) -> NDArray[np.float64]:
        """Return the areas (N,) in square pixels: those of the annotations where there are any, else of the boxes."""
        if self.area is not None:
            return self.area
        sized = sized_boxes(self.box)
        return sized[:, 2] * sized[:, 3]

    def of_images(self, chosen: Sequence[int]) -> GroundTruthTable:
        """Return the images at some positions, each at most once, with their objects, in that order."""
        place = np.full(len(self.image_ids), -1)
        place[list(chosen)] = np.arange(len(chosen))
        found = np.flatnonzero(place[self.image] >= 0)
        found = found[np.argsort(place[self.image[found]], kind="stable")]
        return replace(
            self,
            image_ids=tuple(self.image_ids[position] for position in chosen),
            image_names=tuple(self.image_names[position] for position in chosen),
            sizes=tuple(self.sizes[position] for position in chosen),
            image=place[self.image[found]],
            label=self.label[found],
            box=self.box[found],
            ignore=self.ignored[found],
            area=None if self.area is None else self.area[found],
        )

    @classmethod
    def from_ground_truths(cls, ground_truths: Sequence[GroundTruth]) -> GroundTruthTable:
        """Return the table of one `GroundTruth` for each image.

        The images' own ids are kept if they differ from each other; else the positions 1, 2, 3 ... serve.

        Raises:
            InputError: The class names differ between images.
        """
        names = ground_truths[0].class_names if ground_truths else ()
        for position, truth in enumerate(ground_truths):
            if truth.class_names != names:
                raise InputError(f"ground_truths[{position}] has other class_names than ground_truths[0]")
        ids = [truth.image_id for truth in ground_truths]
        return cls(
            class_names=names,
            image_ids=tuple(ids) if len(set(ids)) == len(ids) else tuple(range(1, len(ids) + 1)),
            image=repeated_positions(ground_truths),
            label=joined([truth.labels for truth in ground_truths], np.int32),
            box=joined([truth.boxes for truth in ground_truths], np.float64, (0, 4)),
            ignore=joined([truth.ignore for truth in ground_truths], np.bool_),
            area=_given_areas(ground_truths),
            image_names=tuple(str(image_id) for image_id in ids),
            sizes=tuple((truth.width, truth.height) for truth in ground_truths),
        )


def _given_areas(ground_truths: Sequence[GroundTruth]) -> NDArray[np.float64] | None:
    """Return the areas given with the objects; where some images have none, the areas of their boxes."""
    if all(truth.areas is None for truth in ground_truths):
        return None
    areas = []
    for truth in ground_truths:
        box = truth.boxes.astype(np.float64)
        of_boxes = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        areas.append(of_boxes if truth.areas is None else truth.areas.astype(np.float64))
    return joined(areas, np.float64)
