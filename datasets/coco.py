"""MS COCO: one JSON file of images, annotations and categories, and a folder of photographs.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the data format at cocodataset.org.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import DataFormatError, GroundTruth, InputError, load_image
from inception_rcnn.structures.ground_truth import GroundTruthTable

_LARGEST = 1e18  # far above any pixel coordinate, far below what float32 can hold


class _Photograph(NamedTuple):
    image_id: int | str
    path: Path
    width: int | None
    height: int | None


class _Object(NamedTuple):
    label: int
    box: tuple[float, float, float, float]  # x1 y1 x2 y2
    area: float
    crowd: bool


class CocoDataset:
    """The photographs and objects of one split of a data set in COCO's format.

    The truth is read and checked at once, photographs are opened when asked for. Category ids may have gaps, as COCO's
    own have: labels are positions in `class_names`. Of a crowd only the box is used; it becomes an object to ignore.
    An annotation without `area` gets the area of its box. Segmentations are not looked at.

    Args:
        root: The folder. The truth is ``<split>.json`` or ``annotations/instances_<split>.json`` in it, the photographs
            are in ``<split>/``, ``images/`` or the folder itself.
        split: Such as ``"val"`` or ``"val2017"``.
        skip_broken: Leave out what is broken (see Raises) and count it in `skipped`, instead of stopping at the first.

    Attributes:
        class_names: Names of the categories, in the order of their ids.
        category_ids: The ids in the same order: what a results file for COCO's server needs.
        image_ids: In the order of the truth file.
        truth_path: The truth file.
        problems: What was left out and why, one line for each.

    Raises:
        InputError: There is no such folder or truth file.
        DataFormatError: The file is no JSON or no COCO truth; a photograph is missing; an annotation has an unknown
            category or image, or a box without area. The text names the file and the id.
    """

    def __init__(self, root: str | os.PathLike[str], split: str, *, skip_broken: bool = False) -> None:
        self.root = Path(root)
        self.split = split
        self.truth_path = _find_truth(self.root, split)
        self.problems: list[str] = []
        self._skip_broken = skip_broken
        content = _read_json(self.truth_path)
        self.category_ids, self.class_names = self._read_categories(content["categories"])
        photographs, left_out = self._read_images(content["images"])
        self.image_ids = tuple(photographs)
        self._photographs = tuple(photographs.values())
        self._objects = self._read_annotations(content["annotations"], left_out)

    @property
    def display_names(self) -> tuple[str, ...]:
        """What people call the classes: their names."""
        return self.class_names

    @property
    def skipped(self) -> int:
        """How many images and annotations were left out; annotations of a left-out image are not counted."""
        return len(self.problems)

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self._photographs)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], GroundTruth]:
        """Return photograph `i` as uint8 RGB (H, W, 3), and its objects.

        Raises:
            IndexError: There is no such photograph.
            ImageError: The photograph is damaged.
            DataFormatError: The photograph has another size than the truth file says, so its boxes cannot be right.
        """
        return self.load_image(i), self.ground_truth(i)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], GroundTruth]]:
        """Return an iterator over photographs and objects, one photograph in memory at a time."""
        return (self[i] for i in range(len(self)))

    def path(self, i: int) -> Path:
        """Return where photograph `i` is."""
        return self._photographs[i].path

    def load_image(self, i: int) -> NDArray[np.uint8]:
        """Return photograph `i` as uint8 RGB (H, W, 3), upright. Raises what ``dataset[i]`` raises."""
        photograph = self._photographs[i]
        image = load_image(photograph.path)
        expected = (photograph.height, photograph.width)
        if None not in expected and image.shape[:2] != expected:
            raise DataFormatError(
                f"{photograph.path} is {image.shape[1]} x {image.shape[0]} pixels, but width and height say "
                f"{photograph.width} x {photograph.height}; the boxes would be wrong: use the original photographs",
                path=self.truth_path,
                place=f"image {photograph.image_id}",
            )
        return image

    def ground_truth(self, i: int) -> GroundTruth:
        """Return the objects of photograph `i` in the order of the truth file; the photograph is not opened."""
        photograph = self._photographs[i]
        objects = self._objects[photograph.image_id]
        return GroundTruth(
            boxes=np.array([entry.box for entry in objects], np.float32).reshape(-1, 4),
            labels=np.array([entry.label for entry in objects], np.int64),
            class_names=self.class_names,
            ignore=np.array([entry.crowd for entry in objects], np.bool_),
            areas=np.array([entry.area for entry in objects], np.float32),
            image_id=photograph.image_id,
            width=photograph.width,
            height=photograph.height,
        )

    def ground_truths(self) -> GroundTruthTable:
        """Return the objects of all photographs in one table, in the same order; no photograph is opened.

        Its numbers are those of the truth file, in float64, and so COCO's figures are exact.
        """
        listed = [self._objects[image_id] for image_id in self.image_ids]
        objects = [entry for entries in listed for entry in entries]
        return GroundTruthTable(
            class_names=self.class_names,
            image_ids=self.image_ids,
            image=np.repeat(np.arange(len(self)), [len(entries) for entries in listed]),
            label=np.array([entry.label for entry in objects], np.int64),
            box=np.array([entry.box for entry in objects], np.float64).reshape(-1, 4),
            ignore=np.array([entry.crowd for entry in objects], np.bool_),
            area=np.array([entry.area for entry in objects], np.float64),
            image_names=tuple(photograph.path.stem for photograph in self._photographs),
            sizes=tuple((photograph.width, photograph.height) for photograph in self._photographs),
            category_ids=self.category_ids,
        )

    def _read_images(self, records: list[Any]) -> tuple[dict[int | str, _Photograph], set[int | str]]:
        """Return the photographs that are there, by id, and the ids of those left out."""
        folders = [folder for folder in (self.root / self.split, self.root / "images", self.root) if folder.is_dir()]
        photographs: dict[int | str, _Photograph] = {}
        left_out: set[int | str] = set()
        for position, record in enumerate(records):
            place = _place("image", record, position)
            try:
                photograph = self._read_image(record, place, folders)
                if photograph.image_id in photographs:
                    raise self._broken("another image has the same id", place)
                photographs[photograph.image_id] = photograph
            except DataFormatError as error:
                self._skip(error)
                if isinstance(record, dict) and _is_id(record.get("id")):
                    left_out.add(record["id"])
        return photographs, left_out - photographs.keys()

    def _read_image(self, record: Any, place: str, folders: list[Path]) -> _Photograph:
        """Return one entry of `images`, checked."""
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            raise self._broken("should be an object with an id (a whole number or a text)", place)
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            raise self._broken(f"file_name should be the name of a photograph, got {name!r}", place)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise self._broken(f"file_name {name!r} leads out of the data set's folder", place)
        found = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if found is None:
            looked = ", ".join(str(folder) for folder in folders)
            raise self._broken(f"the photograph {name!r} is missing, looked in {looked}", place)
        sides = [record.get("width"), record.get("height")]
        if any(side is not None and (type(side) is not int or side < 1) for side in sides):
            raise self._broken(
                f"width and height should be whole numbers above 0, got {sides[0]!r}, {sides[1]!r}", place
            )
        return _Photograph(record["id"], found, sides[0], sides[1])

    def _read_annotations(self, records: list[Any], left_out: set[int | str]) -> dict[int | str, list[_Object]]:
        """Return the objects of each photograph, by its id."""
        labels = {category: label for label, category in enumerate(self.category_ids)}
        objects: dict[int | str, list[_Object]] = {image_id: [] for image_id in self.image_ids}
        for position, record in enumerate(records):
            place = _place("annotation", record, position)
            try:
                if not isinstance(record, dict):
                    raise self._broken(f"should be an object, got {record!r:.60}", place)
                image_id = record.get("image_id")
                if _is_id(image_id) and image_id in left_out:
                    continue
                if not _is_id(image_id) or image_id not in objects:
                    raise self._broken(f"image_id {image_id!r} is none of the images", place)
                objects[image_id].append(self._read_object(record, place, labels))
            except DataFormatError as error:
                self._skip(error)
        return objects

    def _read_object(self, record: dict[str, Any], place: str, labels: dict[int, int]) -> _Object:
        """Return one entry of `annotations`, checked, its box by corners."""
        category = record.get("category_id")
        if type(category) is not int or category not in labels:
            raise self._broken(f"category_id {category!r} is none of the {len(labels)} categories", place)
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise self._broken(f"iscrowd should be 0 or 1, got {crowd!r}", place)
        sides = record.get("bbox")
        if not isinstance(sides, list) or len(sides) != 4 or not all(_is_number(side) for side in sides):
            raise self._broken(f"bbox should be four numbers x, y, width, height, got {sides!r:.60}", place)
        x, y, width, height = sides
        box = (x, y, x + width, y + height)
        if not _has_area(box):
            raise self._broken(f"bbox {sides} has no area; width and height should be above 0", place)
        area = record.get("area", width * height)
        if not _is_number(area) or area < 0:
            raise self._broken(f"area should be a number, 0 or more, got {area!r:.60}", place)
        return _Object(labels[category], box, area, bool(crowd))

    def _read_categories(self, records: list[Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return ids and names in the order of the ids."""
        names: dict[int, str] = {}
        for position, record in enumerate(records):
            place = _place("category", record, position)
            if not isinstance(record, dict) or type(record.get("id")) is not int:
                raise self._broken("should be an object whose id is a whole number", place)
            name = record.get("name")
            if not isinstance(name, str) or not name:
                raise self._broken(f"name should be a text, got {name!r}", place)
            if record["id"] in names or name in names.values():
                raise self._broken(f"another category has the same id or the name {name!r}", place)
            names[record["id"]] = name
        return tuple(sorted(names)), tuple(names[category] for category in sorted(names))

    def _broken(self, message: str, place: str | None = None) -> DataFormatError:
        return DataFormatError(message, path=self.truth_path, place=place)

    def _skip(self, error: DataFormatError) -> None:
        """Note what is left out, or raise the error if nothing may be."""
        if not self._skip_broken:
            raise DataFormatError(
                f"{error.message} (--skip-broken or skip_broken=True leaves it out)", path=error.path, place=error.place
            ) from None
        self.problems.append(str(error))


