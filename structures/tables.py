"""All detections, or all objects, of a data set as a few long arrays.

An evaluator meets millions of detections: here they cost no Python object each, and their scores and boxes are float64,
because a score of 0.9999999 read from a file must not become equal to its neighbour in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.checks import Selection, column, rows
from inception_rcnn.structures.detections import Detections
from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.ground_truth import GroundTruth

Number = TypeVar("Number", bound=np.generic)

_LARGEST = np.iinfo(np.int32).max


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
        box = _corners(self.box, "detections' box")
        object.__setattr__(self, "image", _positions(self.image, "image", len(box)))
        object.__setattr__(self, "label", _positions(self.label, "label", len(box)))
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
            image=_repeated(detections),
            label=_joined(labels, np.int32),
            score=_joined([found.scores for found in detections], np.float64),
            box=_joined([found.boxes for found in detections], np.float64, (0, 4)),
        )


@dataclass(frozen=True, eq=False)
class TruthTable:
    """The objects of many images, a row each, in the order of their annotation files.

    Args:
        class_names: The names of all classes, each once.
        image_ids: What the data set calls its images, each once: `image` holds positions in it.
        image: (N,) positions in `image_ids`.
        label: (N,) positions in `class_names`.
        box: (N, 4) float64, x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
        ignore: (N,) bool, COCO's crowds and VOC's difficult objects; None for none.
        area: (N,) float64, the `area` of COCO's annotations; None where the format has none.

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

    def __post_init__(self) -> None:
        names, ids = tuple(self.class_names), tuple(self.image_ids)
        if len(set(names)) != len(names):
            raise InputError("class_names should differ from each other; average precision is given by name")
        if len(set(ids)) != len(ids):
            raise InputError("image_ids should differ from each other")
        box = _corners(self.box, "objects' box")
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "image_ids", ids)
        object.__setattr__(self, "image", _positions(self.image, "image", len(box), len(ids)))
        object.__setattr__(self, "label", _positions(self.label, "label", len(box), len(names)))
        object.__setattr__(self, "box", box)
        flags = np.zeros(len(box), np.bool_) if self.ignore is None else self.ignore
        object.__setattr__(self, "ignore", column(flags, "ignore", len(box), np.bool_))
        if self.area is not None:
            object.__setattr__(self, "area", column(self.area, "area", len(box), np.float64))

    def __len__(self) -> int:
        """Return the number of objects, ignored ones included."""
        return len(self.box)

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """The flags `ignore`, which are always there after construction."""
        return np.zeros(len(self), np.bool_) if self.ignore is None else self.ignore

    @classmethod
    def from_ground_truths(cls, ground_truths: Sequence[GroundTruth]) -> TruthTable:
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
        boxes = _joined([truth.boxes for truth in ground_truths], np.float64, (0, 4))
        return cls(
            class_names=names,
            image_ids=tuple(ids) if len(set(ids)) == len(ids) else tuple(range(1, len(ids) + 1)),
            image=_repeated(ground_truths),
            label=_joined([truth.labels for truth in ground_truths], np.int32),
            box=boxes,
            ignore=_joined([truth.ignore for truth in ground_truths], np.bool_),
            area=_areas(ground_truths),
        )


def undo_sum(total: NDArray[np.float64], part: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the numbers that give `total` when `part` is added, as they were before that sum was rounded.

    Adding 1 to an inclusive corner rounds; taking 1 away again may miss the number in the file by its last bit. Of the
    numbers whose sum is `total`, the file had the one with few decimals: if one has nine or fewer, that is it.

    >>> (0.3 + 1) - 1 == 0.3, float(undo_sum(np.array([0.3 + 1]), 1.0)[0]) == 0.3
    (False, True)
    """
    difference = total - part
    short = np.rint(difference * 1e9) / 1e9
    return np.where(short + part == total, short, difference)


def _areas(ground_truths: Sequence[GroundTruth]) -> NDArray[np.float64] | None:
    """Return the areas given with the objects; where some images have none, the areas of their boxes."""
    if all(truth.areas is None for truth in ground_truths):
        return None
    areas = []
    for truth in ground_truths:
        corners = truth.boxes.astype(np.float64)
        of_boxes = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        areas.append(of_boxes if truth.areas is None else truth.areas.astype(np.float64))
    return _joined(areas, np.float64)


def _repeated(images: Sequence[Detections] | Sequence[GroundTruth]) -> NDArray[np.int32]:
    """Return the position of each image, once for each of its boxes."""
    return np.repeat(np.arange(len(images), dtype=np.int32), [len(one) for one in images])


def _joined(
    parts: Sequence[NDArray[np.generic]], dtype: type[Number], empty: tuple[int, ...] = (0,)
) -> NDArray[Number]:
    return np.concatenate([np.zeros(empty, dtype), *(part.astype(dtype) for part in parts)])


def _corners(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return finite float64 (N, 4), C-contiguous."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} should be numbers of shape (N, 4): {error}") from error
    if array.size == 0:
        return np.zeros((0, 4), np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{name} should have shape (N, 4), got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise InputError(f"{name} should be finite, but row {row} is {array[row].tolist()}")
    return array


def _positions(values: ArrayLike, name: str, length: int, limit: int = _LARGEST) -> NDArray[np.int32]:
    """Return whole numbers in [0, limit) as int32 (length,)."""
    array = np.asarray(values)
    if array.size == 0 and length == 0:
        return np.zeros(0, np.int32)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise InputError(f"{name} should be whole numbers of shape ({length},), got {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= limit:
        raise InputError(f"{name} should be in 0..{limit - 1}, got {array.min()}..{array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)
