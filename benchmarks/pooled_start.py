"""The pooled detector that training starts from, scored as it was where it was trained: on proposals kept in a file.

    python benchmarks/pooled_start.py start.safetensors proposals.safetensors --root ../shared/data/coco_mini

Every photograph is enlarged 1.25 times, the first 300 proposals are scored without leaving out near-duplicates, and
suppression is at 0.3. Printed: mAP@0.5 and @0.75 with and without box regression, by class probability alone and times
the objectness.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector import DetectionSettings, RegionScores, load_region_classifier
from inception_rcnn.detector.postprocessing import postprocess
from inception_rcnn.detector.region_classifier import PooledClassifier
from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.proposals.stored import proposals_from_file
from inception_rcnn.structures import Detections, InputError, progress_bar
from inception_rcnn.structures.dataset import DetectionDataset
from inception_rcnn.structures.progress import StageClock

REGIONS, SCALE = 300, 1.25


def scored_set(
    classifier: PooledClassifier, dataset: DetectionDataset, proposals: Path, scale: float | None
) -> list[RegionScores]:
    """What the classifier says of the first proposals of every photograph."""
    stored, clock, found = proposals_from_file(proposals, dataset), StageClock(), []
    with progress_bar(len(dataset), "images") as bar:
        for row in range(len(dataset)):
            image, first = dataset.load_image(row), stored[row].top(REGIONS)
            probabilities, offsets = classifier.score(image, first.boxes, scale=scale, clock=clock)
            moves = None if offsets is None else offsets[None]
            regresses = () if moves is None else (True,)
            found.append(RegionScores(first, probabilities[None], moves, regresses, (image.shape[1], image.shape[0])))
            bar.advance(1)
    stages = ", ".join(f"{name} {1000 * seconds / len(dataset):.0f}" for name, seconds in clock.seconds.items())
    print(f"ms a photograph: {stages}")
    return found


def main() -> None:
    """Score once, postprocess in four ways, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a pooled checkpoint")
    parser.add_argument("proposals", type=Path, help="of the photographs, made by `propose`")
    parser.add_argument("--root", type=Path, required=True, help="of COCO or coco_mini")
    parser.add_argument("--split", default="val")
    parser.add_argument("--scale", type=float, default=SCALE, help="0: as the checkpoint's short side asks for")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    classifier = load_region_classifier(arguments.weights, choose_runtime(arguments.device))
    if not isinstance(classifier, PooledClassifier):
        raise InputError(f"{arguments.weights} warps its regions; a pooled classifier is needed here")
    dataset = open_dataset("coco", arguments.root, arguments.split)
    truth, names = dataset.ground_truths(), classifier.description.class_names
    if names != truth.class_names:
        raise InputError("the classes of the weights and of the data set should be the same, in the same order")
    scores = scored_set(classifier, dataset, arguments.proposals, arguments.scale or None)
    print(f"{len(dataset)} photographs, {classifier.runtime.dtype} on {classifier.runtime.device}\n")
    print("| objectness ** | box regression | mAP@0.5 | mAP@0.75 | mAP@0.5:0.95 |\n|---|---|---|---|---|")
    for power in (0.0, 0.5, 1.0):
        for regression in (True, False):
            settings = DetectionSettings(objectness_power=power, box_regression=regression, max_detections=None)
            found: list[Detections] = [postprocess(one, settings, names) for one in scores]
            stats = evaluate_coco(truth, found).stats
            figures = " | ".join(f"{100 * (stats[name] or 0):.2f}" for name in ("AP50", "AP75", "AP"))
            print(f"| {power:g} | {'yes' if regression else 'no'} | {figures} |")


if __name__ == "__main__":
    main()
