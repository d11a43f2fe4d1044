"""inception-rcnn eval_map --dataset coco --root shared/coco --split val

Runs a detector over a data set and prints mAP at IoU 0.5 and AP per class.

AP is by the rules of COCO (the same figures as pycocotools): objects of any size, at most 100 detections an image and
class, crowds ignored. Every detection scoring at least 0.01 counts, whatever `detect` shows by default.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command

if TYPE_CHECKING:
    from inception_rcnn.detector.set_evaluation import SetEvaluation


def main(
    root: Annotated[Path, typer.Option(help="Folder of the data set: <split>.json, and photographs in <split>/.")],
    split: Annotated[str, typer.Option(help="Part of the data set.")] = "val",
    dataset: Annotated[str, typer.Option(help="Format: coco.")] = "coco",
    weights: Annotated[
        list[str] | None, typer.Option(help="Checkpoint, or several: an ensemble. Default: the shipped model.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Of several weights, score each alone as well.")] = False,
    store_threshold: Annotated[
        bool, typer.Option("--store-threshold", help="Write the threshold with the best mean F1 into each checkpoint.")
    ] = False,
    duplicate_iou: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out proposals that overlap a better one more; 1: none.")
    ] = 0.8,
    max_proposals: Annotated[int | None, typer.Option(min=1, help="Classify only the first N proposals.")] = None,
    proposals_file: Annotated[
        Path | None, typer.Option("--proposals", help="File made by `propose`, instead of proposing anew.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the result, as JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parses, calls, prints."""
    from inception_rcnn.datasets import CocoDataset
    from inception_rcnn.detector import DetectionSettings, keep_freed_memory, load_detector
    from inception_rcnn.detector.checkpoints import with_score_threshold
    from inception_rcnn.detector.set_evaluation import evaluate_set
    from inception_rcnn.proposals.image_sets import FirstImages, proposals_from_file
    from inception_rcnn.structures import InputError, write_json

    if dataset != "coco":
        raise typer.BadParameter(f"{dataset!r} is not a known format; known is coco", param_hint="--dataset")
    if store_threshold and (not weights or (len(weights) > 1 and not each)):
        raise InputError("--store-threshold needs checkpoints named with --weights, and --each if there are several")
    keep_freed_memory()
    settings = DetectionSettings(duplicate_iou=duplicate_iou, max_proposals=max_proposals)
    detector = load_detector(weights or None, device, settings=settings)
    photographs = CocoDataset(root, split)
    stored = None
    if proposals_file is not None:
        stored = proposals_from_file(proposals_file, FirstImages(photographs, limit))
    evaluations = evaluate_set(detector, photographs, proposals=stored, each=each, limit=limit, quiet=quiet)
    names = ["all averaged", *(weights or [])] if len(evaluations) > 1 else [""]
    for name, evaluation in zip(names, evaluations, strict=True):
        _print(name, evaluation, per_class=evaluation is evaluations[0])
    for checkpoint, evaluation in zip(weights or [], evaluations[-len(weights or []) :], strict=False):
        if store_threshold:
            with_score_threshold(checkpoint, evaluation.threshold.threshold)
            typer.echo(f"stored score threshold {evaluation.threshold.threshold:.3f} in {checkpoint}")
    whole = evaluations[0]
    if json_file is not None:
        result = whole.result
        write_json(
            json_file,
            {"map": result.map, "ap": result.ap, "images": result.images, "detections": result.detections},
        )


def _print(name: str, evaluation: SetEvaluation, *, per_class: bool) -> None:
    result, coverage, threshold = evaluation.result, evaluation.coverage, evaluation.threshold
    if name:
        typer.echo(f"--- {name}")
    if per_class:
        for label, ap in result.ap.items():
            typer.echo(f"  {label:<16} {'no objects' if ap is None else format(100 * ap, '6.1f')}")
    typer.echo(f"mAP@0.5 {100 * result.map:.2f} over {sum(ap is not None for ap in result.ap.values())} classes")
    typer.echo(f"{result.images} images, {result.detections} detections, {coverage.truths} objects")
    recall = 100 * coverage.recall[0.5]
    typer.echo(f"proposals: {coverage.boxes_per_image:.0f} an image, recall at IoU 0.5 {recall:.1f} %")
    typer.echo(
        f"best mean F1 {threshold.f1:.3f} at score {threshold.threshold:.3f} "
        f"(precision {threshold.precision:.3f}, recall {threshold.recall:.3f})"
    )
    spent = ", ".join(f"{stage} {seconds / result.images:.3f}" for stage, seconds in evaluation.seconds.items())
    typer.echo(f"seconds an image: {sum(evaluation.seconds.values()) / result.images:.2f} ({spent})")


if __name__ == "__main__":
    run_command(main)
