"""What was found in one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.checks import (
    Selection,
    check_descending,
    column,
    corners,
    descending,
    joined,
    positions,
    repeated_positions,
    rows,
    whole_numbers,
)
from inception_rcnn.structures.errors import InputError


class DetectionRecord(TypedDict):
    """One detection as plain Python values, ready for JSON."""

    label: str
    score: float
    box: list[float]


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, best first.

    Args:
        boxes: (M, 4) float32, x1 y1 x2 y2 in pixels of the original image, x2 and y2 exclusive.
        scores: (M,) float32, descending; equal scores stand in the order of their boxes.
        labels: (M,) int64 positions in `class_names`.
        class_names: The names of all classes the detector knows.

    Raises:
        InputError: Lengths differ, a number is not finite, scores rise, or a label has no name.

    >>> found = Detections.ordered([[0, 0, 9, 9], [5, 5, 20, 20]], [0.25, 0.75], [0, 1], ("cat", "dog"))
    >>> found.to_records()[0]
    {'label': 'dog', 'score': 0.75, 'box': [5.0, 5.0, 20.0, 20.0]}
    >>> found.above(0.5).names()
    ['dog']
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

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

    @classmethod
    def ordered(cls, boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, class_names: Sequence[str]) -> Detections:
        """Return detections sorted by score, descending; equal scores keep their order."""
        checked = as_boxes(boxes, "detections' boxes")
        values = column(scores, "scores", len(checked), np.float32)
        classes = whole_numbers(labels, "labels", len(class_names), "class_names")
        order = descending(values)
        return cls(
            checked[order], values[order], column(classes, "labels", len(checked), np.int64)[order], tuple(class_names)
        )

    @classmethod
    def empty(cls, class_names: Sequence[str]) -> Detections:
        """Return no detections at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), tuple(class_names))

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.boxes)

    def __getitem__(self, keep: Selection) -> Detections:
        """Return the detections that a slice, a boolean mask or ascending positions select."""
        chosen = rows(keep, len(self))
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.class_names)

    def above(self, score: float) -> Detections:
        """Return the detections that score at least `score`."""
        return self[self.scores >= np.float32(score)]

    def top(self, n: int) -> Detections:
        """Return the first `n` detections, all of them if there are fewer."""
        return self[: max(n, 0)]

    def names(self) -> list[str]:
        """Return the class name of each detection."""
        return [self.class_names[label] for label in self.labels.tolist()]

    def to_records(self) -> list[DetectionRecord]:
        """Return the detections as dictionaries of plain values: label, score, box [x1, y1, x2, y2]."""
        return [
            {"label": name, "score": score, "box": box}
            for name, score, box in zip(self.names(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        ]


@dataclass(frozen=True, eq=False)
class DetectionTable:
    """The detections of many images, a row each; the order of the rows decides between equal scores.

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

    def __getitem__(self, keep: Selection) -> DetectionTable:
        """Return the rows that a slice, a boolean mask or positions select."""
        chosen = rows(keep, len(self))
        return DetectionTable(self.image[chosen], self.label[chosen], self.score[chosen], self.box[chosen])

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
