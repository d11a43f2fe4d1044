"""The objects that detections are compared with: of a data set or from a file, of all images or of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.ground_truth_file import GroundTruthFile, read_ground_truth
from inception_rcnn.datasets.ilsvrc import IlsvrcDetDataset
from inception_rcnn.datasets.ilsvrc_classes import DET_CLASSES
from inception_rcnn.datasets.interface import DetectionDataset, Problems
from inception_rcnn.datasets.listed_images import listed_images
from inception_rcnn.datasets.opening import open_dataset
from inception_rcnn.structures import InputError


@dataclass(frozen=True, eq=False)
class ChosenPhotographs:
    """Some photographs of a data set, as a set.

    Args:
        dataset: The set.
        positions: Which of them.
    """

    dataset: DetectionDataset
    positions: Sequence[int]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.positions)

    def path(self, i: int, /) -> Path:
        """Return where photograph `i` is."""
        return self.dataset.path(self.positions[i])

    def load_image(self, i: int, /) -> NDArray[np.uint8]:
        """Return photograph `i` as uint8 RGB (H, W, 3)."""
        return self.dataset.load_image(self.positions[i])


@dataclass(frozen=True, eq=False)
class ChosenTruth:
    """What to compare with.

    Attributes:
        file: The objects of the chosen images.
        dataset: Where the photographs are; None if the objects are from a file.
        positions: Of the chosen images in `dataset`, in the order of `file`.
        spoken: What people call the classes; ILSVRC's class names are WordNet ids.
        title: What it is, in a word or two.
        problems: What was left out and why, one line for each.
    """

    file: GroundTruthFile
    dataset: DetectionDataset | None
    positions: Sequence[int]
    spoken: tuple[str, ...]
    title: str
    problems: tuple[str, ...] = ()

    def photographs(self) -> ChosenPhotographs:
        """Return the photographs of the chosen images.

        Raises:
            InputError: There are none, the objects are from a file.
        """
        if self.dataset is None:
            raise InputError("there are no photographs: the objects are from a file")
        return ChosenPhotographs(self.dataset, self.positions)


def choose_truth(
    form: str,
    root: Path | None,
    split: str | None,
    ground_truth: Path | None,
    *,
    image_list: Path | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
) -> ChosenTruth:
    """Return the objects of a data set's images, or of those that a list names.

    Args:
        form: Format of the data set, see `open_dataset`.
        root: Its folder; None to read a file.
        split: Part of it.
        ground_truth: The file, if there is no `root`; see `read_ground_truth`.
        image_list: Only these images, in this order; see `listed_images`.
        limit: Only so many of them, the first ones.
        skip_broken: Leave out what is broken and say so in `problems`, instead of stopping at the first.

    Raises:
        InputError: Neither root nor file is given or both are, something is missing, or no image is left.
        DataFormatError: Something is broken; the text names the file and the place in it.
    """
    dataset, file, title = _whole(form, root, split, ground_truth, skip_broken)
    problems = Problems(skip=skip_broken)
    problems.lines.extend([] if dataset is None else dataset.problems)
    positions: Sequence[int] = range(len(file.image_names))
    if image_list is not None:
        positions, file = listed_images(image_list, file, problems)
    if limit is not None and limit < len(positions):
        positions, file = positions[:limit], file.chosen(range(limit))
    if len(positions) == 0:
        raise InputError(f"no images in {title}" + (f" that {image_list} names" if image_list else ""))
    if isinstance(dataset, IlsvrcDetDataset):
        spoken = dataset.english_names
    else:
        spoken = tuple(dict(DET_CLASSES).get(name, name) for name in file.truth.class_names)
    return ChosenTruth(file, dataset, positions, spoken, title, tuple(problems.lines))


def _whole(
    form: str, root: Path | None, split: str | None, ground_truth: Path | None, skip_broken: bool
) -> tuple[DetectionDataset | None, GroundTruthFile, str]:
    """Return the data set, all its objects, and what it is called."""
    if root is not None and ground_truth is None:
        dataset = open_dataset(form, root, split, skip_broken=skip_broken)
        return dataset, dataset.ground_truths(), f"{root.name}/{split}" if split else root.name
    if ground_truth is None or root is not None:
        raise InputError("give either --root DIR, a data set, or --ground-truth FILE, its objects")
    names = [wnid for wnid, _ in DET_CLASSES] if form == "ilsvrc" else None
    return None, read_ground_truth(ground_truth, names), ground_truth.name
