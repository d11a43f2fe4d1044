"""What a training learns from: data sets with different labels, brought to the classes of one detector.

each data set + its proposals --> photographs, their regions labelled with the detector's classes, and which of
these classes the photograph's annotations do not name
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.class_matching import ClassMatch, match_classes
from inception_rcnn.detector.training.region_labels import LabelledRegions, label_regions, with_truths
from inception_rcnn.structures import GroundTruth, InputError, Proposals, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset, dataset_name
from inception_rcnn.structures.images import resize_image
from inception_rcnn.structures.proposals import boxes_checksum


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """Photographs of one data set.

    Args:
        name: For messages and the summary of the training, such as "voc2007/train".
        dataset: Photographs and objects.
        propose_set: Called once for the proposals of each photograph, when it is clear that they are needed.
        rows: Which of its photographs to train on; None: all.
    """

    name: str
    dataset: DetectionDataset
    propose_set: Callable[[], Sequence[Proposals]]
    rows: Sequence[int] | None = None


@dataclass(frozen=True, eq=False)
class TrainingPhotograph:
    """A photograph as a training stores it.

    Args:
        source: Which data set it is from.
        row: Its position there.
        original: (height, width) of the data set's photograph.
        size: (height, width) in which it is stored.
        regions: In pixels of that form.
        truths: (K, 4) boxes of its objects, likewise.
    """

    source: int
    row: int
    original: tuple[int, int]
    size: tuple[int, int]
    regions: LabelledRegions
    truths: NDArray[np.float32]


class TrainingPhotographs:
    """All photographs of several data sets, numbered through, in the classes of one detector.

    Args:
        sources: The data sets.
        class_names: Of the detector. An object of another class is neither foreground nor background.
        stored_side: Long side beyond which photographs are reduced, in pixels.
        best: Of each photograph's proposals so many, the first ones, are regions to draw from; None: all.
        jitter: Shaken copies of each object among the foreground regions.
        seed: Of the shaking.
        quiet: Show no progress.

    Attributes:
        proposals_checksum: Of all proposals, as 64 hexadecimal digits.

    Raises:
        InputError: A data set has none of the classes, or not as many proposals as photographs.
    """

    def __init__(
        self,
        sources: Sequence[TrainingSource],
        class_names: tuple[str, ...],
        *,
        stored_side: int,
        best: int | None = None,
        jitter: int = 4,
        seed: int = 0,
        quiet: bool = True,
    ) -> None:
        self.sources, self.class_names, self.stored_side = tuple(sources), class_names, stored_side
        self.best, self.jitter, self.seed = best, jitter, seed
        self._matches = [_known_classes(source, class_names) for source in sources]
        self.photographs: list[TrainingPhotograph] = []
        checksums = []
        rows = [range(len(one.dataset)) if one.rows is None else one.rows for one in sources]
        with progress_bar(sum(map(len, rows)), "regions", quiet=quiet) as bar:
            for number, source in enumerate(sources):
                proposals = source.propose_set()
                if len(proposals) != len(source.dataset):
                    raise InputError(
                        f"{source.name}: there are proposals of {len(proposals)} images, the data set has "
                        f"{len(source.dataset)}"
                    )
                checksums.append(boxes_checksum(proposals))
                for row in rows[number]:
                    self.photographs.append(self._photograph(number, row, proposals[row]))
                    bar.advance(1)
        self.proposals_checksum = hashlib.sha256(json.dumps(checksums).encode()).hexdigest()

    def __len__(self) -> int:
        """Return how many photographs there are."""
        return len(self.photographs)

    def load(self, number: int) -> NDArray[np.uint8]:
        """Return a photograph in the form in which it is stored, uint8 RGB (H, W, 3).

        Raises:
            InputError: It has another size than its annotation says, so that the boxes would be elsewhere.
        """
        one, dataset = self.photographs[number], self.sources[self.photographs[number].source].dataset
        image = dataset.load_image(one.row)
        if image.shape[:2] != one.original:
            raise InputError(
                f"{dataset.path(one.row)} should be {one.original[1]}x{one.original[0]}, as its annotation says, and "
                f"is {image.shape[1]}x{image.shape[0]}; correct or leave out the annotation"
            )
        height, width = one.size
        return image if one.size == one.original else resize_image(image, width, height)

    def names(self, numbers: Sequence[int]) -> str:
        """Return what the data sets call some photographs, such as "voc2007/train 000005, 000007; coco/train 139"."""
        of_source: dict[str, list[str]] = {}
        for number in dict.fromkeys(numbers):
            one = self.photographs[number]
            source = self.sources[one.source]
            of_source.setdefault(source.name, []).append(str(source.dataset.image_ids[one.row]))
        return "; ".join(f"{name} {', '.join(ids)}" for name, ids in of_source.items())

    def unknown(self) -> NDArray[np.bool_] | None:
        """Return (photographs, C + 1) which classes its annotations do not name; None where they name all.

        A class of which some kinds alone are named, of all tables the dining tables, is not.
        """
        named = np.zeros((len(self.sources), len(self.class_names)), np.bool_)
        for row, match in enumerate(self._matches):
            named[row, match.position[match.same]] = True
        if named.all():
            return None
        table = np.pad(~named, ((0, 0), (0, 1)))
        result: NDArray[np.bool_] = table[[one.source for one in self.photographs]]
        return result

    def _photograph(self, source: int, row: int, proposals: Proposals) -> TrainingPhotograph:
        dataset = self.sources[source].dataset
        truth = _renamed(dataset.ground_truth(row), self._matches[source].position, self.class_names)
        width, height = truth.width, truth.height
        if width is None or height is None:
            height, width = dataset.load_image(row).shape[:2]
        factor = min(1.0, self.stored_side / max(height, width))
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        scale = np.array([size[1] / width, size[0] / height] * 2, np.float32)
        truth = replace(truth, boxes=truth.boxes * scale, width=size[1], height=size[0])
        rng = np.random.default_rng([self.seed, source, row])
        regions = label_regions(proposals.boxes[: self.best] * scale, truth)
        regions = with_truths(regions, truth, self.jitter, rng)
        return TrainingPhotograph(source, row, (height, width), size, regions, truth.boxes)


def classes_to_train(datasets: Sequence[DetectionDataset], known: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return the classes of a detector that is trained on some data sets: the first one's, or those known before.

    Args:
        datasets: At least one.
        known: What the pre-trained detector tells apart; kept if it has every class of every data set.
    """
    if known is not None and all(_match(one, known).same.all() for one in datasets):
        return known
    return datasets[0].class_names


