"""Small sets of real photographs, and a small run of every long-running command on them.

The photographs are cut from five that come with scikit-image, at random places that leave most of an object in, and
reduced; the boxes were drawn by hand to a few pixels. The detectors are the shipped ones, told to look at small copies
and at few regions, so that a run takes seconds and still finds something.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.detector.checkpoints import read_region_network, save_region_classifier
from inception_rcnn.detector.region_pooling import PooledNetwork

# x1 y1 x2 y2 in pixels, x2 and y2 exclusive, by file and class.
OBJECTS: dict[str, tuple[str, tuple[int, int, int, int]]] = {
    "astronaut.png": ("person", (21, 16, 362, 512)),
    "chelsea.png": ("cat", (0, 0, 382, 300)),
    "coffee.png": ("cup", (171, 18, 408, 312)),
    "rocket.jpg": ("rocket", (308, 126, 336, 410)),
    "motorcycle_left.png": ("motorcycle", (88, 80, 682, 454)),
}
CLASSES = ("person", "cat", "cup", "rocket", "motorcycle")
_LONG_SIDE = 128
_VISIBLE = 0.6  # of an object's area, for it to count in a cut
_SHORT_SIDE = 96  # that the small detector looks at
_REGIONS = 20
SMALL_SEARCH = {"mode": "single", "width": 128, "min_side": 8}  # where proposals are sought


@dataclass(frozen=True)
class Materials:
    """What the runs work on; a folder that is copied where a fault changes something in it.

    Args:
        root: Of all of it.
    """

    root: Path

    @property
    def coco(self) -> Path:
        """A data set in COCO's layout, parts train and val."""
        return self.root / "coco"

    @property
    def photographs(self) -> Path:
        """Those of part val alone."""
        return self.coco / "val"

    @property
    def model(self) -> Path:
        """A pooled detector for small photographs."""
        return self.root / "small.safetensors"

    def detections(self, name: str) -> Path:
        """Return the file of what the "first" or the "second" of two detectors found, in COCO's format."""
        return self.root / f"{name}.json"

    def copy(self, root: Path) -> Materials:
        """Return a copy of its own."""
        shutil.copytree(self.root, root)
        return Materials(root)

    def annotations(self, part: str) -> Path:
        """Return the file of a part's objects."""
        return self.coco / "annotations" / f"instances_{part}.json"

    def replace_photograph(self, part: str, number: int) -> None:
        """Put another photograph into the place of one: the same, seen in a mirror."""
        path = sorted((self.coco / part).iterdir())[number]
        with Image.open(path) as image:
            other = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        other.save(path)

    def move_object(self, part: str, number: int) -> None:
        """Change the box of one object."""
        path = self.annotations(part)
        truth = json.loads(path.read_text())
        x, y, width, height = truth["annotations"][number]["bbox"]
        truth["annotations"][number]["bbox"] = [x, y, width / 2, height / 2]
        truth["annotations"][number]["area"] = width * height / 4
        path.write_text(json.dumps(truth))

    def change_weights(self) -> None:
        """Put other weights into the small detector: one bias is another."""
        network, description = read_region_network(self.model)
        bias = network.state_dict()["classifier.bias"]
        bias[:3] += 0.25
        network.load_state_dict({**network.state_dict(), "classifier.bias": bias})
        save_region_classifier(self.model, network, description)


def make_materials(root: Path, *, train: int = 8, val: int = 12, seed: int = 0) -> Materials:
    """Write photographs, their objects and a small detector into a folder.

    Args:
        root: Made here.
        train: Photographs to train on.
        val: Others.
        seed: Of the places that they are cut from.
    """
    materials = Materials(root)
    rng = np.random.default_rng(seed)
    materials.annotations("train").parent.mkdir(parents=True)
    for part, count in (("train", train), ("val", val)):
        _write_part(materials, part, count, rng)
    for name, shift in (("first", 2), ("second", 20)):
        _write_detections(materials, name, shift)
    network, description = read_region_network("coco")
    assert isinstance(network, PooledNetwork) and description.pooling is not None
    network.spec = replace(network.spec, short_side=_SHORT_SIDE)
    small = replace(
        description,
        pooling=network.spec,
        proposal_settings={**description.proposal_settings, "source": "selective-search", **SMALL_SEARCH},
        max_proposals=_REGIONS,
    )
    save_region_classifier(materials.model, network, small)
    return materials


