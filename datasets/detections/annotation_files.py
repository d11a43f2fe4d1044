"""Detections as annotations that other tools open: to be mended by hand, looked at, or trained on.

    coco          COCO's results JSON, which pycocotools and eval_map score
    coco-set      COCO's data set JSON, scores beside the boxes: FiftyOne (COCODetectionDataset), CVAT ("COCO 1.0")
    voc           an XML for each photograph: CVAT ("PASCAL VOC 1.1"), labelImg, and open_dataset("folder") beside them
    yolo          a text for each photograph, class x y width height score, and classes.txt
    cvat          CVAT's own XML, "CVAT for images 1.1"
    label-studio  Label Studio's JSON, tasks with predictions, and the labelling interface beside it (*.config.xml)

A photograph is known by the name of its file; an id by the number that is its name, or else by its place. Files of
photographs of one name get a number, those of a video's frames theirs: clip-000006.txt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

from inception_rcnn.datasets.class_matching import coco_classes
from inception_rcnn.datasets.detections.image_names import entry_stem, told_apart
from inception_rcnn.datasets.reading.box_rules import AnnotatedObject
from inception_rcnn.datasets.voc_xml import annotation_text
from inception_rcnn.structures.files import write_json, write_packed, write_whole

# COCO numbers its 80 classes up to 90.
_GAPS: Final = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_COCO_IDS: Final = tuple(number for number in range(1, 91) if number not in _GAPS)

Entries = Sequence[Mapping[str, Any]]


def coco_category_ids(class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of a detector's classes: COCO's own for its 80, else 1, 2, 3 ...

    >>> coco_category_ids(("cat", "dog"))
    (1, 2)
    """
    return _COCO_IDS if tuple(class_names) == coco_classes() else tuple(range(1, len(class_names) + 1))


def write_coco_results(path: Path, entries: Entries, class_names: Sequence[str]) -> None:
    """Write COCO's results: a list of image_id, category_id, bbox (x y width height), score.

    Args:
        path: *.json or *.json.gz; its folder must exist.
        entries: Photographs as `detect --json` has them.
        class_names: Of the detector.
    """
    of_name = dict(zip(class_names, coco_category_ids(class_names), strict=True))
    records = [
        {"image_id": image_id, "category_id": of_name[one["label"]], "bbox": _sized(one["box"]), "score": one["score"]}
        for image_id, entry in zip(_ids(entries), entries, strict=True)
        for one in entry["detections"]
    ]
    write_packed(path, json.dumps(records, separators=(",", ":")).encode())


def write_coco_set(path: Path, entries: Entries, class_names: Sequence[str]) -> None:
    """Write a data set of COCO's whose objects are the detections; args as for `write_coco_results`."""
    of_name = dict(zip(class_names, coco_category_ids(class_names), strict=True))
    ids, annotations = _ids(entries), list[dict[str, Any]]()
    for image_id, entry in zip(ids, entries, strict=True):
        for one in entry["detections"]:
            sized = _sized(one["box"])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": of_name[one["label"]],
                    "bbox": sized,
                    "area": sized[2] * sized[3],
                    "iscrowd": 0,
                    "score": one["score"],
                }
            )
    document = {
        "info": {"description": "detections of inception-rcnn"},
        "images": [
            {"id": image_id, "file_name": _file_name(entry), "width": entry["width"], "height": entry["height"]}
            for image_id, entry in zip(ids, entries, strict=True)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in of_name.items()],
    }
    write_json(path, document)


def write_voc_annotations(path: Path, entries: Entries, class_names: Sequence[str]) -> None:
    """Write an XML for each photograph into a folder, made if need be; scores have no place in it."""
    path.mkdir(parents=True, exist_ok=True)
    for stem, entry in zip(told_apart(list(map(entry_stem, entries))), entries, strict=True):
        objects = [AnnotatedObject(one["label"], tuple(one["box"])) for one in entry["detections"]]
        size = (entry["width"], entry["height"])
        write_whole(path / f"{stem}.xml", annotation_text(_file_name(entry), size, objects, 1))


