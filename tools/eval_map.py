"""inception-rcnn eval_map --dataset coco --root shared/coco --split val

Runs a detector over a data set, or takes detections from a file, and prints mAP at IoU 0.5 and AP per class.

AP is by the rules of a protocol: ilsvrc (as the devkit: lower thresholds for small objects, a blacklist), voc2007
(eleven recalls), voc2010 (area), coco (as pycocotools, all twelve figures). A detector's classes are matched with the
data set's by name, VOC's six different names for COCO's classes included. Its detections count from a score of 0.001
on, whatever `detect` shows by default. They are stored as they come: called again, a run that was killed goes on where
it was. With --output they stay, and serve again when the same is asked for.

--detections takes ILSVRC's text, VOC's files (a folder of *_<class>.txt, or one), COCO's results JSON, plain or .gz, or
a file of --output. With --ground-truth, which --write-ground-truth makes of a data set, nothing else is needed:
inception-rcnn eval_map --dataset ilsvrc --detections found.txt --ground-truth val2.jsonl.gz

Several processes share the images: torchrun --nproc-per-node 4 tools/eval_map.py ... On several machines, the folder
that the command is called in, or that of --output, must be one that all of them see.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command

if TYPE_CHECKING:
    from inception_rcnn.datasets.detections.stored import StoredDetections
    from inception_rcnn.datasets.evaluation_set import EvaluationSet
    from inception_rcnn.evaluation import EvaluationResult, ProposalRecall, ScoreThreshold
    from inception_rcnn.structures import DetectionTable


@dataclass(frozen=True, eq=False)
class _Score:
    """How good detections are, and how they came about; what a file does not tell is empty."""

    result: EvaluationResult
    detections: DetectionTable
    known: frozenset[int] | None
    name: str = ""
    dropped: int = 0
    coverage: ProposalRecall | None = None
    threshold: ScoreThreshold | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def main(
    dataset: Annotated[str, typer.Option(help="Format: ilsvrc, voc, coco or folder.")] = "coco",
    root: Annotated[Path | None, typer.Option(help="Folder of the data set; see `propose --help`.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of it. Default: val; a plain folder may have none.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Default: ilsvrc, coco, or voc2010 for voc and folder.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Checkpoint, or several: an ensemble. Default: the shipped model.")
    ] = None,
    detections: Annotated[Path | None, typer.Option(help="Score these instead of running a detector.")] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="File of the objects, instead of --root.")] = None,
    image_list: Annotated[Path | None, typer.Option(help="Only these images: a file with one a line.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="ILSVRC's pairs of image and class not evaluated.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken or of other images, and count it.")
    ] = False,
    each: Annotated[bool, typer.Option("--each", help="Of several weights, score each alone as well.")] = False,
    store_threshold: Annotated[
        bool, typer.Option("--store-threshold", help="Write the threshold with the best mean F1 into each checkpoint.")
    ] = False,
    duplicate_iou: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out proposals that overlap a better one more; 1: none.")
    ] = 0.8,
    max_proposals: Annotated[
        int | None, typer.Option(min=0, help="Classify only the first N proposals; 0: all. Default: 200.")
    ] = None,
    objectness: Annotated[
        bool, typer.Option(help="Multiply class probabilities by MultiBox's objectness, where the detector has it.")
    ] = True,
    proposals_file: Annotated[
        Path | None, typer.Option("--proposals", help="File made by `propose`, instead of proposing anew.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    output: Annotated[Path | None, typer.Option(help="File to keep the detections in, *.safetensors.")] = None,
    write_detections: Annotated[
        Path | None, typer.Option(help="File (VOC: folder) for the detections in the data set's own format.")
    ] = None,
    write_ground_truth: Annotated[
        Path | None, typer.Option(help="File for the objects, *.jsonl or *.jsonl.gz; nothing else is done then.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the result, as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a page with curves, errors, photographs.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parses, calls, prints."""
    from inception_rcnn.datasets import FORMATS
    from inception_rcnn.datasets import write_ground_truth as write_truth
    from inception_rcnn.datasets.detections import write_detections as write_found
    from inception_rcnn.datasets.evaluation_set import evaluation_set_of
    from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, PROTOCOLS, result_to_dict
    from inception_rcnn.structures import InputError, write_json

    _check_known("--dataset", "format", dataset, FORMATS)
    protocol = protocol or PROTOCOL_OF_FORMAT[dataset]
    _check_known("--protocol", "protocol", protocol, PROTOCOLS)
    runs: dict[str, object] = {
        "--weights": weights,
        "--each": each,
        "--store-threshold": store_threshold,
        "--output": output,
    }
    runs |= {"--proposals": proposals_file, "--max-proposals": max_proposals is not None}
    runs["--no-objectness"] = not objectness
    if store_threshold and (not weights or (len(weights) > 1 and not each)):
        raise InputError("--store-threshold needs checkpoints named with --weights, and --each if there are several")
    _check_sources(ground_truth, detections, write_ground_truth, runs)
    part = split or (None if dataset == "folder" else "val")
    truth = evaluation_set_of(
        dataset, root, part, ground_truth, image_list=image_list, limit=limit, skip_broken=skip_broken
    )
    _print_problems(truth.problems)
    if write_ground_truth is not None:
        write_truth(write_ground_truth, truth.truth)
        typer.echo(f"{len(truth.truth)} objects of {len(truth.truth.image_ids)} images in {write_ground_truth}")
        return
    if truth.truth.ignored.all():
        raise InputError(f"{truth.title} has no objects to find, so nothing can be scored")
    pairs, journal = _read_blacklist(blacklist, truth, protocol), None
    if detections is not None:
        scores = [_score_file(detections, dataset, truth, protocol, pairs, skip_broken=skip_broken)]
    else:
        settings: dict[str, Any] = {"duplicate_iou": duplicate_iou, "weigh_by_objectness": objectness}
        settings |= {} if max_proposals is None else {"max_proposals": max_proposals or None}
        stored, journal = _detect(truth, weights, settings, device, output, proposals_file, each=each, quiet=quiet)
        if stored is None:
            return  # the first of several processes goes on
        scores = _score_stored(stored, truth, protocol, pairs)
    for score in scores:
        _print_score(score, truth, per_class=score is scores[0])
    if store_threshold:
        _store_thresholds(weights or [], scores)
    if write_detections is not None:
        write_found(write_detections, scores[0].detections, truth.truth, dataset)
    if json_file is not None:
        write_json(json_file, result_to_dict(scores[0].result))
    if report is not None:
        _write_report(report, truth, scores[0], tuple(weights or ()), detections)
    if journal is not None:
        from inception_rcnn.detector.dataset_inference import forget_run

        forget_run(journal)


