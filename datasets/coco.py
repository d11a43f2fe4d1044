"""MS COCO: one JSON file of images, annotations and categories, and a folder of image files.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the data format at cocodataset.org.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inception_rcnn.datasets.base import AnnotatedDataset, AnnotatedObject, existing_folder, is_inside
from inception_rcnn.datasets.writing import check_distinct, image_size, new_file, put
from inception_rcnn.structures import DataFormatError, GroundTruth, InputError, box_area, write_json
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.files import decode_json
from inception_rcnn.structures.ground_truth import ImageSize

_LARGEST = 1e18  # far above any pixel coordinate, far below what float32 can hold
_LONGEST_SIDE = 10**9  # an image with more pixels a side does not exist


class _Image(NamedTuple):
    """An entry of `images`, its file found."""

    path: Path
    name: str
    size: ImageSize


class CocoDataset(AnnotatedDataset):
    """The images and objects of one split of a data set in COCO's format.

    The truth is read and checked at once, images are opened when asked for. Category ids may have gaps, as COCO's
    own have: labels are positions in `class_names`. Of a crowd only the box is used; it becomes an object to ignore.
    An annotation without `area` gets the area of its box. Segmentations are not looked at.

    Args:
        root: The folder. The truth is ``<split>.json`` or ``annotations/instances_<split>.json`` in it, the images
            are in ``<split>/``, ``images/`` or the folder itself.
        split: Such as ``"val"`` or ``"val2017"``.
        skip_broken: Leave out what is broken (see Raises) and count it in `skipped`, instead of stopping at the first.

    Attributes:
        class_names: Names of the categories, in the order of their ids.
        category_ids: The ids in the same order: what a results file for COCO's server needs.
        image_ids: In the order of the truth file.
        truth_path: The truth file.

    Raises:
        InputError: There is no such folder or truth file.
        DataFormatError: The file is no JSON or no COCO truth; an image is missing; an annotation has an unknown
            category or image, or a box without area. The text names the file and the id.
    """

    def __init__(self, root: str | os.PathLike[str], split: str, *, skip_broken: bool = False) -> None:
        folder = existing_folder(root, "the truth file and the images")
        super().__init__(folder, split, skip_broken=skip_broken, has_areas=True)
        self.truth_path = _find_truth(folder, split)
        content = _read_json(self.truth_path)
        categories = self._read_categories(content["categories"])
        folders = [path for path in (folder / split, folder / "images", folder) if path.is_dir()]
        images = self._read_images(content["images"], folders)
        objects = self._read_annotations(content["annotations"], images, categories, _ids_in(content["images"]))
        for image_id, image in images.items():
            self._add(image_id, image.path, objects[image_id], self.truth_path, image.size)
        self._names_of_images = tuple(os.path.splitext(image.name)[0] for image in images.values())
        self._complete(list(categories.values()), category_ids=list(categories))

    def _image_names(self) -> tuple[str, ...]:
        return self._names_of_images

    def _place_of_size(self, i: int) -> str:
        return f"image {self.image_ids[i]}"

    def _read_images(self, records: list[Any], folders: list[Path]) -> dict[int | str, _Image]:
        """Return the images whose files are there, by id."""
        images: dict[int | str, _Image] = {}
        for position, record in enumerate(records):
            place = _place("image", record, position)
            with self._broken.skipping():
                image = self._read_image(record, place, folders)
                if record["id"] in images:
                    raise self._error("another image has the same id", place)
                images[record["id"]] = image
        return images

    def _read_image(self, record: Any, place: str, folders: list[Path]) -> _Image:
        """Return one entry of `images`, checked."""
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            raise self._error("should be an object with an id (a whole number or a text)", place)
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            raise self._error(f"file_name should be the name of a photograph, got {name!r}", place)
        if not is_inside(name):
            raise self._error(f"file_name {name!r} leads out of the data set's folder", place)
        found = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if found is None:
            looked = ", ".join(str(folder) for folder in folders)
            raise self._error(f"the photograph {name!r} is missing, looked in {looked}", place)
        sides = [record.get("width"), record.get("height")]
        if any(side is not None and (type(side) is not int or not 1 <= side <= _LONGEST_SIDE) for side in sides):
            raise self._error(
                f"width and height should be whole numbers above 0, to {_LONGEST_SIDE}, got {sides[0]!r:.60}, "
                f"{sides[1]!r:.60}",
                place,
            )
        return _Image(found, name, (sides[0], sides[1]))

    def _read_annotations(
        self,
        records: list[Any],
        images: dict[int | str, _Image],
        categories: dict[int, str],
        listed: set[int | str],
    ) -> dict[int | str, list[AnnotatedObject]]:
        """Return the objects of each image, by its id; those of images that were left out are passed over."""
        objects: dict[int | str, list[AnnotatedObject]] = {image_id: [] for image_id in images}
        for position, record in enumerate(records):
            place = _place("annotation", record, position)
            with self._broken.skipping():
                if not isinstance(record, dict):
                    raise self._error(f"should be an object, got {record!r:.60}", place)
                image_id = record.get("image_id")
                if not _is_id(image_id) or image_id not in listed:
                    raise self._error(f"image_id {image_id!r} is none of the images", place)
                if image_id in objects:
                    objects[image_id].append(self._read_object(record, place, categories))
        return objects

    def _read_object(self, record: dict[str, Any], place: str, categories: dict[int, str]) -> AnnotatedObject:
        """Return one entry of `annotations`, checked, its box by corners."""
        category = record.get("category_id")
        if type(category) is not int or category not in categories:
            raise self._error(f"category_id {category!r} is none of the {len(categories)} categories", place)
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise self._error(f"iscrowd should be 0 or 1, got {crowd!r}", place)
        sides = record.get("bbox")
        if not isinstance(sides, list) or len(sides) != 4 or not all(_is_number(side) for side in sides):
            raise self._error(f"bbox should be four numbers x, y, width, height, got {sides!r:.60}", place)
        x, y, width, height = sides
        box = (x, y, x + width, y + height)
        if not _has_area(box):
            raise self._error(f"bbox {sides} has no area; width and height should be above 0", place)
        area = record.get("area", width * height)
        if not _is_number(area) or area < 0:
            raise self._error(f"area should be a number, 0 or more, got {area!r:.60}", place)
        return AnnotatedObject(categories[category], box, bool(crowd), area)

    def _read_categories(self, records: list[Any]) -> dict[int, str]:
        """Return the names by id, in the order of the ids."""
        names: dict[int, str] = {}
        for position, record in enumerate(records):
            place = _place("category", record, position)
            if not isinstance(record, dict) or type(record.get("id")) is not int:
                raise self._error("should be an object whose id is a whole number", place)
            name = record.get("name")
            if not isinstance(name, str) or not name:
                raise self._error(f"name should be a text, got {name!r}", place)
            if record["id"] in names or name in names.values():
                raise self._error(f"another category has the same id or the name {name!r}", place)
            names[record["id"]] = name
        return dict(sorted(names.items()))

    def _error(self, message: str, place: str) -> DataFormatError:
        return DataFormatError(message, path=self.truth_path, place=place)


def write_coco(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as COCO does, for `CocoDataset` to read.

    Objects to ignore become crowds. Ids of images and categories are kept; without, categories count from 1, as
    annotations do. Images keep their names.

    Args:
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: What to call the truth file, ``<split>.json``, and the folder of image files.

    Raises:
        InputError: See `write_voc`.
    """
    folder = Path(root)
    truth_path = new_file(folder / f"{split}.json")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names = [dataset.path(i).name for i in range(len(dataset))]
    check_distinct(names)
    for i, name in enumerate(names):
        truth = dataset.ground_truth(i)
        width, height = image_size(dataset, i, truth)
        images.append({"id": dataset.image_ids[i], "file_name": name, "width": width, "height": height})
        for record in _records(truth, dataset.category_ids):
            annotations.append({"id": len(annotations) + 1, "image_id": dataset.image_ids[i], **record})
        put(folder / split / name, dataset.path(i).read_bytes())
    named = [{"id": one, "name": name} for one, name in zip(dataset.category_ids, dataset.class_names, strict=True)]
    truth_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(truth_path, {"images": images, "annotations": annotations, "categories": named}, indent=None)


