"""Data sets written in the formats that this room reads.

A writer never changes what it was given: photographs are copied byte for byte, boxes keep all their digits, objects
their order and labels their names. What a format cannot hold is an error, not a loss; only the `area` of COCO's objects
has no place in the others. A split that is already there is never touched. The list or truth file is written last, so
what can be opened is whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inception_rcnn.datasets.coco import CocoDataset
from inception_rcnn.datasets.ilsvrc import IlsvrcDetDataset
from inception_rcnn.datasets.image_lists import split_line
from inception_rcnn.datasets.interface import is_inside
from inception_rcnn.datasets.voc_xml import AnnotatedObject, annotation_text
from inception_rcnn.structures import GroundTruth, InputError, box_area, write_json, write_whole
from inception_rcnn.structures.dataset import DetectionDataset


def write_voc(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as PASCAL VOC does, for `VocDataset` to read.

    Objects to ignore become difficult ones. Images with a number as id are called after their photograph. The classes
    go to ``classes.txt``.

    Args:
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: What to call the list in ``ImageSets/Main``.

    Raises:
        InputError: The split is already there, a file in the folder has the name of a new one and another content,
            two images have the same id, or an id or class name cannot be written.
    """
    folder = Path(root)
    listed = _new_file(folder / "ImageSets" / "Main" / f"{split}.txt")
    _write_classes(dataset, folder)
    ids = _text_ids(dataset)
    for i, image_id in enumerate(ids):
        photograph = dataset.path(i)
        name = f"{image_id}{photograph.suffix}"
        text = _annotation(dataset, i, Path(name).name, first_pixel=1)
        _put(folder / "JPEGImages" / name, photograph.read_bytes())
        _put(folder / "Annotations" / f"{image_id}.xml", text.encode())
    _put(listed, "".join(f"{image_id}\n" for image_id in ids).encode())