def _write_part(materials: Materials, part: str, count: int, rng: np.random.Generator) -> None:
    """Write photographs and objects of a part in COCO's layout."""
    folder = materials.coco / part
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, count + 1):
        name = tuple(OBJECTS)[number % len(OBJECTS)]
        pixels, box = _cut(name, rng)
        image = Image.fromarray(pixels)
        image.thumbnail((_LONG_SIDE, _LONG_SIDE))
        image.save(folder / f"{number:03d}.png")
        factor = image.width / pixels.shape[1]
        x1, y1, x2, y2 = (round(value * factor, 2) for value in box)
        images.append({"id": number, "file_name": f"{number:03d}.png", "width": image.width, "height": image.height})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1 + CLASSES.index(OBJECTS[name][0]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
        )
    categories = [{"id": 1 + place, "name": name} for place, name in enumerate(CLASSES)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    materials.annotations(part).write_text(json.dumps(truth))


def _write_detections(materials: Materials, name: str, shift: float) -> None:
    """Write what a detector might have found in part val: every object, so many pixels beside its place."""
    truth = json.loads(materials.annotations("val").read_text())
    found = [
        {
            "image_id": one["image_id"],
            "category_id": one["category_id"],
            "bbox": [one["bbox"][0] + shift, *one["bbox"][1:]],
            "score": 1 / (1 + one["id"]),
        }
        for one in truth["annotations"]
    ]
    materials.detections(name).write_text(json.dumps(found))


def _cut(name: str, rng: np.random.Generator) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Return a window of a photograph with most of its object, and the object's box in it."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = OBJECTS[name][1]
    while True:
        left, top = rng.integers(0, width // 3), rng.integers(0, height // 3)
        right, bottom = rng.integers(2 * width // 3, width + 1), rng.integers(2 * height // 3, height + 1)
        inside = max(x1, left), max(y1, top), min(x2, right), min(y2, bottom)
        area = max(0, inside[2] - inside[0]) * max(0, inside[3] - inside[1])
        if area >= _VISIBLE * (x2 - x1) * (y2 - y1):
            shifted = inside[0] - left, inside[1] - top, inside[2] - left, inside[3] - top
            return np.ascontiguousarray(pixels[top:bottom, left:right]), tuple(map(float, shifted))  # type: ignore


@dataclass(frozen=True)
class SmallRun:
    """A command on the materials.

    Args:
        name: In tables.
        words: Materials, folder of the results -> the command line.
        processes: Above 1: torchrun starts so many.
        prepare: Writes what the command needs besides the materials into the folder of the results; None: nothing.
        is_training: Whether it learns.
    """

    name: str
    words: Callable[[Materials, Path], list[str]]
    processes: int = 1
    prepare: Callable[[Materials, Path], None] | None = None
    is_training: bool = False


def _propose(materials: Materials, output: Path) -> list[str]:
    where = ["--data", f"coco:{materials.coco}", "--split", "val", *_EXACT]
    made = ["--output", str(output / "boxes.safetensors"), "--json", str(output / "boxes.json")]
    search = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL_SEARCH.items()]
    return ["propose", *where, *made, *_SOURCE, *search, "--quiet"]


def _eval_map(materials: Materials, output: Path) -> list[str]:
    where = ["--data", f"coco:{materials.coco}", "--split", "val", "--weights", str(materials.model), *_EXACT]
    made = ["--output", str(output / "found.safetensors"), "--json", str(output / "map.json")]
    return ["eval_map", *where, *made, "--report", str(output / "report"), *_ON_CPU, "--quiet"]


def _detect(materials: Materials, output: Path) -> list[str]:
    made = ["--output", str(output / "pictures"), "--json", str(output / "found.json"), "--crops", str(output / "cut")]
    tables = ["--write", f"csv:{output / 'found.csv'}", "--write", f"voc:{output / 'voc'}"]
    return ["detect", str(materials.photographs), "--weights", str(materials.model), *made, *tables, *_ON_CPU]


def _archive(materials: Materials, output: Path) -> list[str]:
    made = ["--engine", "local", "--per-shard", "2", "--output", str(output / "found"), "--quiet"]
    return ["detect", str(materials.photographs), "--weights", str(materials.model), *made, *_ON_CPU]


def _pooled(materials: Materials, output: Path) -> list[str]:
    return ["train", *_trained_on(materials, output), "--pretrained", str(materials.model), *_SMALL_POOLED]


def _pooled_shared(materials: Materials, output: Path) -> list[str]:
    return [*_pooled(materials, output), "--photographs", "2"]


def _warped(materials: Materials, output: Path) -> list[str]:
    start = ["--pretrained", "coco-mini", "--linear-batches", "1"]
    return ["train", *_trained_on(materials, output), *start, "--iterations", "6", "--train-from", "5b", *_LEARN]


def _multibox(materials: Materials, output: Path) -> list[str]:
    where = ["--data", f"coco:{materials.coco}", "--split", "train", "--output", str(output / "run"), *_EXACT]
    small = ["--side", "64", "--iterations", "8", "--batch", "2", "--train-from", "5b"]
    return ["train_multibox", *where, "--pretrained", "multibox", *small, "--device", "cpu", "--quiet"]


def _ensemble(materials: Materials, output: Path) -> list[str]:
    plan = output / "plan.toml"
    return ["train_ensemble", str(plan), "--output", str(output / "run"), "--device", "cpu", "--quiet"]


def _write_plan(materials: Materials, output: Path) -> None:
    """Write a plan of two members, of which the second starts from the first."""
    common = {
        "data": f"coco:{materials.coco}",
        "split": "train",
        "origin": 0,
        "source": "selective-search",
        "iterations": 3,
        "photographs": 1,
        "regions-each": 8,
        "train-from": "5b",
        "scales": "1",
        "cells": "3,2",
        "short-side": _SHORT_SIDE,
        "log-every": 1,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in common.items()]
    lines += ["[members.first]", f"pretrained = {json.dumps(str(materials.model))}", "seed = 1"]
    lines += ["[members.second]", 'pretrained = "OUTPUT/first/model.safetensors"', "seed = 2"]
    (output / "plan.toml").write_text("\n".join(lines) + "\n")


def _trained_on(materials: Materials, output: Path) -> list[str]:
    where = ["--data", f"coco:{materials.coco}", "--split", "train", "--val-split", "val", *_EXACT]
    return [*where, "--output", str(output / "run"), *_SOURCE, "--quiet"]


_EXACT = ["--origin", "0"]  # of boxes that reach the border a warning would ask
_SOURCE = ["--source", "selective-search"]
_ON_CPU = ["--device", "cpu", "--runtime", "torch", "--precision", "fp32"]
_LEARN = ["--log-every", "1", "--device", "cpu"]
_SMALL_POOLED = [
    *("--iterations", "6", "--photographs", "1", "--regions-each", "8", "--train-from", "5b", "--scales", "1"),
    *("--cells", "3,2", "--short-side", str(_SHORT_SIDE), "--validate-every", "3", "--validate-on", "4", *_LEARN),
]
RUNS: dict[str, SmallRun] = {
    one.name: one
    for one in (
        SmallRun("propose", _propose),
        SmallRun("eval_map", _eval_map),
        SmallRun("detect", _detect),
        SmallRun("detect --engine local", _archive),
        SmallRun("train pooled", _pooled, is_training=True),
        SmallRun("train warped", _warped, is_training=True),
        SmallRun("train_multibox", _multibox, is_training=True),
        SmallRun("train_ensemble", _ensemble, prepare=_write_plan, is_training=True),
        SmallRun("propose torchrun", _propose, processes=2),
        SmallRun("eval_map torchrun", _eval_map, processes=2),
        SmallRun("train torchrun", _pooled_shared, processes=2, is_training=True),
    )
}
