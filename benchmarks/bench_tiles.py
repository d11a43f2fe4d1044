"""What tiles find that the whole photograph does not show, and what they cost.

    python benchmarks/bench_tiles.py --root coco_mini --limit 40 --tile 320
    python benchmarks/bench_tiles.py --root coco_mini --mosaics 2 --tile 480

The first detects on photographs of a COCO set as ever and in tiles, and prints COCO's figures by the size of objects
(small: below 32 x 32 pixels, large: from 96 x 96). The second lays 36 photographs of about 640 x 480 pixels beside each
other, as one of 12 megapixels whose truth is theirs, and does the same there. Boxes doubled: detections of a score of
0.3 or more that find nothing and lie, by 70 % of their area or more, on an object of their class that another found, as
where a tile shows a part of it; for each hundred.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import machine_line
from numpy.typing import NDArray

from inception_rcnn.datasets import open_dataset
from inception_rcnn.datasets.class_matching import in_classes_of, match_classes
from inception_rcnn.detector import Detector, load_detector
from inception_rcnn.detector.postprocessing import counting_all
from inception_rcnn.detector.tiling import TileSettings, detect_in_tiles
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.structures import Detections, GroundTruth, pairwise_iou, resize_image
from inception_rcnn.structures.boxes import share_inside
from inception_rcnn.structures.dataset import DetectionDataset

CELL = (666, 500)
ACROSS, DOWN = 6, 6

Scene = tuple[NDArray[np.uint8], GroundTruth]


def photographs(dataset: DetectionDataset, limit: int | None) -> Iterator[Scene]:
    """Each photograph with its objects."""
    for row in range(min(limit or len(dataset), len(dataset))):
        yield dataset.load_image(row), dataset.ground_truth(row)


def mosaics(dataset: DetectionDataset, count: int) -> Iterator[Scene]:
    """Photographs side by side, each in a cell, reduced or enlarged to fit it, with the objects of all."""
    width, height = CELL
    for first in range(0, count * ACROSS * DOWN, ACROSS * DOWN):
        sheet = np.full((DOWN * height, ACROSS * width, 3), 128, np.uint8)
        boxes, labels, ignore = [], [], []
        for place in range(ACROSS * DOWN):
            row = (first + place) % len(dataset)
            image, truth = dataset.load_image(row), dataset.ground_truth(row)
            scale = min(width / image.shape[1], height / image.shape[0])
            small = resize_image(image, int(image.shape[1] * scale), int(image.shape[0] * scale))
            y, x = (place // ACROSS) * height, (place % ACROSS) * width
            sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
            boxes.append(truth.boxes * np.float32(scale) + np.array([x, y, x, y], np.float32))
            labels.append(truth.labels)
            ignore.append(truth.ignore)
        yield (
            sheet,
            GroundTruth(
                np.concatenate(boxes),
                np.concatenate(labels),
                dataset.class_names,
                np.concatenate(ignore),
                image_id=first,
                width=sheet.shape[1],
                height=sheet.shape[0],
            ),
        )


def doubled(truths: list[GroundTruth], found: list[Detections]) -> float:
    """Detections on objects that another one found, for each hundred."""
    count = twice = 0
    for truth, one in zip(truths, (each.above(0.3) for each in found), strict=True):
        same = (one.labels[:, None] == truth.labels[None, :]) & ~truth.ignore
        overlap = np.where(same, pairwise_iou(one.boxes, truth.boxes), 0)
        taken, finds = np.zeros(len(truth), bool), np.zeros(len(one), bool)
        for row in range(len(one)):  # the best first, each the free object that it overlaps most
            free = np.where(taken, 0, overlap[row])
            if free.max(initial=0) >= 0.5:
                finds[row], taken[int(free.argmax())] = True, True
        twice += int(((share_inside(one.boxes, truth.boxes) >= 0.7) & same & taken)[~finds].any(axis=1).sum())
        count += len(one)
    return 100 * twice / max(count, 1)


def measure(detector: Detector, scenes: list[Scene], dataset: DetectionDataset, tiles: TileSettings | None) -> str:
    """A row of the table."""
    found, started = [], time.perf_counter()
    for image, _ in scenes:
        found.append(detector(image) if tiles is None else detect_in_tiles(detector, image, tiles))
    seconds = (time.perf_counter() - started) / len(scenes)
    match = match_classes(dataset.class_names, dataset.display_names, detector.class_names)
    kept = [in_classes_of(one, dataset.class_names, match) for one in found]
    truths = [truth for _, truth in scenes]
    stats = evaluate_coco(truths, kept).stats
    figures = " | ".join(f"{100 * stats[name]:.1f}" for name in ("AP50", "AP", "APs", "APm", "APl"))
    name = "whole" if tiles is None else f"tiles of {tiles.side} px"
    return f"| {name} | {figures} | {doubled(truths, kept):.1f} | {seconds:.2f} |"


def main() -> None:
    """Open, detect, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--limit", type=int, default=None, help="photographs")
    parser.add_argument("--mosaics", type=int, default=0, help="so many, instead of photographs")
    parser.add_argument("--tile", type=int, default=480, help="pixels a side")
    asked = parser.parse_args()
    dataset = open_dataset("coco", asked.root, asked.split)
    scenes = list(mosaics(dataset, asked.mosaics) if asked.mosaics else photographs(dataset, asked.limit))
    detector = load_detector(asked.weights)
    detector = detector.with_settings(
        score_threshold=counting_all(detector.settings).score_threshold, max_detections=None if asked.mosaics else 100
    )
    detector(scenes[0][0])  # kernels and networks are ready
    print(f"{machine_line('numpy', 'torch')}\n{len(scenes)} {'mosaics' if asked.mosaics else 'photographs'}\n")
    print("| seen | AP50 | AP | small | medium | large | doubled | s |\n|---|---|---|---|---|---|---|---|")
    for tiles in (None, TileSettings(side=asked.tile)):
        print(measure(detector, scenes, dataset, tiles), flush=True)


if __name__ == "__main__":
    main()
