"""What share of the detections is right, and of the objects found, at each score threshold.

    inception-rcnn eval_map --dataset voc --root voc2007 --split val --limit 500 --output found.safetensors
    python benchmarks/bench_threshold.py found.safetensors --dataset voc --root voc2007 --split val --limit 500

Over all classes together, matched by COCO's rule at IoU 0.5 (a detection takes the free object of its class that it
overlaps most); objects to ignore count neither way. This is what somebody sees who looks at pictures, where the mean
over classes of `eval_map` gives a rare class as much weight as a frequent one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from machine import machine_line

from inception_rcnn.datasets.detections.stored import read_stored_detections
from inception_rcnn.datasets.evaluation_set import evaluation_set_of
from inception_rcnn.detector.dataset_inference import evaluate_stored
from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.results import Matches

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)


def rows_of(matches: Matches, images: int) -> list[tuple[float, float, float, float]]:
    """Threshold, precision, recall, and detections an image, one row a threshold."""
    objects = int(matches.objects.sum())
    rows = []
    for threshold in THRESHOLDS:
        kept = matches.outcome[matches.score >= threshold]
        right, wrong = int((kept == TRUE).sum()), int((kept == FALSE).sum())
        precision = right / (right + wrong) if right + wrong else 0.0
        rows.append((threshold, precision, right / objects, (right + wrong) / images))
    return rows


def main() -> None:
    """Read, match, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detections", type=Path, help="made by eval_map --output, with the same data set and limit")
    parser.add_argument("--dataset", default="coco")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=None)
    asked = parser.parse_args()
    chosen = evaluation_set_of(asked.dataset, asked.root, asked.split, None, limit=asked.limit)
    evaluation = next(iter(evaluate_stored(read_stored_detections(asked.detections), chosen, "coco").values()))
    images = len(chosen.truth.image_ids)
    print(f"{machine_line('numpy')}\n{chosen.title}: {images} images\n")
    print("| score | precision | recall | detections an image |\n|---|---|---|---|")
    for threshold, precision, recall, each in rows_of(evaluation.matches, images):
        print(f"| {threshold} | {precision:.3f} | {recall:.3f} | {each:.2f} |")


if __name__ == "__main__":
    main()
