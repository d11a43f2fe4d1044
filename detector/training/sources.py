"""What a training learns from: data sets with different labels, brought to the classes of one detector.

each data set + its proposals --> photographs, their regions labelled with the detector's classes, and which of
these classes the photograph's annotations do not name
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.class_matching import class_positions
from inception_rcnn.detector.training.region_labels import LabelledRegions, label_regions, with_truths
from inception_rcnn.structures import GroundTruth, InputError, Proposals, load_image
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.images import resize_image


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """Photographs of one data set.

    Args:
        name: For messages and the summary of the training, such as "voc2007/train".
        dataset: Photographs and objects.
        proposals: Of each photograph.

    Raises:
        InputError: Not as many proposals as photographs.
    """

    name: str
    dataset: DetectionDataset
    proposals: Sequence[Proposals]

    def __post_init__(self) -> None:
        if len(self.proposals) != len(self.dataset):
            raise InputError(
                f"{self.name}: there are proposals of {len(self.proposals)} images, the data set has "
                f"{len(self.dataset)}"
            )


@dataclass(frozen=True, eq=False)
class TrainingPhotograph:
    """A photograph as a training stores it.

    Args:
        source: Which data set it is from.
        row: Its position there.
        size: (height, width) in which it is stored.
        regions: In pixels of that form.
        truths: (K, 4) boxes of its objects, likewise.
    """

    source: int
    row: int
    size: tuple[int, int]
    regions: LabelledRegions
    truths: NDArray[np.float32]


class TrainingPhotographs:
    """All photographs of several data sets, numbered through, in the classes of one detector.

    Args:
        sources: The data sets.
        class_names: Of the detector. An object of another class is neither foreground nor background.
        stored_side: Long side beyond which photographs are reduced, in pixels.
        jitter: Shaken copies of each object among the foreground regions.
        seed: Of the shaking.

    Raises:
        InputError: A data set has none of the classes.
    """

    def __init__(
        self,
        sources: Sequence[TrainingSource],
        class_names: tuple[str, ...],
        *,
        stored_side: int,
        jitter: int = 4,
        seed: int = 0,
    ) -> None:
        self.sources, self.class_names, self.stored_side = tuple(sources), class_names, stored_side
        self.jitter, self.seed = jitter, seed
        self._position = [_positions(source, class_names) for source in sources]
        self._numbers = [(number, row) for number, one in enumerate(sources) for row in range(len(one.dataset))]
        self.photographs = [self._photograph(*number) for number in self._numbers]

    def __len__(self) -> int:
        """Return how many photographs there are."""
        return len(self.photographs)

    def load(self, number: int) -> NDArray[np.uint8]:
        """Return a photograph in the form in which it is stored, uint8 RGB (H, W, 3)."""
        one = self.photographs[number]
        image = self.sources[one.source].dataset.load_image(one.row)
        height, width = one.size
        return image if image.shape[:2] == (height, width) else resize_image(image, width, height)

    def unknown(self) -> NDArray[np.bool_] | None:
        """Return (photographs, C + 1) which classes its annotations do not name; None where they name all."""
        named = np.zeros((len(self.sources), len(self.class_names)), np.bool_)
        for row, position in enumerate(self._position):
            named[row, position[position >= 0]] = True
        if named.all():
            return None
        table = np.pad(~named, ((0, 0), (0, 1)))
        result: NDArray[np.bool_] = table[[one.source for one in self.photographs]]
        return result

    def _photograph(self, source: int, row: int) -> TrainingPhotograph:
        one = self.sources[source]
        truth = _renamed(one.dataset.ground_truth(row), self._position[source], self.class_names)
        width, height = truth.width, truth.height
        if width is None or height is None:
            height, width = load_image(one.dataset.path(row)).shape[:2]
        factor = min(1.0, self.stored_side / max(height, width))
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        scale = np.array([size[1] / width, size[0] / height] * 2, np.float32)
        truth = replace(truth, boxes=truth.boxes * scale, width=size[1], height=size[0])
        rng = np.random.default_rng([self.seed, source, row])
        regions = with_truths(label_regions(one.proposals[row].boxes * scale, truth), truth, self.jitter, rng)
        return TrainingPhotograph(source, row, size, regions, truth.boxes)


def _positions(source: TrainingSource, class_names: tuple[str, ...]) -> NDArray[np.int32]:
    """Return for each class of a data set its position among the detector's, -1 for those it lacks."""
    position = class_positions(source.dataset.class_names, class_names)
    if (position < 0).any():
        by_display = class_positions(source.dataset.display_names, class_names)
        position = np.where(position < 0, by_display, position)
    if not (position >= 0).any():
        raise InputError(
            f"{source.name} has none of the detector's {len(class_names)} classes "
            f"({', '.join(class_names[:3])} ...); its own are {', '.join(source.dataset.class_names[:3])} ..."
        )
    return position


def _renamed(truth: GroundTruth, position: NDArray[np.int32], class_names: tuple[str, ...]) -> GroundTruth:
    """Return the objects with labels of the detector's classes; those of other classes are ignored."""
    labels = position[truth.labels].astype(np.int64)
    return replace(
        truth,
        labels=np.maximum(labels, 0),
        class_names=class_names,
        ignore=truth.ignore | (labels < 0),
    )
