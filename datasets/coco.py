"""MS COCO: one JSON file of images, annotations and categories, and a folder of image files.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the data format at cocodataset.org.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Unpack

from inception_rcnn.datasets.base import AnnotatedDataset, ReadingOptions, existing_folder, is_inside
from inception_rcnn.datasets.reading.box_rules import AnnotatedObject
from inception_rcnn.datasets.reading.finding import Finder, did_you_mean, folded, is_split_name, path_parts
from inception_rcnn.datasets.reading.foreign import json_kind, not_read
from inception_rcnn.datasets.reading.headers import read_header
from inception_rcnn.datasets.reading.texts import decode_text, number_of
from inception_rcnn.datasets.writing import file_names, image_size, new_file, put
from inception_rcnn.structures import DataFormatError, GroundTruth, GroundTruthTable, InputError, box_area, write_json
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.files import decode_json
from inception_rcnn.structures.ground_truth import ImageSize

_LARGEST = 1e18  # far above any pixel coordinate, far below what float32 can hold
_LONGEST_SIDE = 10**9  # an image with more pixels a side does not exist
_LOOKED_AT: Final = 2**16  # bytes at both ends of a file
_TRUTHS_INSIDE: Final = ("_annotations.coco.json", "annotations.json", "labels.json")
_OTHER_TASKS: Final = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
_WHOLE: Final = re.compile(r"[+-]?\d{1,17}(\.0*)?")


class _Image(NamedTuple):
    """An entry of `images`, its file found."""

    path: Path
    name: str
    size: ImageSize


class CocoDataset(AnnotatedDataset):
    """The images and objects of one split of a data set in COCO's format.

    The truth is read and checked at once, images are opened when asked for. Category ids may have gaps, as COCO's
    own have: labels are positions in `class_names`. Of a crowd only the box is used; it becomes an object to ignore.
    An annotation without `area` gets the area of its box, one without `bbox` the box around its polygons, which are not
    looked at otherwise. Numbers may stand there as texts, "1" and 1.0 for 1, where no other id reads the same.

    Args:
        root: The folder, or the truth file. The truth is ``<split>.json``, ``annotations/instances_<split>.json``,
            ``annotations/<split>.json`` or ``<split>/_annotations.coco.json`` in it, the images are in ``<split>/``,
            ``images/<split>/``, ``images/``, beside the truth or in the folder itself, or below these.
        split: Such as ``"val"`` or ``"val2017"``; None: the only one.
        options: See `ReadingOptions`.

    Attributes:
        class_names: Names of the categories, in the order of their ids.
        category_ids: The ids in the same order: what a results file for COCO's server needs.
        image_ids: In the order of the truth file.
        truth_path: The truth file.

    Raises:
        InputError: There is no such folder or truth file, or there are several and none is named.
        DataFormatError: The file is no JSON or no COCO truth; an image is missing; an annotation has an unknown
            category or image, or a box without area or outside its image. The text names the file and the id.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str | None = None, **options: Unpack[ReadingOptions]
    ) -> None:
        given = Path(root) if os.path.isfile(root) else None
        folder = existing_folder(root if given is None else _top_of(given), "the truth file and the images")
        self._files = Finder()
        truths = coco_truths(folder, self._files)
        if given is not None:
            split = next(
                (name for name, path in truths.items() if path == given), given.stem.removeprefix("instances_")
            )
        elif split is None:
            split = _only_split(folder, truths)
        super().__init__(folder, split, format="coco", box_words="x y width height", has_areas=True, **options)
        self.splits = tuple(truths)
        self.truth_path, *others = [given] if given is not None else _find_truths(folder, split, truths, self._files)
        if others:
            self._note(f"there is {others[0]} too, which is not read; name the file itself to read it")
        content = _read_json(self.truth_path, self._guessed.append)
        categories = self._read_categories(content["categories"], content["annotations"])
        folders = _image_folders(folder, split, self.truth_path, self._files)
        images = self._read_images(content["images"], folders)
        objects = self._read_annotations(content["annotations"], images, categories, _ids_in(content["images"]))
        for image_id, image in images.items():
            self._add(image_id, image.path, objects[image_id], self.truth_path, image.size)
        self._names_of_images = tuple(os.path.splitext(image.name)[0] for image in images.values())
        self._complete(list(categories.values()), category_ids=list(categories))
        self._say_repeated(images)

    def _image_names(self) -> tuple[str, ...]:
        return self._names_of_images

    def _place_of_size(self, i: int) -> str:
        return f"image {self.image_ids[i]}"

    def _say_repeated(self, images: dict[int | str, _Image]) -> None:
        """Say which photographs are listed more than once."""
        ids: dict[Path, list[int | str]] = {}
        for image_id, image in images.items():
            ids.setdefault(image.path, []).append(image_id)
        again = [(path, own) for path, own in ids.items() if len(own) > 1]
        if again:
            path, own = again[0]
            self._note(
                f"{number_of(len(again), 'photograph')} listed under several ids, such as {path.name} under "
                f"{own[0]} and {own[1]}: its objects are then missing under one of them"
            )

    def _read_images(self, records: list[Any], folders: list[Path]) -> dict[int | str, _Image]:
        """Return the images whose files are there, by id."""
        images: dict[int | str, _Image] = {}
        by_guess: dict[Path, str] = {}
        for position, record in enumerate(records):
            place = _place("image", record, position)
            with self._broken.skipping():
                image = self._read_image(record, place, folders)
                if record["id"] in images:
                    raise self._error("another image has the same id", place)
                if by_guess.setdefault(image.path, image.name) != image.name:
                    raise self._error(
                        f"{image.path} may be meant by {image.name!r}, and by {by_guess[image.path]!r}", place
                    )
                images[record["id"]] = image
        return images

    def _read_image(self, record: Any, place: str, folders: list[Path]) -> _Image:
        """Return one entry of `images`, checked."""
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            raise self._error("should be an object with an id (a whole number or a text)", place)
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            raise self._error(f"file_name should be the name of a photograph, got {name!r}", place)
        sides = [_whole(record.get(side)) for side in ("width", "height")]
        if any(side is not None and (type(side) is not int or not 0 <= side <= _LONGEST_SIDE) for side in sides):
            raise self._error(
                f"width and height should be whole numbers above 0, to {_LONGEST_SIDE}, got {sides[0]!r:.60}, "
                f"{sides[1]!r:.60}",
                place,
            )
        size = (sides[0] or None, sides[1] or None)
        return _Image(self._find_image(name, size, place, folders), name, size)

    def _find_image(self, name: str, size: ImageSize, place: str, folders: list[Path]) -> Path:
        """Return where the photograph of a name is: the exact name first, then the only one that reads the same."""
        inside = is_inside(name)
        for folder in folders if inside else ():
            if self._files.holds(folder / name):
                return folder / name
        others = [one for one in self.splits if one != self.split]
        passed = {*others, *(name for name in self._files.entries(self.root) if is_split_name(name))} - {self.split}
        found = self._files.file(folders, name, splits=[one for one in passed if one])
        if len(found) > 1:
            raise self._error(f"the photograph {name!r} may be any of {', '.join(found[:3])}", place)
        if found:
            header = read_header(found[0])
            if header is None or None in size or size in (header[:2], header.upright):
                return Path(found[0])
            raise self._error(
                f"the photograph {name!r} is missing; {found[0]} is {header.width} x {header.height}, another one",
                place,
            )
        if not inside:
            raise self._error(f"file_name {name!r} leads out of the data set's folder", place)
        looked = ", ".join(str(folder) for folder in folders)
        near = self._files.close_to(folders, name)
        raise self._error(f"the photograph {name!r} is missing, looked in {looked}{near}", place)

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
                image_id = _same_id(record.get("image_id"), listed)
                if image_id is None:
                    raise self._error(f"image_id {record.get('image_id')!r} is none of the images", place)
                if image_id in objects:
                    objects[image_id].append(self._read_object(record, place, categories))
        return objects

    def _read_object(self, record: dict[str, Any], place: str, categories: dict[int, str]) -> AnnotatedObject:
        """Return one entry of `annotations`, checked, its box by corners."""
        category = _whole(record.get("category_id"))
        if type(category) is not int or category not in categories:
            shown = record.get("category_id")
            raise self._error(f"category_id {shown!r} is none of the {len(categories)} categories", place)
        crowd = _whole(record.get("iscrowd")) or 0
        if type(crowd) not in (int, bool) or crowd not in (0, 1):
            raise self._error(f"iscrowd should be 0 or 1, got {crowd!r}", place)
        sides = record.get("bbox")
        sides = _around(record.get("segmentation")) if sides is None or sides == [] else sides
        numbers = [_number(side) for side in sides] if isinstance(sides, list) and len(sides) == 4 else []
        if len(numbers) != 4 or None in numbers:
            shown = record.get("bbox")
            raise self._error(f"bbox should be four numbers x, y, width, height, got {shown!r:.60}", place)
        x, y, width, height = (number for number in numbers if number is not None)
        shift = self._rules.first_pixel
        box = (x - shift, y - shift, x + width - shift, y + height - shift)
        area = _number(record.get("area", width * height))
        if area is None or (area < 0 and width > 0):
            raise self._error(f"area should be a number, 0 or more, got {record['area']!r:.60}", place)
        return AnnotatedObject(categories[category], box, bool(crowd), area, place, (x, y, width, height))

    def _read_categories(self, records: list[Any], annotations: list[Any]) -> dict[int, str]:
        """Return the names by id, in the order of the ids; without roots that no annotation uses."""
        names: dict[int, str] = {}
        values = (_whole(one.get("category_id")) for one in annotations if isinstance(one, dict))
        used = {value for value in values if type(value) is int}
        records, taken = self._without_roots(records, used), set[str]()
        for position, record in enumerate(records):
            place = _place("category", record, position)
            category = _whole(record.get("id")) if isinstance(record, dict) else None
            if type(category) is not int:
                raise self._error("should be an object whose id is a whole number", place)
            name = record.get("name")
            if not isinstance(name, str) or not name:
                raise self._error(f"name should be a text, got {name!r}", place)
            if category in names or name in taken:
                raise self._error(f"another category has the same id or the name {name!r:.200}", place)
            names[category] = name
            taken.add(name)
        return dict(sorted(names.items()))

    def _without_roots(self, records: list[Any], used: Collection[int]) -> list[Any]:
        """Return the categories without those that only stand above all others, as Roboflow writes one."""
        kept = []
        named = [record.get("supercategory") for record in records if isinstance(record, dict)]
        above = {name for name in named if isinstance(name, str)}
        for record in records:
            if (
                isinstance(record, dict)
                and not (type(number := _whole(record.get("id"))) is int and number in used)
                and record.get("supercategory") in (None, "none", "")
                and isinstance(record.get("name"), str)
                and record["name"] in above
                and len(records) > 1
            ):
                self._note(
                    f"category {record.get('id')}, {record.get('name')!r}, is the root of the others and of no object: "
                    "left out of the classes"
                )
            else:
                kept.append(record)
        return kept

    def _error(self, message: str, place: str) -> DataFormatError:
        return DataFormatError(message, path=self.truth_path, place=place)