def _records(truth: GroundTruth, category_ids: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Yield COCO's fields of each object."""
    areas = box_area(truth.boxes) if truth.areas is None else truth.areas
    columns = (truth.boxes.tolist(), areas.tolist(), truth.labels.tolist(), truth.ignore.tolist())
    for (x1, y1, x2, y2), area, label, ignore in zip(*columns, strict=True):
        sides = [x1, y1, x2 - x1, y2 - y1]  # subtracted as Python's floats: as float32 the sum would miss the corner
        yield {"category_id": category_ids[label], "bbox": sides, "area": area, "iscrowd": int(ignore)}


def _find_truth(root: Path, split: str) -> Path:
    """Return the truth file of the split."""
    tried = [root / f"{split}.json", root / "annotations" / f"instances_{split}.json"]
    for path in tried:
        if path.is_file():
            return path
    raise InputError(f"no truth file for split {split!r}: neither {tried[0]} nor {tried[1]} exists")


def _read_json(path: Path) -> dict[str, list[Any]]:
    """Return the truth file's lists, after checking that they are there."""
    content = decode_json(path.read_bytes(), path)
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise DataFormatError(
            f"should be a COCO truth: an object with the lists images, annotations, categories; no {missing[0]} here",
            path=path,
        )
    lists: dict[str, list[Any]] = content
    return lists


def _place(kind: str, record: Any, position: int) -> str:
    """Return what to call an entry: by its id, or by its position if it has none."""
    if isinstance(record, dict) and _is_id(record.get("id")):
        return f"{kind} {record['id']}"
    return f"{kind} without id at position {position}"


def _ids_in(records: list[Any]) -> set[int | str]:
    """Return the ids of all entries of `images`, those that are left out included."""
    return {record["id"] for record in records if isinstance(record, dict) and _is_id(record.get("id"))}


def _is_id(value: object) -> bool:
    return type(value) in (int, str)  # True and 1.0 would pass isinstance and == as the id 1


def _has_area(box: tuple[float, float, float, float]) -> bool:
    """Return whether area is left once the corners are float32, as boxes are in this project."""
    x1, y1, x2, y2 = (np.float32(side) for side in box)
    return bool(x2 > x1 and y2 > y1)


def _is_number(value: object) -> bool:
    """Return whether the value is a finite number that float32 can hold; JSON may say NaN, Infinity, or 1e400."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
