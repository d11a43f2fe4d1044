"""Small data sets with real annotations, laid out as their makers do; the photographs are grey."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image

DATA = Path(__file__).resolve().parent / "datasets" / "data"
ILSVRC_IMAGE = "ILSVRC2012_val_00008443"


def lay_out(format: str, root: Path) -> None:
    """Write the split "val" of a format into `root`: "coco", "voc" or "ilsvrc"."""
    {"coco": _coco, "voc": _voc, "ilsvrc": _ilsvrc}[format](root)


def _coco(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    shutil.copy(DATA / "coco_val2017.json", root / "annotations" / "instances_val.json")
    for image in json.loads((DATA / "coco_val2017.json").read_text())["images"]:
        _photograph(root / "val" / image["file_name"], image["width"], image["height"])


def _voc(root: Path) -> None:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    shutil.copy(DATA / "voc2007_000005.xml", root / "Annotations" / "000005.xml")
    (root / "ImageSets" / "Main" / "val.txt").write_text("000005\n")
    (root / "ImageSets" / "Main" / "chair_val.txt").write_text("000005  1\n")
    _photograph(root / "JPEGImages" / "000005.jpg", 500, 375)


def _ilsvrc(root: Path) -> None:
    for folder in ("ILSVRC2013_DET_bbox_val", "data/det_lists"):
        (root / folder).mkdir(parents=True)
    shutil.copy(DATA / f"{ILSVRC_IMAGE}.xml", root / "ILSVRC2013_DET_bbox_val")
    (root / "data" / "det_lists" / "val.txt").write_text(f"{ILSVRC_IMAGE} 2558\n")
    _photograph(root / "ILSVRC2013_DET_val" / f"{ILSVRC_IMAGE}.JPEG", 333, 500)


def _photograph(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (width, height), 128).save(path, "JPEG")