class _TruthAlone(CocoDataset):
    """A truth file whose photographs are not at hand; those with objects need a width and height in it."""

    def _find_image(self, name: str, size: ImageSize, place: str, folders: list[Path]) -> Path:
        """Return where the photograph would be."""
        return self.root / "/".join(path_parts(name))


def coco_ground_truth(path: str | os.PathLike[str]) -> GroundTruthTable:
    """Return the objects of a COCO truth file, without its photographs.

    Args:
        path: Such as ``instances_val2017.json``.

    Raises:
        InputError: There is no such file.
        DataFormatError: See `CocoDataset`.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    return _TruthAlone(path).ground_truths()


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
    names = names if len(set(names)) == len(names) else file_names(dataset)
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


def coco_truths(root: Path, files: Finder) -> dict[str, Path]:
    """Return the truth files in a folder by the names of their splits; files of other content are left out."""
    found: dict[str, Path] = {}
    annotations = files.child(root, "annotations")
    for folder in (root, *([root / annotations] if annotations is not None else [])):
        for name, is_folder in files.entries(folder).items():
            stem, ending = os.path.splitext(name)
            if not is_folder and ending.lower() == ".json" and _is_name_of_truth(stem) and is_coco_truth(folder / name):
                found.setdefault(stem.removeprefix("instances_"), folder / name)
    for name, is_folder in files.entries(root).items():
        for file in _TRUTHS_INSIDE if is_folder else ():
            if files.holds(root / name / file):
                found.setdefault(name, root / name / file)
    if not found:
        beside = root / _TRUTHS_INSIDE[0]
        found = {"all": beside} if files.holds(beside) else {}
    return found


def is_coco_truth(path: Path) -> bool:
    """Return whether a JSON has the lists of COCO's truth; of a large one only beginning and end are looked at."""
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
            if size > _LOOKED_AT:
                file.seek(max(size - _LOOKED_AT, 0))
                start += file.read()
        text = start.replace(b"\0", b"")  # UTF-16 has the same letters with zeros between them
        return all(f'"{key}"'.encode() in text for key in ("images", "categories"))
    return False


