"""PASCAL VOC: lists in ImageSets/Main, an XML file for each image.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", and its development kit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Unpack

from inception_rcnn.datasets.base import AnnotatedDataset, ReadingOptions, existing_folder
from inception_rcnn.datasets.image_lists import read_class_list, read_image_list
from inception_rcnn.datasets.reading.box_rules import AnnotatedObject
from inception_rcnn.datasets.reading.finding import Finder, did_you_mean, folded, image_ending, is_split_name
from inception_rcnn.datasets.reading.foreign import foreign_annotations
from inception_rcnn.datasets.reading.pairing import annotation_of, photograph_of
from inception_rcnn.datasets.reading.texts import number_of
from inception_rcnn.datasets.voc_xml import SIDES, Annotation
from inception_rcnn.datasets.writing import new_file, put, text_ids, write_class_list, xml_of
from inception_rcnn.structures import DataFormatError, InputError
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.drawing import is_own_picture
from inception_rcnn.structures.files import decode_json

VOC_CLASSES: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The twenty classes of 2007 and later, in alphabetical order."""

_EXTRA = "difficult_from_masks.json"
_ANNOTATION_FOLDERS = ("Annotations", "annotation", "xml", "xmls", "labels_xml")
_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "photos", "pictures")


class VocDataset(AnnotatedDataset):
    """The images and objects of one split of a data set in PASCAL VOC's format.

    The truth is read and checked at once, images are opened when asked for. VOC counts pixels from 1 and includes
    the last one: its box 1 1 10 10 is 0 0 10 10 here. Objects marked as difficult are to be ignored; `truncated`,
    `occluded`, `pose` and the parts of persons play no role. An object with a polygon alone gets the box around it.

    The classes are those in ``DIR/classes.txt``, one a line, if there is such a file; otherwise VOC's twenty if there
    are lists and the split has no others; otherwise all that occur in ``DIR/Annotations``, whatever the split, in
    alphabetical order.

    The image of an id is the file in ``JPEGImages`` with that name and any ending; if there are several, or none,
    the annotation's `filename` decides, then its width and height. Both may lie in folders below. Regions in
    ``DIR/difficult_from_masks.json``, ``{id: [{"name": class, "box": [xmin, ymin, xmax, ymax]}]}``, are appended to the
    objects of their images, to be ignored.

    Args:
        root: The folder, with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages`` in it. Photographs may be in
            ``images``, too, or beside the XML.
        split: Name of a list: ``ImageSets/Main/<split>.txt``, of ids, files or paths; or of a folder in which all this
            is. Of a list for one class, such as ``cat_train``, all images are taken. None: the only list, or, where
            there are none, all annotations.
        options: See `ReadingOptions`.

    Raises:
        InputError: There is no such folder or list, or there are several and none is named.
        DataFormatError: An annotation is missing or no VOC XML; an image is missing; an object has no class, an
            unknown one, no area, or is not in the image. The text names the file and the object.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str | None = None, **options: Unpack[ReadingOptions]
    ) -> None:
        folder = existing_folder(root, "Annotations, ImageSets and JPEGImages")
        super().__init__(folder, split, format="voc", box_words=" ".join(SIDES), first_pixel=1, **options)
        self._files = Finder()
        layout = _layout(folder, split, self._files)
        self.split = layout.split
        self.splits = tuple(layout.lists) or voc_parts(folder, self._files)
        names = layout.top / "classes.txt"
        names = names if names.is_file() else folder / "classes.txt"
        known = read_class_list(names, self._guessed.append) if names.is_file() else None
        extra = _extra_regions(layout.top / _EXTRA, known)
        for image_id, path in self._listed(layout):
            with self._broken.skipping():
                if not path:
                    raise DataFormatError(
                        f"the annotation is missing{self._files.close_to([layout.annotations], f'{image_id}.xml')}",
                        path=os.path.join(layout.annotations, f"{image_id}.xml"),
                    )
                annotation = Annotation(Path(path), self._guessed.append)
                inner = os.path.splitext(os.path.relpath(path, layout.annotations))[0]
                image = photograph_of(annotation, list(dict.fromkeys((image_id, inner))), layout.images, self._files)
                objects = annotation.objects(self._rules.first_pixel, self._broken, known, os.fspath(names))
                self._add(image_id, image, [*objects, *extra.get(image_id, [])], annotation.path, annotation.size)
        self._complete(known or self._classes(layout))
        if len(self) == 0 or not (layout.lists or self._broken.lines):
            self._say_passed_over(layout)

    def _listed(self, layout: _Layout) -> Iterator[tuple[str, str]]:
        """Yield ids with the XML of each, an empty text where it is missing."""
        if layout.listed is None:
            for path in self._files.walk(layout.annotations):
                if path.lower().endswith(".xml"):
                    inner = os.path.splitext(os.path.relpath(path, layout.annotations))[0].replace(os.sep, "/")
                    yield inner.removesuffix(image_ending(inner)), path
            return
        places = [layout.annotations]

        def holds(name: str) -> bool:
            return annotation_of(name, places, self._files) is not None

        lines: dict[str, str] = {}
        for line in read_image_list(layout.listed, self._broken, holds, say=self._guessed.append):
            with self._broken.skipping():
                image_id, path = annotation_of(line, places, self._files) or (line, "")
                if path and path in lines:
                    raise DataFormatError(
                        f"the ids {lines[path]!r} and {line!r} are of one annotation", path=layout.listed, place=line
                    )
                lines[path] = line
                yield image_id, path

    def _classes(self, layout: _Layout) -> tuple[str, ...]:
        if layout.lists and not set(self._names) - set(VOC_CLASSES):
            return VOC_CLASSES
        return tuple(sorted({*self._names, *class_names_in(layout.annotations, self._files)}))

    def _say_passed_over(self, layout: _Layout) -> None:
        """Say which photographs have no annotation, and what else could have been meant for one."""
        used = set(self._paths)
        places = [path for path in layout.images if path != os.fspath(layout.top)] or layout.images
        bare = [path for place in places for path in self._files.walk(place) if image_ending(path) and path not in used]
        bare = [path for path in bare if not is_own_picture(path)]
        if bare and not layout.lists:
            self._note(f"{number_of(len(bare), 'photograph')} without annotation left out, the first: {bare[0]}")
        for line in foreign_annotations(layout.top, self._files) if len(self) == 0 else ():
            self._note(line)


class _Layout(NamedTuple):
    """Where the files of a split are.

    Args:
        split: Its name; None: there are no parts.
        top: The folder that they are all in.
        annotations: The folder of the XML.
        images: Those in which photographs may be, the likeliest first.
        listed: The list of the split; None: all annotations.
        lists: All lists, by the names of their splits.
    """

    split: str | None
    top: Path
    annotations: str
    images: list[str]
    listed: Path | None
    lists: dict[str, Path]


def _layout(root: Path, split: str | None, files: Finder) -> _Layout:
    """Return where the files of a split are.

    Raises:
        InputError: There is no such split, or several, and none is named.
    """
    lists = _lists(root, files)
    listed = None if split is None else lists.get(split) or _class_list(root, split, files)
    top = root
    if split is None and lists:
        if len(lists) > 1:
            raise InputError(f"{root} has the parts {', '.join(lists)}; name one as the split")
        listed = next(iter(lists.values()))
    elif split is None and voc_annotations(root, files) is None and (parts := voc_parts(root, files)):
        if len(parts) > 1:
            raise InputError(f"{root} has the parts {', '.join(parts)}; name one as the split")
        split, top = parts[0], root / parts[0]
    elif split is not None and listed is None:
        inner = files.child(root, split)
        if inner is None or not voc_annotations(root / inner, files):
            raise InputError(f"no list for split {split!r}: {_no_list(root, split, lists, files)}")
        top = root / inner
    annotations = voc_annotations(top, files) or os.fspath(top)
    own = [name for name in files.entries(top) if folded(name) in _IMAGE_FOLDERS and files.entries(top)[name]]
    images = [os.path.join(top, name) for name in sorted(own, key=lambda one: _IMAGE_FOLDERS.index(folded(one)))]
    images = list(dict.fromkeys([*images, annotations, os.fspath(top)]))
    return _Layout(listed.stem if listed and split is None else split, top, annotations, images, listed, lists)


def voc_annotations(folder: Path, files: Finder) -> str | None:
    """Return the folder of XML in a data set's folder, None if it has none."""
    for name in _ANNOTATION_FOLDERS:
        found = files.child(folder, name)
        if found is not None and files.entries(folder)[found]:
            place = os.path.join(folder, found)
            if any(path.lower().endswith(".xml") for path in files.walk(place)):
                return place
    return None