def write_ilsvrc(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as ILSVRC DET is packed since 2015, for `IlsvrcDetDataset` to read.

    The list has the images' positions, from 1, behind their ids. The classes go to ``classes.tsv``.

    Args:
        dataset: What to write; the class names stand where ILSVRC has WordNet ids.
        root: The folder; created, or other splits are in it already.
        split: What to call the list in ``ImageSets/DET``, and the folders of photographs and annotations.

    Raises:
        InputError: An object is to be ignored, for which ILSVRC has no mark; or see `write_voc`.
    """
    folder = Path(root)
    listed = _new_file(folder / "ImageSets" / "DET" / f"{split}.txt")
    ids = _text_ids(dataset)
    for i, image_id in enumerate(ids):
        if dataset.ground_truth(i).ignore.any():
            raise InputError(
                f"image {image_id} has objects to ignore, for which ILSVRC DET has no mark; drop them first"
            )
    _write_synsets(dataset, folder)
    for i, image_id in enumerate(ids):
        photograph = dataset.path(i)
        text = _annotation(dataset, i, Path(image_id).name, first_pixel=0, depth=False)
        _put(folder / "Data" / "DET" / split / f"{image_id}{photograph.suffix}", photograph.read_bytes())
        _put(folder / "Annotations" / "DET" / split / f"{image_id}.xml", text.encode())
    _put(listed, "".join(f"{image_id} {number}\n" for number, image_id in enumerate(ids, 1)).encode())


def write_folder(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write photographs into one folder, each with its XML beside it, for `FolderDataset` to read.

    Photographs keep their names, and are read back in alphabetical order. The classes go to ``classes.txt``.

    Args:
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: What to call the folder in it.

    Raises:
        InputError: See `write_voc`.
    """
    folder = Path(root)
    new = _new_file(folder / split)
    _write_classes(dataset, folder)
    names = _names(dataset)
    for i, name in enumerate(names):
        text = _annotation(dataset, i, name, first_pixel=1)
        _put(new / name, dataset.path(i).read_bytes())
        _put((new / name).with_suffix(".xml"), text.encode())


def write_coco(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as COCO does, for `CocoDataset` to read.

    Objects to ignore become crowds. Ids of images and categories are kept; without, categories count from 1, as
    annotations do. Photographs keep their names.

    Args:
        dataset: What to write.
        root: The folder; created, or other splits are in it already.
        split: What to call the truth file, ``<split>.json``, and the folder of photographs.

    Raises:
        InputError: See `write_voc`.
    """
    folder = Path(root)
    truth_path = _new_file(folder / f"{split}.json")
    categories = _category_ids(dataset)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, name in enumerate(_names(dataset)):
        truth = dataset.ground_truth(i)
        width, height = _size(dataset, i, truth)
        images.append({"id": dataset.image_ids[i], "file_name": name, "width": width, "height": height})
        for record in _coco_records(truth):
            record["category_id"] = categories[record["category_id"]]
            annotations.append({"id": len(annotations) + 1, "image_id": dataset.image_ids[i], **record})
        _put(folder / split / name, dataset.path(i).read_bytes())
    named = [{"id": one, "name": name} for one, name in zip(categories, dataset.class_names, strict=True)]
    truth_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(truth_path, {"images": images, "annotations": annotations, "categories": named}, indent=None)


def _category_ids(dataset: DetectionDataset) -> tuple[int, ...]:
    if isinstance(dataset, CocoDataset):
        return dataset.category_ids
    return tuple(range(1, len(dataset.class_names) + 1))


def _coco_records(truth: GroundTruth) -> Iterator[dict[str, Any]]:
    """Yield COCO's fields of each object, with its label as category."""
    areas = box_area(truth.boxes) if truth.areas is None else truth.areas
    for box, area, label, ignore in zip(truth.boxes.tolist(), areas, truth.labels, truth.ignore, strict=True):
        x1, y1, x2, y2 = box  # subtracted as Python's floats: as float32 the sum would miss the corner
        sides = [x1, y1, x2 - x1, y2 - y1]
        yield {"category_id": int(label), "bbox": sides, "area": float(area), "iscrowd": int(ignore)}


def _annotation(dataset: DetectionDataset, i: int, filename: str, *, first_pixel: int, depth: bool = True) -> str:
    truth = dataset.ground_truth(i)
    width, height = _size(dataset, i, truth)
    objects = [
        AnnotatedObject(name, (box[0], box[1], box[2], box[3]), difficult)
        for name, box, difficult in zip(truth.names(), truth.boxes.tolist(), truth.ignore.tolist(), strict=True)
    ]
    return annotation_text(filename, width, height, objects, first_pixel, depth=depth)


def _size(dataset: DetectionDataset, i: int, truth: GroundTruth) -> tuple[int, int]:
    """Return width and height of a photograph, which is opened only if the truth does not know them."""
    if truth.width is not None and truth.height is not None:
        return truth.width, truth.height
    height, width = dataset.load_image(i).shape[:2]
    return width, height


def _text_ids(dataset: DetectionDataset) -> list[str]:
    """Return ids that a list with one id a line gives back."""
    found = [
        image_id if isinstance(image_id, str) else dataset.path(i).stem for i, image_id in enumerate(dataset.image_ids)
    ]
    for image_id in found:
        if split_line(image_id) != (image_id, None) or not image_id.isprintable() or not is_inside(image_id):
            raise InputError(f"cannot write the image id {image_id!r} into a list with one id a line; rename the image")
    _check_distinct(found)
    return found


def _names(dataset: DetectionDataset) -> list[str]:
    found = [dataset.path(i).name for i in range(len(dataset))]
    _check_distinct([Path(name).stem for name in found])
    return found


def _check_distinct(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"two images are called {name!r}; rename one")
        seen.add(name)


def _write_classes(dataset: DetectionDataset, folder: Path) -> None:
    """Write the class names one a line, if there are any: a folder without annotations has no classes."""
    _check_class_names(dataset)
    if dataset.class_names:
        _put(folder / "classes.txt", "".join(f"{name}\n" for name in dataset.class_names).encode())


def _write_synsets(dataset: DetectionDataset, folder: Path) -> None:
    """Write ILSVRC's table of classes, if there are any."""
    _check_class_names(dataset)
    english = dataset.display_names if isinstance(dataset, IlsvrcDetDataset) else dataset.class_names
    rows = [f"{n}\t{wnid}\t{name}" for n, (wnid, name) in enumerate(zip(dataset.class_names, english, strict=True), 1)]
    if rows:
        _put(folder / "classes.tsv", "\n".join(["det_id\twnid\tname", *rows, ""]).encode())


def _check_class_names(dataset: DetectionDataset) -> None:
    for name in dataset.class_names:
        if not name or name != name.strip() or not name.isprintable():
            raise InputError(f"cannot write the class name {name!r} into a list with one name a line")


def _new_file(path: Path) -> Path:
    if path.exists():
        raise InputError(f"{path} is already there; write to another folder or give another name for the split")
    return path


def _put(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with the same content; another content is not overwritten."""
    if path.exists():
        if path.read_bytes() != content:
            raise InputError(f"{path} is already there with another content; write to another folder")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