def _is_name_of_truth(stem: str) -> bool:
    return stem[0] not in "._" and not stem.startswith(_OTHER_TASKS)


def _top_of(truth: Path) -> Path:
    """Return the folder of the data set that a truth file belongs to."""
    inner = folded(truth.parent.name) == "annotations" or truth.name in _TRUTHS_INSIDE
    return truth.absolute().parent.parent if inner else truth.parent


def _only_split(root: Path, truths: dict[str, Path]) -> str:
    """Return the name of the only split.

    Raises:
        InputError: There are none, or several.
    """
    if len(truths) == 1:
        return next(iter(truths))
    if truths:
        raise InputError(f"{root} has the parts {', '.join(truths)}; name one as the split")
    raise InputError(
        f"no COCO truth in {root}: neither a JSON with images, annotations and categories there, nor one "
        "in annotations/, nor <split>/_annotations.coco.json"
    )


def _find_truths(root: Path, split: str, truths: dict[str, Path], files: Finder) -> list[Path]:
    """Return the truth files that may be meant by a split, the likeliest first."""
    tried = [root / f"{split}.json", root / "annotations" / f"instances_{split}.json"]
    tried += [root / "annotations" / f"{split}.json", *(root / split / name for name in _TRUTHS_INSIDE)]
    found = [files.follow(root, path_parts(os.path.relpath(path, root))) for path in tried]
    there = [Path(path) for path in dict.fromkeys(found) if path is not None and os.path.isfile(path)]
    if there:
        return there
    if split in truths:
        return [truths[split]]
    known = f"; there are {', '.join(truths)}{did_you_mean(split, list(truths))}" if truths else ""
    raise InputError(
        f"no truth file for split {split!r}: neither {tried[0]} nor {tried[1]} nor {tried[3]} exists{known}"
    )


