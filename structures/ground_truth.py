"""What is really there: the annotated objects of one image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.checks import Selection, column, rows, whole_numbers
from inception_rcnn.structures.errors import InputError


def _no_flags() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The objects of one image, in the order of the annotation file.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the original image, x2 and y2 exclusive.
        labels: (N,) int64 positions in `class_names`.
        class_names: The names of all classes of the data set.
        ignore: (N,) bool, objects that neither reward nor punish (COCO's crowds, VOC's difficult ones); left out, none.
        areas: (N,) float32 in square pixels, the `area` of COCO's annotations, or None where the format has none.
        image_id: What the data set calls the image.
        width: Width of the image in pixels, None if unknown.
        height: Height of the image in pixels, None if unknown.

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

    def __getitem__(self, keep: Selection) -> GroundTruth:
        """Return the objects that a slice, a boolean mask or positions select."""
        chosen = rows(keep, len(self))
        return GroundTruth(
            self.boxes[chosen],
            self.labels[chosen],
            self.class_names,
            self.ignore[chosen],
            None if self.areas is None else self.areas[chosen],
            self.image_id,
            self.width,
            self.height,
        )

    def names(self) -> list[str]:
        """Return the class name of each object."""
        return [self.class_names[label] for label in self.labels.tolist()]
