"""The images of a data set that a list names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from inception_rcnn.datasets.ground_truth_file import GroundTruthFile
from inception_rcnn.datasets.image_lists import read_image_list
from inception_rcnn.datasets.interface import Problems
from inception_rcnn.structures import DataFormatError


def listed_images(
    path: Path, ground_truth: GroundTruthFile, problems: Problems
) -> tuple[tuple[int, ...], GroundTruthFile]:
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
    truth = ground_truth.truth
    position_of = {str(image_id): position for position, image_id in enumerate(truth.image_ids)}
    position_of |= {name: position for position, name in enumerate(ground_truth.image_names)}
    entries: dict[int, int | None] = {}
    for name, number in read_image_list(path, problems).items():
        with problems.skipping():
            if name not in position_of:
                raise DataFormatError("is none of the images of the ground truth", path=path, place=f"image {name}")
            entries[position_of[name]] = number
    chosen = ground_truth.chosen(tuple(entries))
    numbers = [number for number in entries.values() if number is not None]
    if not any(isinstance(image_id, int) for image_id in truth.image_ids) and len(set(numbers)) == len(entries):
        chosen = replace(chosen, truth=replace(chosen.truth, image_ids=tuple(numbers)))
    return tuple(entries), chosen