def _image_folders(root: Path, split: str, truth: Path, files: Finder) -> list[Path]:
    """Return the folders in which photographs of a split may be, the likeliest first."""
    beside = [truth.parent] if truth.name in _TRUTHS_INSIDE else []
    inner = ((split,), (split, "images"), ("images", split), ("data", split), ("images",), ("data",))
    found = (files.follow(root, parts) for parts in inner)
    folders = [*beside, *(Path(path) for path in found if path is not None), root]
    return list(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def _around(segmentation: object) -> list[float] | None:
    """Return x y width height around polygons, None if there are none."""
    if not isinstance(segmentation, list) or not all(isinstance(one, list) and len(one) >= 4 for one in segmentation):
        return None
    values = [[_number(value) for value in one] for one in segmentation]
    xs = [value for one in values for value in one[::2] if value is not None]
    ys = [value for one in values for value in one[1::2] if value is not None]
    if not xs or len(xs) + len(ys) != sum(map(len, values)):
        return None
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _read_json(path: Path, say: Callable[[str], None]) -> dict[str, list[Any]]:
    """Return the truth file's lists, after checking that they are there."""
    data = path.read_bytes()
    text: bytes | str = data
    try:
        data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        with contextlib.suppress(DataFormatError):
            text = decode_text(data, path, say)
    content = decode_json(text, path)
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing and (kind := json_kind(content)) not in ("", "coco"):
        raise DataFormatError(f"should be a COCO truth, and seems to be something else: {not_read(kind)}", path=path)
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


def _same_id(value: object, listed: set[int | str]) -> int | str | None:
    """Return the id that is meant: the same, or the one that reads the same, as "1" and 1.0 do for 1."""
    if type(value) in (int, str) and value in listed:
        return value
    whole = _whole(value)
    if type(whole) is int:
        return whole if whole in listed else str(whole) if str(whole) in listed else None
    return None


def _whole(value: Any) -> Any:
    """Return the whole number that a number or text says, otherwise the value as it is."""
    if type(value) is float and value.is_integer() and abs(value) < _LARGEST:
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(float(value))
    return value


def _number(value: Any) -> float | None:
    """Return the finite number that float32 can hold; JSON may say NaN, Infinity, 1e400, or a number as text."""
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    return value if type(value) in (int, float) and abs(value) < _LARGEST else None
