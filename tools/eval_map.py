"""inception-rcnn eval_map --dataset coco --root coco --split val

Runs a detector over a data set, or takes detections from a file, and prints mAP at IoU 0.5 and AP per class.

AP is by the rules of a protocol: ilsvrc (as the devkit: lower thresholds for small objects, a blacklist), voc2007
(eleven recalls), voc2010 (area), coco (as pycocotools, all twelve figures). A detector's classes are matched with the
data set's by name, the different names that COCO, VOC and ILSVRC have for one class included. Its detections count from
a score of 0.001 on, whatever `detect` shows by default. They are stored as they come: called again, a run that was
killed goes on where it was. With --output they stay, and serve again when the same is asked for. Photographs that the
detector learned from are counted, if its file lists them, and a line warns of them.

--detections takes ILSVRC's text, VOC's files (a folder of *_<class>.txt, or one), COCO's results JSON, plain or .gz, or
a file of --output. With --ground-truth, which --write-ground-truth makes of a data set, nothing else is needed:
inception-rcnn eval_map --dataset ilsvrc --detections found.txt --ground-truth val2.jsonl.gz

Several processes share the images: torchrun --nproc-per-node 4 tools/eval_map.py ... On several machines, the folder
that the command is called in, or that of --output, must be one that all of them see.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, print_problems, run_command

if TYPE_CHECKING:
    from inception_rcnn.datasets.detections.stored import StoredDetections
    from inception_rcnn.datasets.evaluation_set import EvaluationSet
    from inception_rcnn.evaluation.report.inputs import ReportInput

_SHOWN_PRECISION = 0.7  # of what a person is shown


def main(
    dataset: Annotated[str, typer.Option(help="Format: ilsvrc, voc, coco or folder.")] = "coco",
    root: Annotated[Path | None, typer.Option(help="Folder of the data set; see `propose --help`.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of it. Default: val; a plain folder may have none.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Default: ilsvrc, coco, or voc2010 for voc and folder.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Checkpoint, or several: an ensemble. Default: the shipped model.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="pool or warp (the paper's way): which shipped model. Default: as the weights.")
    ] = None,
    multibox: Annotated[
        str | None, typer.Option(help="MultiBox that proposes. Default: the one the checkpoint names, beside it.")
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
    store_calibration: Annotated[
        bool,
        typer.Option(
            "--store-calibration",
            help="Write into each checkpoint what makes a score of 0.5 mean that half of such detections are right, "
            "and as its threshold the lowest from which on 7 of 10 are.",
        ),
    ] = False,
    duplicate_iou: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out proposals that overlap a better one more; 1: none.")
    ] = 0.8,
    max_proposals: Annotated[
        int | None, typer.Option(min=0, help="Classify only the first N proposals; 0: all. Default: the checkpoint's.")
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Overlap beyond which the worse of two goes. Default: the checkpoint's."),
    ] = None,
    objectness_power: Annotated[
        float | None,
        typer.Option(min=0, max=4, help="Power of the objectness that class probabilities are multiplied by."),
    ] = None,
    no_objectness: Annotated[bool, typer.Option("--no-objectness", help="The same as --objectness-power 0.")] = False,
    box_regression: Annotated[bool, typer.Option(help="Move boxes as the weights say, where they say it.")] = True,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="See each region mirrored too, and average: twice the networks' work.")
    ] = False,
    proposals_file: Annotated[
        Path | None, typer.Option("--proposals", help="File made by `propose`, instead of proposing.")
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
    runtime: Annotated[str, typer.Option(help="auto, torch or openvino, which computes on the CPU.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8 (calibrated weights, openvino).")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.datasets import FORMATS
    from inception_rcnn.datasets import write_ground_truth as write_truth
    from inception_rcnn.datasets.class_matching import known_classes
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.datasets.detections import write_detections as write_found
    from inception_rcnn.datasets.evaluation_set import evaluation_set_of
    from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT, PROTOCOLS, result_to_dict
    from inception_rcnn.evaluation.report.inputs import evaluated
    from inception_rcnn.evaluation.report.text import class_lines, figure_lines
    from inception_rcnn.structures import InputError, write_json
    from inception_rcnn.structures.files import check_target

    check_known("--dataset", dataset, FORMATS)
    protocol = protocol or PROTOCOL_OF_FORMAT[dataset]
    check_known("--protocol", protocol, PROTOCOLS)
    runs: dict[str, object] = {"--weights": weights, "--each": each, "--store-threshold": store_threshold}
    runs["--store-calibration"] = store_calibration
    runs |= {"--output": output, "--proposals": proposals_file, "--max-proposals": max_proposals is not None}
    runs |= {"--iou-threshold": iou_threshold is not None}
    runs |= {"--no-objectness": no_objectness, "--objectness-power": objectness_power is not None}
    runs |= {"--no-box-regression": not box_regression, "--regions": regions, "--mirror": mirror}
    runs |= {"--multibox": multibox}
    _check_sources(ground_truth, detections, write_ground_truth, runs)
    for target in (json_file, write_ground_truth, write_detections if dataset in ("coco", "ilsvrc") else None):
        if target is not None:
            check_target(target)
    if no_objectness and objectness_power:
        raise InputError(f"--no-objectness contradicts --objectness-power {objectness_power}; give one of them")
    if regions is not None:
        check_known("--regions", regions, ("pool", "warp"))
    if store_threshold or store_calibration:
        option = "--store-threshold" if store_threshold else "--store-calibration"
        if store_threshold and store_calibration:
            raise typer.BadParameter(
                "writes a threshold too; leave one of the two out", param_hint="--store-calibration"
            )
        _check_can_store(option, weights or [], each=each)
    if detections is None and write_ground_truth is None:
        from inception_rcnn.backbones.runtime import choose_runtime

        choose_runtime(device, runtime, precision)  # what it refuses need not wait for the set to be read
    part = split or (None if dataset == "folder" else "val")
    scored_set = evaluation_set_of(
        dataset, root, part, ground_truth, image_list=image_list, limit=limit, skip_broken=skip_broken
    )
    truth = scored_set.truth
    print_problems(scored_set.problems)
    if write_ground_truth is not None:
        write_truth(write_ground_truth, truth)
        typer.echo(f"{len(truth)} objects of {len(truth.image_ids)} images in {write_ground_truth}")
        return
    if truth.ignored.all():
        raise InputError(f"{scored_set.title} has no objects to find, so nothing can be scored")
    pairs, journal = _read_blacklist(blacklist, scored_set, protocol), None
    if detections is not None:
        read = read_detections(detections, truth, dataset, skip_unknown=skip_broken)
        known, dropped = read.known, read.dropped
        photographs = None if scored_set.dataset is None else scored_set.dataset.load_image
        title = f"{detections.name} on {scored_set.title}"
        evaluations = {
            "": evaluated(read.detections, truth, protocol, title=title, blacklist=pairs, photographs=photographs)
        }
    else:
        from inception_rcnn.detector.dataset_inference import evaluate_stored
        from inception_rcnn.detector.loading import chosen_weights

        settings: dict[str, Any] = {"duplicate_iou": duplicate_iou, "box_regression": box_regression, "mirror": mirror}
        power = 0.0 if no_objectness else objectness_power
        settings |= {} if power is None else {"objectness_power": power}
        settings |= {} if iou_threshold is None else {"iou_threshold": iou_threshold}
        settings |= {} if max_proposals is None else {"max_proposals": max_proposals or None}
        names = chosen_weights(weights or None, regions)
        where = {"device": device, "runtime": runtime, "precision": precision, "multibox": multibox}
        stored, journal = _detect(scored_set, names, settings, where, output, proposals_file, each=each, quiet=quiet)
        if stored is None:
            return  # the first of several processes goes on
        _warn_of_seen(names, multibox, stored.checksums)
        known, dropped = known_classes(stored.class_names, truth), 0
        evaluations = evaluate_stored(stored, scored_set, protocol, pairs, weights or [])
    first = next(iter(evaluations.values()))
    for name, one in evaluations.items():
        lines = [f"--- {name}"] if name else []
        lines += class_lines(one) if one is first else []
        typer.echo("\n".join([*lines, *figure_lines(one, known=known, dropped=dropped)]))
    if store_threshold:
        _store_thresholds(weights or [], list(evaluations.values()))
    if store_calibration:
        _store_calibrations(weights or [], list(evaluations.values()))
    if write_detections is not None:
        write_found(write_detections, first.detections, truth, dataset)
    if json_file is not None:
        write_json(json_file, result_to_dict(first.result))
    if report is not None:
        from inception_rcnn.evaluation.report.pages import write_report

        typer.echo(f"report: {write_report(report, first)}")
    if journal is not None:
        from inception_rcnn.detector.dataset_inference import forget_run
        from inception_rcnn.structures.jobs import Share

        forget_run(journal, Share.from_environment(os.environ))


def _check_sources(
    ground_truth: Path | None, detections: Path | None, written_truth: Path | None, runs: Mapping[str, object]
) -> None:
    """Refuse options that do not go together; `runs` are those of a detector's run."""
    from inception_rcnn.structures import InputError

    if ground_truth is not None and detections is None and written_truth is None:
        raise InputError("a detector needs photographs: give --root DIR, or what it found with --detections FILE")
    if detections is not None and (useless := [name for name, value in runs.items() if value]):
        raise InputError(f"{useless[0]} has no meaning with --detections, which runs no detector")


