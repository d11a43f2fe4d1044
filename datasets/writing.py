"""Data sets written in the formats that this room reads.

A writer never changes what it was given: images are copied byte for byte, boxes keep all their digits, objects
their order and labels their names. What a format cannot hold is an error, not a loss; only the `area` of COCO's objects
has no place in the others. A split that is already there is never touched. The list or truth file is written last, so
what can be opened is whole.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inception_rcnn.datasets.base import is_inside
from inception_rcnn.datasets.reading.box_rules import AnnotatedObject
from inception_rcnn.datasets.voc_xml import annotation_text
from inception_rcnn.structures import GroundTruth, GroundTruthTable, InputError, write_whole
from inception_rcnn.structures.dataset import DetectionDataset, Subset


def xml_of(dataset: DetectionDataset, i: int, filename: str, *, first_pixel: int, depth: bool = True) -> str:
    """Return the XML of an image and its objects; see `annotation_text`."""
    truth = dataset.ground_truth(i)
    objects = [
        AnnotatedObject(name, (box[0], box[1], box[2], box[3]), ignore)
        for name, box, ignore in zip(truth.names(), truth.boxes.tolist(), truth.ignore.tolist(), strict=True)
    ]
    return annotation_text(filename, image_size(dataset, i, truth), objects, first_pixel, depth=depth)


def image_size(dataset: DetectionDataset, i: int, truth: GroundTruth) -> tuple[int, int]:
    """Return width and height of an image, which is opened only if the truth does not know them."""
    if truth.width is not None and truth.height is not None:
        return truth.width, truth.height
    height, width = dataset.load_image(i).shape[:2]
    return width, height


def text_ids(dataset: DetectionDataset) -> list[str]:
    """Return ids that a list with one id a line gives back: images with a number as id are called after their file.

    Raises:
        InputError: An id has no place on a line, or two images have the same.
    """
    found = [
        image_id if isinstance(image_id, str) else dataset.path(i).stem for i, image_id in enumerate(dataset.image_ids)
    ]
    for image_id in found:
        if image_id != image_id.strip() or not image_id.isprintable() or not is_inside(image_id):
            raise InputError(f"cannot write the image id {image_id!r} into a list with one id a line; rename the image")
    check_distinct(found)
    return found


def file_names(dataset: DetectionDataset) -> list[str]:
    """Return what the files of the images are to be called: as they are, behind their folders where names are repeated.

    Raises:
        InputError: Two images have one name all the same, but for the ending: they would share an annotation.
    """
    names = [dataset.path(i).name for i in range(len(dataset))]
    if len({Path(name).stem for name in names}) < len(names):
        folders = [os.path.dirname(image_id) if isinstance(image_id, str) else "" for image_id in dataset.image_ids]
        names = [
            f"{folder}/{name}" if folder and is_inside(folder) else name
            for folder, name in zip(folders, names, strict=True)
        ]
    check_distinct([os.path.splitext(name)[0] for name in names])
    return names


@dataclass(frozen=True, eq=False)
class WithoutIgnored(Subset):
    """A data set, or part of one, without the objects that are to be ignored, for formats that have no mark for them.

    Args:
        dataset: The set.
        rows: Positions in it.
    """

    def ground_truth(self, i: int, /) -> GroundTruth:
        """Return the objects of photograph `i` that count."""
        truth = super().ground_truth(i)
        return truth[~truth.ignore]

    def ground_truths(self) -> GroundTruthTable:
        """Return the objects that count in one table."""
        table = super().ground_truths()
        return table[~table.ignored]


def with_validation(
    parts: Sequence[tuple[str, DetectionDataset]], share: float, seed: int
) -> list[tuple[str, DetectionDataset]]:
    """Return the parts of a data set with one more, val, whose photographs are drawn from the first.

    Args:
        parts: The name of each, and its photographs.
        share: Of the first one's photographs, 0 to 1; at least one.
        seed: Of the draw.

    Raises:
        InputError: There is one to validate on, or there are too few photographs.
    """
    if there := [name for name, _ in parts if name.lower().startswith(("val", "dev"))]:
        raise InputError(f"there is a part {there[0]!r} to validate on already; leave the share out")
    (name, first), *rest = parts
    if len(first) < 2:
        raise InputError(f"{name} has {len(first)} photographs, too few to split a part off")
    drawn = np.random.default_rng(seed).permutation(len(first))[: max(round(share * len(first)), 1)]
    kept = np.setdiff1d(np.arange(len(first)), drawn)
    return [(name, Subset(first, kept.tolist())), ("val", Subset(first, np.sort(drawn).tolist())), *rest]


def check_distinct(names: list[str]) -> None:
    """Raise if two images have one name.

    Raises:
        InputError: Two have.
    """
    name, count = Counter(names).most_common(1)[0] if names else ("", 1)
    if count > 1:
        raise InputError(f"two images are called {name!r}; rename one")


def write_class_list(dataset: DetectionDataset, folder: Path) -> None:
    """Write the class names one a line, if there are any: a folder without annotations has no classes."""
    check_class_names(dataset)
    if dataset.class_names:
        put(folder / "classes.txt", "".join(f"{name}\n" for name in dataset.class_names).encode())


def check_class_names(dataset: DetectionDataset) -> None:
    """Raise if a class name does not fit a list with one name a line.

    Raises:
        InputError: A name is empty, begins or ends with a space, or has characters that cannot be printed.
    """
    for name in dataset.class_names:
        if not name or name != name.strip() or not name.isprintable():
            raise InputError(f"cannot write the class name {name!r} into a list with one name a line")


def new_file(path: Path) -> Path:
    """Return the path of a list, truth file or folder to be written.

    Raises:
        InputError: It is there already.
    """
    if path.exists():
        raise InputError(f"{path} is already there; write to another folder or give another name for the split")
    return path


def put(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with the same content; another content is not overwritten.

    Raises:
        InputError: It is there with another content.
    """
    if path.exists():
        if path.read_bytes() != content:
            raise InputError(f"{path} is already there with another content; write to another folder")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
