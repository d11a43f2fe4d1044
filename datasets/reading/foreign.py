"""Annotations in formats that are not read where they lie: named, with the export to choose, and never passed over."""

from __future__ import annotations

import codecs
import json
import os
import re
from pathlib import Path
from typing import Final

from inception_rcnn.datasets.reading.finding import Finder, folded, image_ending
from inception_rcnn.datasets.reading.texts import number_of

_LARGEST: Final = 64 * 2**20  # bytes of a JSON that is looked into
_BEGINNING: Final = 4096
_NUMBER: Final = re.compile(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", re.IGNORECASE)
_CORNERS: Final = (
    *({"xmin", "ymin"}, {"x1", "y1"}, {"x_min", "y_min"}, {"bbox_x", "bbox_y"}, {"bbox"}),
    {"region_shape_attributes"},
)
_SAID: Final = {
    "yolo": "what looks like YOLO's labels is read with the format yolo alone (--data yolo:DIR)",
    "coco": "what looks like COCO's annotations is read with the format coco alone (--data coco:DIR)",
    "voc": "what looks like PASCAL VOC's annotations is read with the format folder alone (--data folder:DIR)",
    "labelme": "LabelMe's own JSON is not read: convert with labelme2voc or labelme2coco",
    "label studio": "Label Studio's own JSON is not read: export as COCO, Pascal VOC XML or YOLO",
    "via": "VGG Image Annotator's own JSON is not read: export annotations as COCO",
    "createml": "CreateML's JSON is not read: export as COCO, Pascal VOC XML or YOLO",
    "supervisely": "Supervisely's own JSON is not read: export as COCO, Pascal VOC or YOLO",
    "datumaro": "Datumaro's own JSON is not read: export as COCO, Pascal VOC or YOLO",
    "text": "what looks like annotations in a text is not read (YOLO's lines are a class number and x y width height): "
    "convert to COCO, PASCAL VOC or YOLO",
    "csv": "what looks like annotations in CSV is not read: convert to COCO, PASCAL VOC or YOLO",
    "cvat": "CVAT's own XML is not read: export the task as 'COCO 1.0', 'PASCAL VOC 1.1' or YOLO",
}


def foreign_annotations(folder: str | os.PathLike[str], files: Finder, *, own: str = "") -> list[str]:
    """Return a line for each kind of annotation in a folder, or beside it, that a reader passes over.

    Args:
        folder: With photographs, or with folders of photographs.
        files: Finds files.
        own: The kind that the reader does read.
    """
    found: dict[str, list[str]] = {}
    places = [os.fspath(folder), *_inner(folder, files)]
    stems = {folded(os.path.splitext(n)[0]) for place in places for n in files.entries(place) if image_ending(n)}
    for place in places:
        for name, is_folder in files.entries(place).items():
            kind = "" if is_folder or name.startswith(".") else _kind(os.path.join(place, name), stems)
            if kind and kind != own:
                found.setdefault(kind, []).append(os.path.join(place, name))
    above = Path(folder).resolve().parent
    for name, is_folder in files.entries(above).items() if stems and not found else ():
        path = os.path.join(above, name)
        if not is_folder and (kind := _kind(path, set(), tables=True)) and kind != own:
            found.setdefault(kind, []).append(path)
    return [
        f"{number_of(len(paths), 'file')} passed over, such as {paths[0]}: {_SAID[kind]}"
        for kind, paths in found.items()
    ]


def _inner(folder: str | os.PathLike[str], files: Finder) -> list[str]:
    """Return the folders in a folder, and those in these."""
    found = [os.path.join(folder, name) for name, inner in files.entries(folder).items() if inner and name[0] != "."]
    return found + [os.path.join(one, n) for one in found for n, inner in files.entries(one).items() if inner]


def _kind(path: str, stems: set[str], *, tables: bool = False) -> str:
    """Return which format an annotation file is of, nothing if it is none or cannot be told."""
    stem, ending = os.path.splitext(os.path.basename(path))
    ending = ending.lower()
    try:
        if ending == ".txt" and folded(stem) in stems:
            return "yolo" if is_yolo_label(path) else "text" if _is_text_of_boxes(path) else ""
        if ending == ".csv":
            return "csv" if _is_table_of_boxes(path) else ""
        if ending == ".xml" and not tables:
            beginning = _beginning(path)
            return "cvat" if b"<annotations" in beginning else "voc" if b"<annotation" in beginning else ""
        return _kind_of_json(path) if ending == ".json" and (not tables or "annot" in folded(stem)) else ""
    except (OSError, ValueError, RecursionError):
        return ""


def is_yolo_label(path: str | os.PathLike[str]) -> bool:
    """Return whether a text file has YOLO's lines: a class and four shares of the photograph, or more corners."""
    words = [line.split() for line in _first_lines(path)]
    try:
        return bool(words) and all(
            len(line) >= 5 and line[0].isdecimal() and all(-0.5 <= float(word) <= 1.5 for word in line[1:])
            for line in words
        )
    except ValueError:
        return False


def _is_text_of_boxes(path: str) -> bool:
    """Return whether a text file's first lines have four numbers or more each, and words around them or commas."""
    words = [line.replace(",", " ").split() for line in _first_lines(path)]
    return bool(words) and all(sum(bool(_NUMBER.fullmatch(word)) for word in line) >= 4 for line in words)


def json_kind(content: object) -> str:
    """Return which tool's annotations a JSON holds, in the words of `not_read`; nothing if that cannot be told.

    >>> json_kind({"images": [], "annotations": [], "categories": []}), json_kind({"shapes": [], "imagePath": "a.jpg"})
    ('coco', 'labelme')
    """
    if isinstance(content, dict):
        if isinstance(content.get("images"), list) and ("annotations" in content or "categories" in content):
            return "coco"
        if isinstance(content.get("shapes"), list):
            return "labelme"
        if isinstance(content.get("items"), list) and isinstance(content.get("categories"), dict):
            return "datumaro"
        if isinstance(content.get("objects"), list) and isinstance(content.get("size"), dict):
            return "supervisely"
        entries = content.get("_via_img_metadata", content)
        one = next(iter(entries.values()), None) if isinstance(entries, dict) else None
        return "via" if isinstance(one, dict) and "regions" in one and "filename" in one else ""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        one = content[0]
        if "data" in one and ("annotations" in one or "completions" in one):
            return "label studio"
        if "image" in one and isinstance(one.get("annotations"), list):
            return "createml"
        boxes = [value[0] for value in one.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        return "label studio" if any("rectanglelabels" in box or "polygonlabels" in box for box in boxes) else ""
    return ""


def not_read(kind: str) -> str:
    """Return what to say of annotations of a kind, behind the name of a file or files."""
    return _SAID[kind]


def _kind_of_json(path: str) -> str:
    if os.path.getsize(path) > _LARGEST:
        return ""
    return json_kind(json.loads(Path(path).read_bytes()))


def _is_table_of_boxes(path: str) -> bool:
    """Return whether the first line of a CSV names the corners of boxes, or is a line with them."""
    first = next(iter(_first_lines(path)), "")
    words = [word.strip(" \"'\r") for word in first.replace(";", ",").replace("\t", ",").split(",")]
    columns = {folded(word) for word in words}
    numbers = sum(word.replace(".", "", 1).isdecimal() for word in words)
    return any(corners <= columns for corners in _CORNERS) or (numbers >= 4 and any(map(image_ending, words)))


def _first_lines(path: str | os.PathLike[str]) -> list[str]:
    """Return those of the first three lines that are not empty."""
    start = _beginning(path)
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return [line for line in start.decode(encoding, "replace").splitlines()[:3] if line.strip()]


def _beginning(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read(_BEGINNING)