def write_yolo_labels(path: Path, entries: Entries, class_names: Sequence[str]) -> None:
    """Write a text for each photograph into a folder, made if need be, and classes.txt."""
    path.mkdir(parents=True, exist_ok=True)
    of_name = {name: label for label, name in enumerate(class_names)}
    for stem, entry in zip(told_apart(list(map(entry_stem, entries)), {"classes"}), entries, strict=True):
        lines = []
        for one in entry["detections"]:
            x, y, width, height = _sized(one["box"])
            shares = ((x + width / 2), (y + height / 2), width, height)
            sides = (entry["width"], entry["height"]) * 2
            numbers = " ".join(f"{value / side:.6f}" for value, side in zip(shares, sides, strict=True))
            lines.append(f"{of_name[one['label']]} {numbers} {one['score']:.6f}\n")
        write_whole(path / f"{stem}.txt", "".join(lines))
    write_whole(path / "classes.txt", "".join(f"{name}\n" for name in class_names))


def write_cvat(path: Path, entries: Entries, class_names: Sequence[str]) -> None:
    """Write CVAT's XML for images; args as for `write_coco_results`."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = _xml(name)
        ElementTree.SubElement(label, "attributes")
    for number, entry in enumerate(entries):
        image = ElementTree.SubElement(
            root,
            "image",
            id=str(number),
            name=_xml(_file_name(entry)),
            width=str(entry["width"]),
            height=str(entry["height"]),
        )
        for one in entry["detections"]:
            of_box = {"label": _xml(one["label"]), "source": "auto", "occluded": "0", "z_order": "0"}
            sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{side:.2f}" for side in one["box"]), strict=True))
            ElementTree.SubElement(image, "box", {**of_box, **sides})
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    write_whole(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def write_label_studio(path: Path, entries: Entries, class_names: Sequence[str]) -> None:
    """Write Label Studio's tasks with predictions, and beside them the labelling interface that they go with.

    Photographs are named as by its local storage, whose root is where the command was called, or a folder above what
    is named by its whole path.
    """
    tasks = []
    for entry in entries:
        results = [_ls_result(number, one, entry) for number, one in enumerate(entry["detections"])]
        scores = [one["score"] for one in entry["detections"]]
        tasks.append(
            {
                "data": {"image": f"/data/local-files/?d={_local_file(entry['image'])}"},
                "predictions": [
                    {"model_version": "inception-rcnn", "score": max(scores, default=0.0), "result": results}
                ],
            }
        )
    write_json(path, tasks)
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    choices = ElementTree.SubElement(view, "RectangleLabels", name="label", toName="image")
    for name in class_names:
        ElementTree.SubElement(choices, "Label", value=_xml(name))
    ElementTree.indent(view)
    write_whole(path.with_suffix(".config.xml"), ElementTree.tostring(view, encoding="unicode") + "\n")


def _ls_result(number: int, one: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a detection as Label Studio's prediction has it: in per cent of the photograph."""
    x, y, width, height = _sized(one["box"])
    across, down = 100 / entry["width"], 100 / entry["height"]
    return {
        "id": f"{number + 1}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": entry["width"],
        "original_height": entry["height"],
        "image_rotation": 0,
        "score": one["score"],
        "value": {
            "x": x * across,
            "y": y * down,
            "width": width * across,
            "height": height * down,
            "rotation": 0,
            "rectanglelabels": [one["label"]],
        },
    }


def _sized(box: Sequence[float]) -> list[float]:
    """Return x y width height."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _file_name(entry: Mapping[str, Any]) -> str:
    return PurePath(entry["image"]).name


def _ids(entries: Entries) -> list[int]:
    """Return an id for each photograph: the number that is its name, as COCO's have one, or else its place from 1."""
    stems = [PurePath(entry["image"]).stem for entry in entries]
    if all(stem.isascii() and stem.isdigit() for stem in stems) and len({int(stem) for stem in stems}) == len(stems):
        return [int(stem) for stem in stems]
    return list(range(1, len(entries) + 1))


def _local_file(name: str) -> str:
    """Return the name of a file as a part of a URL; one that leads upwards, which no server follows, as a whole one."""
    path = os.path.normpath(name)
    if PurePath(path).parts[:1] == (os.pardir,):
        path = os.path.abspath(path)
    return quote(os.fsencode(PurePath(path).as_posix()))


def _xml(text: str) -> str:
    """Return a text without the characters that XML cannot hold."""
    return "".join(one if one.isprintable() else "?" for one in text)