def _match(dataset: DetectionDataset, class_names: tuple[str, ...]) -> ClassMatch:
    return match_classes(dataset.class_names, dataset.display_names, class_names)


def _known_classes(source: TrainingSource, class_names: tuple[str, ...]) -> ClassMatch:
    """Return which of the detector's classes a source's are.

    Raises:
        InputError: There is none.
    """
    match = _match(source.dataset, class_names)
    if not (match.position >= 0).any():
        raise InputError(
            f"{source.name} has none of the detector's {len(class_names)} classes "
            f"({', '.join(class_names[:3])} ...); its own are {', '.join(source.dataset.class_names[:3])} ..."
        )
    return match


def _renamed(truth: GroundTruth, position: NDArray[np.int32], class_names: tuple[str, ...]) -> GroundTruth:
    """Return the objects with labels of the detector's classes; those of other classes are ignored."""
    labels = position[truth.labels].astype(np.int64)
    return replace(
        truth,
        labels=np.maximum(labels, 0),
        class_names=class_names,
        ignore=truth.ignore | (labels < 0),
    )


def stored_names(sets: Sequence[DetectionDataset]) -> list[str]:
    """Return the names of the files that keep the proposals of each data set."""
    names = [dataset_name(one) for one in sets]
    if len(names) == 1:
        return [f"proposals-{names[0].rpartition('/')[2]}.safetensors"]
    names = [name.replace("/", "-") for name in names]
    number = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [f"proposals-{name}{'' if n == 1 else f'-{n}'}.safetensors" for name, n in zip(names, number, strict=True)]