def _check_can_store(option: str, weights: Sequence[str], *, each: bool) -> None:
    """Refuse, before anything is run, to store what was measured where it cannot or must not be stored."""
    from inception_rcnn.detector.checkpoints import is_shipped
    from inception_rcnn.structures import InputError

    if not weights or (len(weights) > 1 and not each):
        raise InputError(f"{option} needs checkpoints named with --weights, and --each if there are several")
    for name in weights:
        if is_shipped(name):
            raise InputError(f"{option} does not write into {name}, a shipped file; name a copy of it")


def _read_blacklist(path: Path | None, scored_set: EvaluationSet, protocol: str) -> tuple[tuple[int, str], ...]:
    """The pairs of the list; how many of them are of images in the set is printed."""
    from inception_rcnn.datasets import read_blacklist
    from inception_rcnn.structures import InputError

    if path is None:
        return ()
    if protocol != "ilsvrc":
        raise InputError(f"--blacklist belongs to the protocol ilsvrc, not to {protocol}")
    pairs, ids = read_blacklist(path), set(scored_set.truth.image_ids)
    if pairs and not any(isinstance(image_id, int) for image_id in ids):
        raise InputError(f"{path} names images by their index, but these have none; give an --image-list with indices")
    here = sum(image_id in ids for image_id, _ in pairs)
    typer.echo(f"blacklist: {len(pairs)} pairs of image and class, {here} of them in this set")
    return pairs


