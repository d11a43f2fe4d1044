"""What detections are compared with: the objects of a data set or a file, of all its images or of those listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inception_rcnn.datasets.ground_truth_file import read_ground_truth
from inception_rcnn.datasets.ilsvrc_classes import DET_CLASSES
from inception_rcnn.datasets.image_lists import read_image_list
from inception_rcnn.datasets.interface import Problems
from inception_rcnn.datasets.opening import open_dataset
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError
from inception_rcnn.structures.dataset import DetectionDataset, Subset


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """What is scored.

    Attributes:
        truth: The objects of the chosen images.
        dataset: The photographs of the same images in the same order; None if the objects are from a file.
        title: What it is, in a word or two.
        problems: What was left out and why, one line for each.
    """

    truth: GroundTruthTable
    dataset: DetectionDataset | None
    title: str
    problems: tuple[str, ...] = ()

    def photographs(self) -> DetectionDataset:
        """Return the photographs of the images.

        Raises:
            InputError: There are none, the objects are from a file.
        """
        if self.dataset is None:
            raise InputError("there are no photographs: the objects are from a file")
        return self.dataset


def evaluation_set_of(
    format: str,
    root: Path | None,
    split: str | None,
    ground_truth: Path | None,
    *,
    image_list: Path | None = None,
    limit: int | None = None,
    skip_broken: bool = False,
) -> EvaluationSet:
    """Return the objects of a data set's images, or of those that a list names.

    Args:
        format: Of the data set, see `open_dataset`.
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
    dataset, truth, title = _whole(format, root, split, ground_truth, skip_broken)
    problems = Problems(skip=skip_broken)
    problems.lines.extend([] if dataset is None else dataset.problems)
    rows: Sequence[int] = range(len(truth.image_ids))
    if image_list is not None:
        rows, truth = listed_images(image_list, truth, problems)
    if limit is not None and limit < len(rows):
        rows, truth = rows[:limit], truth.of_images(range(limit))
    if len(rows) == 0:
        raise InputError(f"no images in {title}" + (f" that {image_list} names" if image_list else ""))
    photographs = None if dataset is None else Subset(dataset, rows)
    return EvaluationSet(truth, photographs, title, tuple(problems.lines))


def _whole(
    format: str, root: Path | None, split: str | None, ground_truth: Path | None, skip_broken: bool
) -> tuple[DetectionDataset | None, GroundTruthTable, str]:
    """Return the data set, all its objects, and what it is called."""
    if root is not None and ground_truth is None:
        dataset = open_dataset(format, root, split, skip_broken=skip_broken)
        return dataset, dataset.ground_truths(), f"{root.name}/{split}" if split else root.name
    if ground_truth is None or root is not None:
        raise InputError("give either --root DIR, a data set, or --ground-truth FILE, its objects")
    english = dict(DET_CLASSES)
    truth = read_ground_truth(ground_truth, list(english) if format == "ilsvrc" else None)
    display_names = tuple(english.get(name, name) for name in truth.class_names)
    return None, replace(truth, display_names=display_names), ground_truth.name


def listed_images(
    path: Path, ground_truth: GroundTruthTable, problems: Problems
) -> tuple[tuple[int, ...], GroundTruthTable]:
    """Return which images a list names, in its order, and their objects.

    An image is named by the text that leads to its photograph, or by the number or text that files of detections use.
    The numbers behind the names become the images' indices if the ground truth has none and they all differ: where it
    has, R-CNN's val2 list, which counts for itself, may serve with detections that go by ILSVRC's own indices.

    Args:
        path: One image a line, plain or packed by gzip.
        ground_truth: Of more images.
        problems: Told of images that are there twice, or not in the ground truth.

    Raises:
        InputError: There is no such file.
        DataFormatError: See `problems`; the text names the list and the image.
    """
    position_of = {str(image_id): position for position, image_id in enumerate(ground_truth.image_ids)}
    position_of |= {name: position for position, name in enumerate(ground_truth.image_names)}
    entries: dict[int, int | None] = {}
    for name, number in read_image_list(path, problems).items():
        with problems.skipping():
            if name not in position_of:
                raise DataFormatError("is none of the images of the ground truth", path=path, place=f"image {name}")
            entries[position_of[name]] = number
    chosen = ground_truth.of_images(tuple(entries))
    numbers = [number for number in entries.values() if number is not None]
    if not any(isinstance(image_id, int) for image_id in ground_truth.image_ids) and len(set(numbers)) == len(entries):
        chosen = replace(chosen, image_ids=tuple(numbers))
    return tuple(entries), chosen
