"""What detections are compared with: the objects of a data set or a file, of all its images or of those listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from inception_rcnn.datasets import open_dataset, tell_format
from inception_rcnn.datasets.base import Problems, ReadingOptions
from inception_rcnn.datasets.coco import coco_ground_truth, is_coco_truth
from inception_rcnn.datasets.ground_truth_file import read_ground_truth
from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.datasets.image_lists import official_indices, read_image_list
from inception_rcnn.datasets.reading.finding import did_you_mean, image_ending
from inception_rcnn.structures import DataFormatError, GroundTruthTable, InputError
from inception_rcnn.structures.dataset import DetectionDataset, Subset


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """What is scored.

    Attributes:
        truth: The objects of the chosen images.
        dataset: The same images in the same order; None if the objects are from a file.
        title: What it is, in a word or two.
        problems: What was left out and why, one line for each.
    """

    truth: GroundTruthTable
    dataset: DetectionDataset | None
    title: str
    problems: tuple[str, ...] = ()

    def photographs(self) -> DetectionDataset:
        """Return the data set of the images.

        Raises:
            InputError: There are none, the objects are from a file.
        """
        if self.dataset is None:
            raise InputError("there are no photographs: the objects are from a file")
        return self.dataset


def evaluation_set_of(
    format: str | None,
    root: Path | None,
    split: str | None,
    ground_truth: Path | None,
    *,
    image_list: Path | None = None,
    limit: int | None = None,
    **options: Unpack[ReadingOptions],
) -> EvaluationSet:
    """Return the objects of a data set's images, or of those that a list names.

    Args:
        format: Of the data set, see `open_dataset`; None: as what lies there tells.
        root: Its folder; None to read a file.
        split: Part of it.
        ground_truth: The file, if there is no `root`; see `read_ground_truth`; or a COCO truth file, whose photographs
            need not be there.
        image_list: Only these images, in this order; see `listed_images`.
        limit: Only so many of them, the first ones.
        options: How the data set is read; what `skip_broken` leaves out is in `problems`.

    Raises:
        InputError: Neither root nor file is given or both are, something is missing, or no image is left.
        DataFormatError: Something is broken; the text names the file and the place in it.
    """
    dataset, truth, title = _whole(format, root, split, ground_truth, options)
    problems = Problems(skip=options.get("skip_broken", False))
    problems.lines.extend([] if dataset is None else dataset.problems)
    rows: Sequence[int] = range(len(truth.image_ids))
    if image_list is not None:
        rows, truth = listed_images(image_list, truth, problems, indexed=format == "ilsvrc")
    if limit is not None and limit < len(rows):
        rows, truth = rows[:limit], truth.of_images(range(limit))
    if len(rows) == 0:
        raise InputError(f"no images in {title}" + (f" that {image_list} names" if image_list else ""))
    photographs = None if dataset is None else Subset(dataset, rows)
    return EvaluationSet(truth, photographs, title, tuple(problems.lines))


def _whole(
    format: str | None, root: Path | None, split: str | None, ground_truth: Path | None, options: ReadingOptions
) -> tuple[DetectionDataset | None, GroundTruthTable, str]:
    """Return the data set, all its objects, and what it is called."""
    if root is not None and ground_truth is None:
        dataset = open_dataset(format or tell_format(root), root, split, **options)
        return dataset, dataset.ground_truths(), f"{root.name}/{split}" if split else root.name
    if ground_truth is None or root is not None:
        raise InputError("give either --root DIR, a data set, or --ground-truth FILE, its objects")
    if is_coco_truth(ground_truth):
        return None, coco_ground_truth(ground_truth), ground_truth.name
    english = dict(det_classes())
    truth = read_ground_truth(ground_truth, list(english) if format == "ilsvrc" else None)
    display_names = tuple(english.get(name, name) for name in truth.class_names)
    return None, replace(truth, display_names=display_names), ground_truth.name


def listed_images(
    path: Path, ground_truth: GroundTruthTable, problems: Problems, *, indexed: bool
) -> tuple[tuple[int, ...], GroundTruthTable]:
    """Return which images a list names, in its order, and their objects.

    An image is named by the text that leads to its file, by the id that files of detections use, or by the last
    part of that text, where no other image has the same; an ending, and folders of another computer, may be there too.

    Args:
        path: One image a line, plain or packed by gzip.
        ground_truth: Of more images.
        problems: Takes images that are there twice, not in the ground truth, or named as several are.
        indexed: The format knows its images by an index. The numbers behind the names become these indices if the
            ground truth has none; where it has, R-CNN's val2 list, which counts for itself, may serve with detections
            that go by ILSVRC's own indices.

    Raises:
        InputError: There is no such file.
        DataFormatError: See `problems`; the text names the list and the image.
    """
    positions_of = _positions_by_name(ground_truth)
    entries: dict[int, int | None] = {}

    def known(name: str) -> bool:
        return bool(positions_of.get(name) or positions_of.get(name.removesuffix(image_ending(name))))

    for name, number in read_image_list(path, problems, known, numbered=indexed).items():
        with problems.skipping():
            position = _position(name, positions_of, ground_truth, path)
            if position in entries:
                raise DataFormatError("is there twice, under another name", path=path, place=f"image {name}")
            entries[position] = number
    chosen = ground_truth.of_images(tuple(entries))
    indices = official_indices(list(entries.values())) if indexed else None
    if indices is not None and not any(isinstance(image_id, int) for image_id in ground_truth.image_ids):
        chosen = replace(chosen, image_ids=indices)
    return tuple(entries), chosen


def _positions_by_name(ground_truth: GroundTruthTable) -> dict[str, tuple[int, ...]]:
    """Return the images that each text may mean: names of files come before ids, and these before last parts."""
    positions: dict[str, tuple[int, ...]] = {}
    last_parts = [name.rpartition("/")[2] for name in ground_truth.image_names]
    for names in (ground_truth.image_names, map(str, ground_truth.image_ids), last_parts):
        level: dict[str, tuple[int, ...]] = {}
        for position, name in enumerate(names):
            level[name] = (*level.get(name, ()), position)
        positions = level | positions
    return positions


def _position(name: str, positions_of: dict[str, tuple[int, ...]], ground_truth: GroundTruthTable, path: Path) -> int:
    """Return which image a name means."""
    found = positions_of.get(name) or positions_of.get(name.removesuffix(image_ending(name)), ())
    if not found:
        near = did_you_mean(name, list(positions_of))
        raise DataFormatError(f"is none of the images of the ground truth{near}", path=path, place=f"image {name}")
    if len(found) > 1:
        others = ", ".join(f"{ground_truth.image_names[k]} (id {ground_truth.image_ids[k]})" for k in found[:3])
        raise DataFormatError(
            f"{len(found)} images are called so: {others}; name it with its folder, or by its id",
            path=path,
            place=f"image {name}",
        )
    return found[0]