def _detect(
    scored_set: EvaluationSet,
    names: Sequence[str | Path],
    settings: Mapping[str, Any],
    where: Mapping[str, Any],
    output: Path | None,
    proposals_file: Path | None,
    *,
    each: bool,
    quiet: bool,
) -> tuple[StoredDetections | None, Path | None]:
    """Run the detector, or take what it found before.

    What was found is None in processes that only help; the second is what to forget once the figures are out.
    """
    import torch

    from inception_rcnn.backbones.runtime import keep_freed_memory
    from inception_rcnn.detector import load_detector
    from inception_rcnn.detector.dataset_inference import counting, detect_set, set_run, unfinished_run
    from inception_rcnn.structures.jobs import Share

    keep_freed_memory()
    share = Share.from_environment(os.environ)
    device = share.device(where["device"], 0 if where["runtime"] == "openvino" else torch.cuda.device_count())
    detector = load_detector(names, **{**where, "device": device})
    # Every photograph is read by one process for its checksum, not by all; each reads its share again to find objects.
    run = set_run(
        counting(detector, **settings), scored_set, proposals=proposals_file, each=each, check_images=share.leads
    )
    path = output or Path("runs", "eval_map", run.name())
    if share.leads and unfinished_run(path):
        typer.echo(f"going on with the run that {path}.parts was left by")
    stored = detect_set(run, path, keep=output is not None, share=share, quiet=quiet)
    return stored, path if output is None else None


def _warn_of_seen(names: Sequence[str | Path], multibox: str | None, checksums: Sequence[str]) -> None:
    """Say on the error stream which of the photographs a network learned from."""
    from inception_rcnn.detector.checkpoints import photographs_seen
    from inception_rcnn.structures.provenance import seen_lines

    for name in names:
        for line in seen_lines(photographs_seen(name, multibox), checksums):
            typer.echo(f"warning: {line}{f', {name}' if len(names) > 1 else ''}; the figures are too good", err=True)


def _store_thresholds(weights: Sequence[str], evaluations: Sequence[ReportInput]) -> None:
    """Write into each checkpoint the score with the best mean F1 of its own detections."""
    from inception_rcnn.detector.checkpoints import with_score_threshold
    from inception_rcnn.evaluation.report.text import score

    for checkpoint, one in zip(weights, evaluations[-len(weights) :], strict=True):
        threshold = one.matches.best_f1().threshold
        with_score_threshold(checkpoint, threshold)
        typer.echo(f"stored score threshold {score(threshold)} in {checkpoint}")


def _store_calibrations(weights: Sequence[str], evaluations: Sequence[ReportInput]) -> None:
    """Write into each checkpoint what makes its own scores mean how often they are right, and a threshold for it."""
    import numpy as np

    from inception_rcnn.detector.checkpoints import with_calibrated_scores
    from inception_rcnn.evaluation.score_calibration import fit_calibration, score_bins, threshold_for_precision

    for checkpoint, one in zip(weights, evaluations[-len(weights) :], strict=True):
        calibration = fit_calibration(one.matches)
        precise = threshold_for_precision(one.matches, _SHOWN_PRECISION)
        raw = one.matches.best_f1().threshold if precise is None else precise.value
        threshold = float(calibration.apply(np.array([raw]))[0])
        with_calibrated_scores(checkpoint, calibration, threshold)
        for each in score_bins(one.matches):
            share = f"{100 * each.right:.0f} % of {each.count}"
            typer.echo(f"  score {each.lowest:.1f} to {each.highest:.1f}: {share} are right")
        found = (
            f"no score has a precision of {_SHOWN_PRECISION}, so that of the best mean F1"
            if precise is None
            else f"precision {precise.precision:.3f}, recall {precise.recall:.3f}"
        )
        typer.echo(
            f"stored in {checkpoint}: slope {calibration.slope:.3f}, offset {calibration.offset:.3f}, "
            f"score threshold {threshold:.3f} ({found})"
        )


if __name__ == "__main__":
    run_command(main)
