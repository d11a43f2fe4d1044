"""PASCAL VOC: lists in ImageSets/Main, an XML file for each image.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", and its development kit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from inception_rcnn.datasets.base import (
    AnnotatedDataset,
    AnnotatedObject,
    FolderListing,
    existing_folder,
    is_inside,
)
from inception_rcnn.datasets.image_lists import read_class_list, read_image_list
from inception_rcnn.datasets.voc_xml import Annotation
from inception_rcnn.datasets.writing import annotation_of, new_file, put, text_ids, write_class_list
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.files import decode_json

VOC_CLASSES: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The twenty classes of 2007 and later, in alphabetical order."""

_EXTRA = "difficult_from_masks.json"


class VocDataset(AnnotatedDataset):
    """The images and objects of one split of a data set in PASCAL VOC's format.

    The truth is read and checked at once, images are opened when asked for. VOC counts pixels from 1 and includes
    the last one: its box 1 1 10 10 is 0 0 10 10 here. Objects marked as difficult are to be ignored; `truncated`,
    `occluded`, `pose` and the parts of persons play no role.

    The classes are those in ``DIR/classes.txt``, one a line, if there is such a file; otherwise VOC's twenty if the
    split has no others; otherwise all that occur in ``DIR/Annotations``, whatever the split, in alphabetical order.

    The image of an id is the file in ``JPEGImages`` with that name and any ending; if there are several, or none,
    the annotation's `filename` decides. Regions in ``DIR/difficult_from_masks.json``, ``{id: [{"name": class, "box":
    [xmin, ymin, xmax, ymax]}]}``, are appended to the objects of their images, to be ignored.

    Args:
        root: The folder, with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages`` in it.
        split: Name of a list: ``ImageSets/Main/<split>.txt``. Of a list for one class, such as ``cat_train``, all
            images are taken.
        skip_broken: Leave out what is broken (see Raises) and count it in `skipped`, instead of stopping at the first.

    Raises:
        InputError: There is no such folder or list.
        DataFormatError: An annotation is missing or no VOC XML; an image is missing; an object has no class, an
            unknown one, no area, or leaves the image. The text names the file and the object.
    """

    def __init__(self, root: str | os.PathLike[str], split: str, *, skip_broken: bool = False) -> None:
        folder = existing_folder(root, "Annotations, ImageSets and JPEGImages")
        super().__init__(folder, split, skip_broken=skip_broken)
        listed = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not listed.is_file():
            raise InputError(f"no list for split {split!r}: {listed} does not exist")
        names = folder / "classes.txt"
        known = read_class_list(names) if names.is_file() else None
        extra = _extra_regions(folder / _EXTRA, known)
        files, annotations = FolderListing(), folder / "Annotations"
        for image_id in read_image_list(listed, self._broken, lambda name: files.holds(annotations / f"{name}.xml")):
            with self._broken.skipping():
                annotation = Annotation(annotations / f"{image_id}.xml")
                path = _find_image(folder / "JPEGImages", image_id, annotation, files)
                objects = annotation.objects(1, self._broken, known)
                self._add(image_id, path, [*objects, *extra.get(image_id, [])], annotation.path, annotation.size)
        self._complete(known or self._classes())

    def _classes(self) -> tuple[str, ...]:
        if not set(self._names) - set(VOC_CLASSES):
            return VOC_CLASSES
        return tuple(sorted({*self._names, *class_names_in(self.root / "Annotations")}))


def write_voc(dataset: DetectionDataset, root: str | os.PathLike[str], split: str) -> None:
    """Write a data set as PASCAL VOC does, for `VocDataset` to read.

    Objects to ignore become difficult ones. Images with a number as id are called after their file. The classes
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
    listed = new_file(folder / "ImageSets" / "Main" / f"{split}.txt")
    write_class_list(dataset, folder)
    ids = text_ids(dataset)
    for i, image_id in enumerate(ids):
        file = dataset.path(i)
        name = f"{image_id}{file.suffix}"
        text = annotation_of(dataset, i, Path(name).name, first_pixel=1)
        put(folder / "JPEGImages" / name, file.read_bytes())
        put(folder / "Annotations" / f"{image_id}.xml", text.encode())
    put(listed, "".join(f"{image_id}\n" for image_id in ids).encode())


def class_names_in(folder: Path) -> Iterator[str]:
    """Return the class names in all annotations of a folder; files that cannot be read tell none."""
    for path in sorted(folder.glob("*.xml")):
        try:
            yield from Annotation(path).class_names()
        except DataFormatError:
            continue


def _find_image(folder: Path, image_id: str, annotation: Annotation, files: FolderListing) -> str:
    """Return where the image of an id is."""
    found = files.images(folder / image_id)
    named = os.fspath(folder / annotation.filename) if is_inside(annotation.filename) else None
    if named in found or (not found and named is not None and files.holds(named)):
        return str(named)
    if not found:
        raise DataFormatError(
            f"its photograph is missing: neither {image_id}.* nor the filename {annotation.filename!r} is in {folder}",
            path=annotation.path,
        )
    return found[0]


def _extra_regions(path: Path, known: Sequence[str] | None) -> dict[str, list[AnnotatedObject]]:
    """Return the regions to ignore in addition, by image id; none if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = decode_json(path.read_bytes(), path)
        return {image_id: [_region(one, known) for one in regions] for image_id, regions in content.items()}
    except DataFormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataFormatError(
            f'should be {{id: [{{"name": class, "box": [xmin, ymin, xmax, ymax]}}]}}: {error!r:.200}', path=path
        ) from error


def _region(record: Any, known: Sequence[str] | None) -> AnnotatedObject:
    name, (x1, y1, x2, y2) = record["name"], (float(side) for side in record["box"])
    if not isinstance(name, str) or (known is not None and name not in known):
        raise ValueError(f"the class of {record} is unknown")
    if not (1 <= x1 <= x2 < 1e9 and 1 <= y1 <= y2 < 1e9):
        raise ValueError(f"the box of {record} is none")
    return AnnotatedObject(name, (x1 - 1, y1 - 1, x2, y2), ignore=True)