def _find_truth(root: Path, split: str) -> Path:
    """Return the truth file of the split."""
    if not root.is_dir():
        raise InputError(f"{root} is no folder; give the one that holds the truth file and the photographs")
    tried = [root / f"{split}.json", root / "annotations" / f"instances_{split}.json"]
    for path in tried:
        if path.is_file():
            return path
    raise InputError(f"no truth file for split {split!r}: neither {tried[0]} nor {tried[1]} exists")


def _read_json(path: Path) -> dict[str, list[Any]]:
    """Return the truth file's lists, after checking that they are there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataFormatError(
            f"is not valid JSON: {error.msg}; is the download complete?",
            path=path,
            place=f"line {error.lineno}, column {error.colno}",
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataFormatError(f"is not valid JSON: {error}", path=path) from error
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


def _is_id(value: object) -> bool:
    return type(value) in (int, str)  # True and 1.0 would pass isinstance and == as the id 1


def _has_area(box: tuple[float, float, float, float]) -> bool:
    """Return whether area is left once the corners are float32, as boxes are in this project."""
    x1, y1, x2, y2 = (np.float32(side) for side in box)
    return bool(x2 > x1 and y2 > y1)


def _is_number(value: object) -> bool:
    """Return whether the value is a finite number that float32 can hold; JSON may say NaN, Infinity, or 1e400."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
