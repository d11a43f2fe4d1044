"""Which format a data set is in, told by what lies in its folder, and which parts it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from inception_rcnn.datasets.coco import coco_truths, is_coco_truth
from inception_rcnn.datasets.folder import folder_parts
from inception_rcnn.datasets.ilsvrc import ilsvrc_parts
from inception_rcnn.datasets.reading.finding import Finder, image_ending, is_split_name
from inception_rcnn.datasets.reading.foreign import foreign_annotations
from inception_rcnn.datasets.voc import voc_annotations, voc_parts
from inception_rcnn.datasets.yolo import has_yolo_labels, yolo_parts, yolo_yaml
from inception_rcnn.structures import InputError

FORMATS: Final = ("coco", "voc", "ilsvrc", "yolo", "folder")
"""What `open_dataset` reads."""

_READ: Final = (
    "COCO (a JSON of images, annotations and categories), PASCAL VOC (Annotations), YOLO (data.yaml, or labels), "
    "ILSVRC DET (ImageSets/DET), or a folder of photographs, with VOC's XML beside them or without"
)
_PACKED: Final = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")


def named_format(data: str | os.PathLike[str]) -> tuple[str | None, Path]:
    r"""Return format and path of "voc:photographs/VOC2007"; of a path alone the format is None.

    >>> named_format("coco:pets")[0], named_format("pets")[0], named_format("C:\\pets")[0]
    ('coco', None, None)
    """
    text = os.fspath(data)
    format, colon, path = text.partition(":")
    return (format, Path(path)) if colon and path and format in FORMATS else (None, Path(text))


def tell_format(path: str | os.PathLike[str]) -> str:
    """Return the format of the data set in a folder, or that a truth file belongs to.

    Raises:
        InputError: There is nothing of that name, or nothing that is read.
    """
    place, files = Path(path), Finder()
    if place.is_file():
        return _format_of_file(place)
    if not place.is_dir():
        raise InputError(
            f"{place} does not exist; give the folder of a data set, or COCO's JSON or YOLO's YAML"
            f"{files.close_to([place.parent], place.name)}"
        )
    if files.follow(place, ("ImageSets", "DET")) or any(name.startswith("ILSVRC201") for name in files.entries(place)):
        return "ilsvrc"
    if yolo_yaml(place, files) is not None:
        return "yolo"
    inner = [place / name for name, is_folder in files.entries(place).items() if is_folder and is_split_name(name)]
    if files.follow(place, ("ImageSets",)) or any(voc_annotations(one, files) for one in (place, *inner)):
        return "voc"
    if coco_truths(place, files):
        return "coco"
    _check_not_deeper(place, files)
    if has_yolo_labels(place, files):
        return "yolo"
    if any(image_ending(one) for one in files.walk(place)):
        return "folder"
    said = foreign_annotations(place, files)
    said += [f"unpack {name} first" for name in files.entries(place) if name.lower().endswith(_PACKED)][:1]
    said = said or [f"neither photographs nor {_READ}"]
    raise InputError(f"{place} holds no data set that is read: {'; '.join(said)}")


def parts_of(format: str, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of a data set's parts, none where it has no such."""
    files, place = Finder(), Path(path)
    if place.is_file():
        return ()
    if format == "coco":
        return tuple(coco_truths(place, files))
    if format == "voc":
        return voc_parts(place, files)
    if format == "ilsvrc":
        return ilsvrc_parts(place)
    return tuple(yolo_parts(place, files)) if format == "yolo" else folder_parts(place, files)


def likely_part(format: str, path: str | os.PathLike[str], *wanted: str) -> str | None:
    """Return the part that is meant where none is named: a wanted one, or the only one; None for a set without.

    Args:
        format: Of the data set.
        path: Its folder.
        wanted: Such as "train"; of several the first that is there.

    Raises:
        InputError: There are several others.
    """
    parts = parts_of(format, path)
    if found := next((name for name in wanted if name in parts), None):
        return found
    if len(parts) > 1:
        raise InputError(f"{path} has no part {wanted[0]!r}; name one of {', '.join(parts)} with --split")
    return parts[0] if parts else None


def _check_not_deeper(place: Path, files: Finder) -> None:
    """Refuse a folder whose photographs are all in data sets that folders in it hold, as unpacked downloads have it.

    Raises:
        InputError: So it is.
    """
    inner = [name for name, is_folder in files.entries(place).items() if is_folder and not name.startswith((".", "__"))]
    found = [name for name in inner if yolo_yaml(place / name, files) or coco_truths(place / name, files)]
    if found and not any(image_ending(path) for path in files.walk(place, splits=found)):
        raise InputError(f"{place} is no data set, but holds {', '.join(found)}; name {place / found[0]}")


def _format_of_file(path: Path) -> str:
    """Return the format of a truth file.

    Raises:
        InputError: It is none.
    """
    ending = path.suffix.lower()
    if ending in (".yaml", ".yml"):
        return "yolo"
    if ending == ".json" and is_coco_truth(path):
        return "coco"
    hint = "; unpack it first" if ending in _PACKED else ""
    raise InputError(f"{path} is no data set: give a folder, COCO's JSON or YOLO's YAML{hint}; read are {_READ}")