def voc_parts(root: Path, files: Finder) -> tuple[str, ...]:
    """Return the names of a VOC data set's parts: its lists, or the folders that have annotations of their own."""
    lists = _lists(root, files)
    inner = (name for name, is_folder in files.entries(root).items() if is_folder and is_split_name(name))
    return tuple(lists) or tuple(name for name in inner if voc_annotations(root / name, files))


def _lists(root: Path, files: Finder) -> dict[str, Path]:
    """Return the lists of images by the names of their splits, without those for one class."""
    found: dict[str, Path] = {}
    for parts in (("ImageSets", "Main"), ("ImageSets",)):
        folder = files.follow(root, parts)
        for name, is_folder in files.entries(folder).items() if folder is not None else ():
            stem, ending = os.path.splitext(name)
            if not is_folder and ending.lower() == ".txt" and not name.startswith("."):
                found.setdefault(stem, Path(folder or "", name))
        if found:
            break
    return {name: path for name, path in found.items() if name.rpartition("_")[2] not in found or "_" not in name}


def _class_list(root: Path, split: str, files: Finder) -> Path | None:
    """Return a list for one class, such as cat_train, or one whose name reads the same."""
    found = files.follow(root, ("ImageSets", "Main", f"{split}.txt"))
    return None if found is None else Path(found)


def _no_list(root: Path, split: str, lists: dict[str, Path], files: Finder) -> str:
    """Return what to say of a split without a list."""
    asked = root / "ImageSets" / "Main" / f"{split}.txt"
    if lists:
        return f"{asked} does not exist; there are {', '.join(lists)}{did_you_mean(split, list(lists))}"
    deeper = [name for name, is_folder in files.entries(root).items() if is_folder and _lists(root / name, files)]
    if deeper:
        return f"{asked} does not exist; {root / deeper[0]} has lists: name that folder"
    if parts := voc_parts(root, files):
        return f"{asked} does not exist; there are the folders {', '.join(parts)}{did_you_mean(split, parts)}"
    return f"{asked} does not exist; without a split all annotations are read"


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
        text = xml_of(dataset, i, Path(name).name, first_pixel=1)
        put(folder / "JPEGImages" / name, file.read_bytes())
        put(folder / "Annotations" / f"{image_id}.xml", text.encode())
    put(listed, "".join(f"{image_id}\n" for image_id in ids).encode())


def class_names_in(folder: str | os.PathLike[str], files: Finder) -> Iterator[str]:
    """Return the class names in all annotations below a folder; files that cannot be read tell none."""
    for path in files.walk(folder):
        if path.lower().endswith(".xml"):
            try:
                yield from Annotation(Path(path)).class_names()
            except DataFormatError:
                continue


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
