"""What was found in one image, and in many as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.boxes import as_boxes, sized_boxes
from inception_rcnn.structures.columns import (
    Columns,
    Corners,
    Rows,
    check_descending,
    column,
    corner_tuples,
    corners,
    descending,
    first_rows,
    joined,
    named,
    positions,
    repeated_positions,
    whole_numbers,
)
from inception_rcnn.structures.drawing import draw_detections, write_picture
from inception_rcnn.structures.errors import InputError, MissingDependencyError
from inception_rcnn.structures.images import ImageSource, load_image

if TYPE_CHECKING:
    import pandas
    import supervision

_PICTURES = (".png", ".jpg", ".jpeg")


class DetectionRecord(TypedDict):
    """One detection as plain Python values, ready for JSON."""

    label: str
    score: float
    box: list[float]


class CocoRecord(TypedDict):
    """One detection as an entry of a COCO results file; `bbox` is x, y, width, height in pixels."""

    image_id: int | str
    category_id: int
    bbox: list[float]
    score: float


@dataclass(frozen=True)
class Detection:
    """One thing that was found.

    Attributes:
        label: Position of its class among the names of all classes.
        class_name: What the class is called.
        score: How sure the detector is.
        box: x1 y1 x2 y2 in pixels of the original image, x2 and y2 exclusive.
    """

    label: int
    class_name: str
    score: float
    box: Corners


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Columns[Detection]):
    """The detections of one image, best first: a sequence of `Detection`, and its columns as arrays.

    `detections[0]` is the best one. A slice, a boolean mask or positions in any order give `Detections` again, by
    score. Those of equal content are equal.

    Args:
        boxes: (M, 4) float32, x1 y1 x2 y2 in pixels of the original image, x2 and y2 exclusive.
        scores: (M,) float32, descending; equal scores stand in the order of their boxes.
        labels: (M,) int64 positions in `class_names`.
        class_names: The names of all classes the detector knows.
        size: Width and height of the image in pixels, None if unknown.
        path: The file they were found in, None if unknown. It is no part of the content: what was found in an array is
            equal to what was found in the file that it came from.

    Raises:
        InputError: Lengths differ, a number is not finite, scores rise, a label has no name, or the size is none.

    >>> found = Detections.ordered([[0, 0, 9, 9], [5, 5, 20, 20]], [0.25, 0.75], [0, 1], ("cat", "dog", "cow"))
    >>> found
    Detections(2 of 3 classes: dog 0.75, cat 0.25)
    >>> for one in found.of("dog"):
    ...     print(one.class_name, one.score, one.box)
    dog 0.75 (5.0, 5.0, 20.0, 20.0)
    >>> found.to_records()[0]
    {'label': 'dog', 'score': 0.75, 'box': [5.0, 5.0, 20.0, 20.0]}
    """

    _by_score: ClassVar[bool] = True

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    size: tuple[int, int] | None = None
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes, "detections' boxes")
        names = tuple(self.class_names)
        labels = whole_numbers(self.labels, "labels", len(names), "class_names")
        scores = column(self.scores, "scores", len(boxes), np.float32)
        check_descending(scores, "Detections")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", column(labels, "labels", len(boxes), np.int64))
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "size", _checked_size(self.size))
        object.__setattr__(self, "path", None if self.path is None else Path(self.path))

    @classmethod
    def ordered(
        cls,
        boxes: ArrayLike,
        scores: ArrayLike,
        labels: ArrayLike,
        class_names: Sequence[str],
        size: tuple[int, int] | None = None,
    ) -> Detections:
        """Return detections sorted by score, descending; equal scores keep their order."""
        checked = as_boxes(boxes, "detections' boxes")
        values = column(scores, "scores", len(checked), np.float32)
        classes = whole_numbers(labels, "labels", len(class_names), "class_names")
        classes = column(classes, "labels", len(checked), np.int64)
        order = descending(values)
        return cls(checked[order], values[order], classes[order], tuple(class_names), size)

    @classmethod
    def empty(cls, class_names: Sequence[str], size: tuple[int, int] | None = None) -> Detections:
        """Return no detections at all."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), tuple(class_names), size
        )

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        """Return an iterator over the detections, best first."""
        columns = (self.labels.tolist(), self.names(), self.scores.tolist(), corner_tuples(self.boxes))
        return (Detection(*values) for values in zip(*columns, strict=True))

    def __repr__(self) -> str:
        """Return how many there are, and the best by name."""
        texts = [f"{one.class_name} {one.score:.2f}" for one in first_rows(self)]
        return f"Detections({len(self)} of {len(self.class_names)} classes{named(texts, len(self))})"

    def _at(self, rows: Rows) -> Self:
        return replace(self, boxes=self.boxes[rows], scores=self.scores[rows], labels=self.labels[rows])

    @property
    def xywh(self) -> NDArray[np.float32]:
        """The boxes as x, y, width, height: (M, 4) float32 in pixels, x and y of the left upper corner."""
        return sized_boxes(self.boxes.astype(np.float64)).astype(np.float32)

    def above(self, score: float) -> Detections:
        """Return the detections that score at least `score`."""
        return self[self.scores >= np.float32(score)]

    def top(self, n: int) -> Detections:
        """Return the first `n` detections, all of them if there are fewer."""
        return self[: max(n, 0)]

    def of(self, *class_names: str) -> Detections:
        """Return the detections of some classes.

        Raises:
            InputError: There is no class of a name; the text has the names most like it.
        """
        for name in class_names:
            if name not in self.class_names:
                raise InputError(_unknown_class(name, self.class_names))
        wanted = [label for label, name in enumerate(self.class_names) if name in class_names]
        return self[np.isin(self.labels, wanted)]

    def names(self) -> list[str]:
        """Return the class name of each detection."""
        return [self.class_names[label] for label in self.labels.tolist()]

    def to_records(self) -> list[DetectionRecord]:
        """Return the detections as dictionaries of plain values: label, score, box [x1, y1, x2, y2]."""
        return [{"label": one.class_name, "score": one.score, "box": list(one.box)} for one in self]

    def to_coco(self, image_id: int | str | None = None, category_ids: Sequence[int] | None = None) -> list[CocoRecord]:
        """Return the detections as entries of a COCO results file.

        Args:
            image_id: What the data set calls the image; None: the name of the file they were found in, without its
                ending, as a number if it is one (COCO's 000000000139.jpg is 139).
            category_ids: The id (C,) of each class, such as `dataset.category_ids` where the data set has the
                detector's classes in the same order; None: 1, 2, 3 ... COCO's own 80 classes have ids up to 90.

        Raises:
            InputError: There is not one category id for each class, or no image id where no file is known.
        """
        if image_id is None:
            if self.path is None:
                raise InputError("image_id should be given: these detections know no file whose name it could be")
            stem = self.path.stem
            image_id = int(stem) if stem.isascii() and stem.isdigit() else stem
        ids = tuple(range(1, len(self.class_names) + 1)) if category_ids is None else tuple(category_ids)
        if len(ids) != len(self.class_names):
            raise InputError(
                f"category_ids should have one for each of {len(self.class_names)} classes, got {len(ids)}"
            )
        sized = sized_boxes(self.boxes.astype(np.float64)).tolist()
        return [
            {"image_id": image_id, "category_id": int(ids[label]), "bbox": box, "score": score}
            for label, box, score in zip(self.labels.tolist(), sized, self.scores.tolist(), strict=True)
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the detections as a table of pandas: class_name, label, score, x1, y1, x2, y2, a row each.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        library = _library("pandas", "to_dataframe", "inception-rcnn[tables]")
        columns = {"class_name": self.names(), "label": self.labels, "score": self.scores}
        return library.DataFrame(columns | dict(zip(("x1", "y1", "x2", "y2"), self.boxes.T, strict=True)))

    def to_supervision(self) -> supervision.Detections:
        """Return the detections as supervision's: xyxy, confidence, class_id, and data["class_name"]. All are copies.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        return _library("supervision", "to_supervision", "supervision").Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.copy(),
            data={"class_name": np.array(self.names(), np.str_)},
        )

    def draw(self, image: ImageSource | None = None, *, line_width: int | None = None) -> NDArray[np.uint8]:
        """Return a copy of the image, uint8 RGB (H, W, 3), with each box and a label like "dog 0.87".

        Args:
            image: The one they were found in: whatever `load_image` reads; None: the file of `path`, read again.
            line_width: In pixels; None chooses one that suits the image.

        Raises:
            ImageError: The image cannot be read.
            InputError: It is of another size than these were found in, or neither it nor `path` is known; or the line
                width is below 1.
        """
        return draw_detections(self._own_image(image), self, line_width=line_width)

    def crops(self, image: ImageSource | None = None) -> list[NDArray[np.uint8]]:
        """Return what is in each box: an array (h, w, 3) for each detection, uint8 RGB, best first. All are copies.

        A crop has every pixel that its box touches; one of a box that leaves the image ends where the image does, and
        of a box outside it has no pixels.

        Args:
            image: As for `draw`.

        Raises:
            ImageError: The image cannot be read.
            InputError: It is of another size than these were found in, or neither it nor `path` is known.

        >>> found = Detections([[0.5, 1, 3.5, 2]], [0.75], [0], ("cat",))
        >>> [crop.shape for crop in found.crops(np.zeros((6, 6, 3), np.uint8))]
        [(1, 4, 3)]
        """
        pixels = self._own_image(image)
        last = np.array(pixels.shape[1::-1], np.float32)
        low = np.clip(np.floor(self.boxes[:, :2]), 0, last).astype(np.int64)
        high = np.clip(np.ceil(self.boxes[:, 2:]), 0, last).astype(np.int64)
        windows = np.concatenate([low, high], axis=1).tolist()
        return [pixels[y1:y2, x1:x2].copy() for x1, y1, x2, y2 in windows]

    def save(
        self, path: str | os.PathLike[str], image: ImageSource | None = None, *, line_width: int | None = None
    ) -> None:
        """Write the picture that `draw` returns, whole or not at all; its folder is made if need be.

        Args:
            path: *.png, *.jpg or *.jpeg.
            image: As for `draw`.
            line_width: As for `draw`.

        Raises:
            ImageError: The image cannot be read, or is too large for a JPEG.
            InputError: The file's name has another ending; or see `draw`.
            OSError: The file cannot be written.
        """
        file = Path(path)
        if file.suffix.lower() not in _PICTURES:
            raise InputError(f"path should end in {', '.join(_PICTURES)}, got {file.name}")
        write_picture(file, self.draw(image, line_width=line_width))

    def _own_image(self, image: ImageSource | None) -> NDArray[np.uint8]:
        """Return the pixels of an image, which has to be as large as the one these were found in."""
        source = self.path if image is None else image
        if source is None:
            raise InputError("these detections are of no file, so the image is needed: give it, such as draw(image)")
        pixels = load_image(source)
        height, width = pixels.shape[:2]
        if self.size is not None and self.size != (width, height):
            own = f"{self.size[0]} x {self.size[1]}"
            raise InputError(f"image should be the one of {own} pixels these were found in, got {width} x {height}")
        return pixels


def _checked_size(size: object) -> tuple[int, int] | None:
    """Return width and height as plain numbers; None stays None."""
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, tuple | list | np.ndarray) else ()
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and side >= 1 for side in sides):
        raise InputError(f"size should be the image's width and height in whole pixels, at least 1, got {size!r}")
    return int(sides[0]), int(sides[1])


def _unknown_class(name: object, class_names: tuple[str, ...]) -> str:
    """Return what to say of a name that no class has."""
    if not isinstance(name, str):
        return f"class names should be texts, one after the other, got {type(name).__name__}; use of(*names)"
    spelled = {known.lower(): known for known in class_names}
    near = [repr(spelled[known]) for known in get_close_matches(name.lower(), spelled)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(class_names[:5])} ..."
    return f"there is no class {name!r} among {len(class_names)}; {hint}"


def _library(name: str, method: str, requirement: str) -> Any:
    """Return an optional library.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(f"{method} needs {name} ({error}): pip install '{requirement}'") from error


@dataclass(frozen=True)
class DetectionRow:
    """One row of a `DetectionTable`.

    Attributes:
        image: Position in the list of images.
        label: Position in the class names.
        score: Any real number.
        box: x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
    """

    image: int
    label: int
    score: float
    box: Corners


@dataclass(frozen=True, eq=False, repr=False)
class DetectionTable(Columns[DetectionRow]):
    """The detections of many images, a row each; the order of the rows decides between equal scores.

    `table[0]` is a `DetectionRow`; a slice, a boolean mask or positions give those rows, in the order asked for.

    Args:
        image: (M,) positions in the list of images.
        label: (M,) positions in the class names.
        score: (M,) float64, any real numbers.
        box: (M, 4) float64, x1 y1 x2 y2 in pixels, x2 and y2 exclusive. Inverted boxes are kept as they are.

    Raises:
        InputError: Lengths differ, a number is not finite, or a position is below 0.

    >>> table = DetectionTable(image=[0, 0], label=[1, 0], score=[0.5, 0.9], box=[[0, 0, 9, 9], [1, 1, 5, 5]])
    >>> len(table[table.score > 0.6])
    1
    """

    image: NDArray[np.int32]
    label: NDArray[np.int32]
    score: NDArray[np.float64]
    box: NDArray[np.float64]

    def __post_init__(self) -> None:
        box = corners(self.box, "detections' box")
        object.__setattr__(self, "image", positions(self.image, "image", len(box)))
        object.__setattr__(self, "label", positions(self.label, "label", len(box)))
        object.__setattr__(self, "score", np.ascontiguousarray(column(self.score, "score", len(box), np.float64)))
        object.__setattr__(self, "box", box)

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.box)

    def __iter__(self) -> Iterator[DetectionRow]:
        """Return an iterator over the rows."""
        columns = (self.image.tolist(), self.label.tolist(), self.score.tolist(), corner_tuples(self.box))
        return (DetectionRow(*values) for values in zip(*columns, strict=True))

    def __repr__(self) -> str:
        """Return how many rows there are, of how many images."""
        return f"DetectionTable({len(self)} detections in {len(np.unique(self.image))} images)"

    def _at(self, rows: Rows) -> Self:
        return type(self)(self.image[rows], self.label[rows], self.score[rows], self.box[rows])

    @classmethod
    def from_detections(cls, detections: Sequence[Detections], class_names: Sequence[str]) -> DetectionTable:
        """Return the table of one `Detections` for each image, labels matched by the names of their classes.

        Raises:
            InputError: A `Detections` knows a class that is not in `class_names`.
        """
        position_of = {name: position for position, name in enumerate(class_names)}
        labels = []
        for position, found in enumerate(detections):
            if unknown := set(found.class_names) - position_of.keys():
                raise InputError(
                    f"detections[{position}] has classes the ground truth does not know: {sorted(unknown)[:5]}"
                )
            new_label = np.array([position_of[name] for name in found.class_names], np.int32)
            labels.append(new_label[found.labels])
        return cls(
            image=repeated_positions(detections),
            label=joined(labels, np.int32),
            score=joined([found.scores for found in detections], np.float64),
            box=joined([found.boxes for found in detections], np.float64, (0, 4)),
        )