def _check_known(option: str, what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not a known {what}; known: {', '.join(known)}", param_hint=option)


def _check_sources(
    ground_truth: Path | None, detections: Path | None, written_truth: Path | None, runs: Mapping[str, object]
) -> None:
    """Refuses options that do not go together; `runs` are those of a detector's run."""
    from inception_rcnn.structures import InputError

    if ground_truth is not None and detections is None and written_truth is None:
        raise InputError("a detector needs photographs: give --root DIR, or what it found with --detections FILE")
    if detections is not None and (useless := [name for name, value in runs.items() if value]):
        raise InputError(f"{useless[0]} has no meaning with --detections, which runs no detector")


def _print_problems(problems: Sequence[str]) -> None:
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    if problems:
        typer.echo(f"left out as broken: {len(problems)} images or objects, named on the error stream")


def _read_blacklist(path: Path | None, truth: EvaluationSet, protocol: str) -> tuple[tuple[int, str], ...]:
    """The pairs of the list; how many of them are of images in the set is printed."""
    from inception_rcnn.datasets import read_blacklist
    from inception_rcnn.structures import InputError

    if path is not None and protocol != "ilsvrc":
        raise InputError(f"--blacklist belongs to the protocol ilsvrc, not to {protocol}")
    pairs = () if path is None else read_blacklist(path)
    ids = set(truth.truth.image_ids)
    if pairs and not any(isinstance(image_id, int) for image_id in ids):
        raise InputError(f"{path} names images by their index, but these have none; give an --image-list with indices")
    if path is not None:
        here = sum(image_id in ids for image_id, _ in pairs)
        typer.echo(f"blacklist: {len(pairs)} pairs of image and class, {here} of them in this set")
    return pairs


def _score_file(
    path: Path, form: str, truth: EvaluationSet, protocol: str, pairs: Collection[tuple[int, str]], *, skip_broken: bool
) -> _Score:
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.evaluation.protocols import evaluate_by

    read = read_detections(path, truth.truth, form, skip_unknown=skip_broken)
    result = evaluate_by(protocol, truth.truth, read.detections, blacklist=pairs)
    return _Score(result, read.detections, read.known, dropped=read.dropped)


def _detect(
    truth: EvaluationSet,
    weights: Sequence[str] | None,
    settings: Mapping[str, Any],
    device: str,
    output: Path | None,
    proposals_file: Path | None,
    *,
    each: bool,
    quiet: bool,
) -> tuple[StoredDetections | None, Path | None]:
    """Runs the detector, or takes what it found before.

    What was found is None in processes that only help; the second is what to forget once the figures are out.
    """
    import torch

    from inception_rcnn.backbones.runtime import keep_freed_memory
    from inception_rcnn.datasets.detections import known_classes
    from inception_rcnn.detector import DetectionSettings, load_detector
    from inception_rcnn.detector.checkpoints import DEFAULT_WEIGHTS
    from inception_rcnn.detector.dataset_inference import SetRun, describe_run, detect_set, unfinished_run
    from inception_rcnn.proposals.image_sets import proposals_from_file
    from inception_rcnn.structures.jobs import Share

    keep_freed_memory()
    share, names = Share.from_environment(os.environ), list(weights or [DEFAULT_WEIGHTS])
    device = share.device(device, torch.cuda.device_count())
    detector = load_detector(names, device, settings=DetectionSettings(**settings))
    known_classes(detector.ensemble.class_names, truth.truth)
    images = truth.photographs()
    run = SetRun(
        detector=detector,
        images=images,
        image_ids=truth.truth.image_ids,
        settings=describe_run(detector, names, proposals_file),
        proposals=None if proposals_file is None else proposals_from_file(proposals_file, images),
        members=tuple(names) if each and len(names) > 1 else (),
    )
    path = output or Path("runs", "eval_map", run.name())
    if share.leads and unfinished_run(path):
        typer.echo(f"going on with the run that {path}.parts was left by")
    stored = detect_set(run, path, keep=output is not None, share=share, quiet=quiet)
    return stored, path if output is None else None


def _score_stored(
    stored: StoredDetections, truth: EvaluationSet, protocol: str, pairs: Collection[tuple[int, str]]
) -> list[_Score]:
    from inception_rcnn.datasets.detections import known_classes
    from inception_rcnn.detector.set_evaluation import evaluate_stored, region_recall

    known = known_classes(stored.class_names, truth.truth)
    coverage = region_recall(stored, truth.truth)
    found = evaluate_stored(stored, truth.truth, protocol=protocol, blacklist=pairs)
    settings = {name: str(value) for name, value in stored.settings.items() if not isinstance(value, dict | list)}
    return [
        _Score(one.result, one.detections, known, name, 0, coverage, one.threshold, stored.seconds, settings)
        for name, one in zip(stored.runs, found, strict=True)
    ]


def _print_score(score: _Score, truth: EvaluationSet, *, per_class: bool) -> None:
    result, display_names = score.result, truth.truth.display_names
    if score.name:
        typer.echo(f"--- {score.name}")
    if per_class:
        _print_classes(result, display_names)
    counted = [ap for ap in result.ap.values() if ap is not None]
    typer.echo(
        f"mAP@0.5 {100 * result.map:.2f} over {len(counted)} classes, median {100 * result.median_ap:.2f}, "
        f"by the rules of {result.protocol}"
    )
    if isinstance(stats := getattr(result, "stats", None), dict):
        shown = (f"{name} {'-' if value is None else format(100 * value, '.2f')}" for name, value in stats.items())
        typer.echo(f"COCO: {'  '.join(shown)}")
    _print_missing_classes(score, display_names)
    objects = int((~truth.truth.ignored).sum())
    typer.echo(f"{result.images} images, {result.detections} detections, {objects} objects")
    if score.dropped:
        typer.echo(f"left out: {score.dropped} detections of images that are not in the set")
    _print_run(score)


def _print_classes(result: EvaluationResult, display_names: Sequence[str]) -> None:
    names = [name if name == said else f"{name} {said}" for name, said in zip(result.ap, display_names, strict=True)]
    width = max(16, *map(len, names))
    for name, ap in zip(names, result.ap.values(), strict=True):
        typer.echo(f"  {name:<{width}} {'no objects' if ap is None else format(100 * ap, '6.1f')}")


def _print_missing_classes(score: _Score, display_names: Sequence[str]) -> None:
    """Names the classes without objects, and those the detector does not know."""
    without = [said for said, ap in zip(display_names, score.result.ap.values(), strict=True) if ap is None]
    if without:
        typer.echo(f"classes without objects, left out of the mean: {len(without)} ({', '.join(without)})")
    if score.known is None:
        return
    counted = [(label, ap) for label, ap in enumerate(score.result.ap.values()) if ap is not None]
    unknown = [display_names[label] for label, _ in counted if label not in score.known]
    aps = [ap for label, ap in counted if label in score.known]
    if unknown:
        typer.echo(f"classes that the detector does not know, with AP 0: {len(unknown)} ({', '.join(unknown)})")
    if unknown and aps:
        typer.echo(f"mAP@0.5 {100 * sum(aps) / len(aps):.2f} over the {len(aps)} of its own classes that have objects")


def _print_run(score: _Score) -> None:
    """Prints what only a detector's run has."""
    coverage, threshold, images = score.coverage, score.threshold, score.result.images
    if coverage is not None:
        recall = 100 * coverage.recall[0.5]
        typer.echo(f"proposals: {coverage.boxes_per_image:.0f} an image, recall at IoU 0.5 {recall:.1f} %")
    if threshold is not None:
        typer.echo(
            f"best mean F1 {threshold.f1:.3f} at score {threshold.threshold:.3f} "
            f"(precision {threshold.precision:.3f}, recall {threshold.recall:.3f})"
        )
    if score.seconds:
        spent = ", ".join(f"{stage} {seconds / images:.3f}" for stage, seconds in score.seconds.items())
        typer.echo(f"seconds an image: {sum(score.seconds.values()) / images:.2f} ({spent})")


def _store_thresholds(weights: Sequence[str], scores: Sequence[_Score]) -> None:
    from inception_rcnn.detector.checkpoints import with_score_threshold

    for checkpoint, score in zip(weights, scores[-len(weights) :], strict=True):
        if score.threshold is not None:
            with_score_threshold(checkpoint, score.threshold.threshold)
            typer.echo(f"stored score threshold {score.threshold.threshold:.3f} in {checkpoint}")


def _write_report(
    folder: Path, truth: EvaluationSet, score: _Score, weights: tuple[str, ...], detections: Path | None
) -> None:
    from inception_rcnn.evaluation import analyse_errors
    from inception_rcnn.evaluation.report.inputs import ReportInput
    from inception_rcnn.evaluation.report.pages import write_report

    what = detections.name if detections is not None else ", ".join(weights) or "the shipped model"
    shown = ReportInput(
        title=f"{what} on {truth.title}",
        result=score.result,
        class_names=truth.truth.display_names,
        image_names=truth.truth.image_names,
        truths=truth.truth,
        detections=score.detections,
        errors=analyse_errors(truth.truth, score.detections),
        coverage=score.coverage,
        seconds=score.seconds,
        photographs=None if truth.dataset is None else truth.photographs().load_image,
        weights=weights,
        settings=score.settings,
    )
    typer.echo(f"report: {write_report(folder, shown)}")


if __name__ == "__main__":
    run_command(main)
