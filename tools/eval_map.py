"""inception-rcnn eval_map --data coco:coco --split val

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

Examples:
  inception-rcnn eval_map --data voc:VOC2007 --split test --weights runs/mine/model.safetensors --report page
  inception-rcnn eval_map --data coco:coco --detections found.json --json figures.json

Several processes share the images: torchrun --nproc-per-node 4 tools/eval_map.py ... On several machines, the folder
that the command is called in, or that of --output, must be one that all of them see.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, print_problems, run_command
from inception_rcnn.tools.detector_options import (
    Device,
    MaxProposals,
    MultiBoxWeights,
    Precision,
    Regions,
    RuntimeName,
    Weights,
)
from inception_rcnn.tools.scored_sets import (
    DataSet,
    Format,
    Root,
    Split,
    named_set,
    part_named,
    say_what_was_read,
)
from inception_rcnn.tools.training_sets import Exif, Origin, Strict, reading_options

if TYPE_CHECKING:
    from inception_rcnn.datasets.evaluation_set import EvaluationSet
    from inception_rcnn.evaluation.report.inputs import ReportInput

# Options of a detector's run, which mean nothing for detections from a file.
_OF_RUNS = (
    *("weights", "each", "store_threshold", "store_calibration", "output", "proposals_file", "max_proposals"),
    *("iou_threshold", "no_objectness", "objectness_power", "no_box_regression", "regions", "mirror", "multibox"),
)


@dataclass(frozen=True)
class _Scored:
    """What is printed, stored and written.

    Args:
        evaluations: By name: of the detections, or of all networks averaged and then perhaps of each alone.
        known: Positions of the classes that the detector knows; None if that is not known.
        dropped: How many detections were left out because they are of other images.
        journal: What to forget of a run once the figures are out.
    """

    evaluations: dict[str, ReportInput]
    known: frozenset[int] | None
    dropped: int = 0
    journal: Path | None = None

    @property
    def first(self) -> ReportInput:
        """The evaluation of the detections, or of all networks averaged."""
        return next(iter(self.evaluations.values()))


def main(
    data: DataSet = None,
    dataset: Format = None,
    root: Root = None,
    split: Split = None,
    protocol: Annotated[str | None, typer.Option(help="Default: ilsvrc, coco, or voc2010 for voc and folder.")] = None,
    weights: Weights = None,
    regions: Regions = None,
    multibox: MultiBoxWeights = None,
    detections: Annotated[Path | None, typer.Option(help="Score these instead of running a detector.")] = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(help="File of the objects, of --write-ground-truth or COCO's JSON, instead of --data."),
    ] = None,
    image_list: Annotated[Path | None, typer.Option(help="Only these images: a file with one a line.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="ILSVRC's pairs of image and class not evaluated.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken or of other images, and count it.")
    ] = False,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
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
    max_proposals: MaxProposals = None,
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
    device: Device = "auto",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    form, root = named_set(data, root, dataset)
    dataset = form or "coco"
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    from inception_rcnn.datasets import write_ground_truth as write_truth
    from inception_rcnn.datasets.evaluation_set import evaluation_set_of
    from inception_rcnn.structures import InputError

    _check_options(given)
    part = part_named(dataset, root, split)
    reading = reading_options(**given)
    scored_set = evaluation_set_of(dataset, root, part, ground_truth, image_list=image_list, limit=limit, **reading)
    truth = scored_set.truth
    say_what_was_read(scored_set)
    if write_ground_truth is not None:
        write_truth(write_ground_truth, truth)
        echo(f"{len(truth)} objects of {len(truth.image_ids)} images in {write_ground_truth}")
        return
    if truth.ignored.all():
        raise InputError(f"{scored_set.title} has no objects to find, so nothing can be scored")
    scored = (_score_detector if detections is None else _score_file)(given, scored_set)
    if scored is not None:  # one of several processes goes on
        _print(scored)
        _store(given, scored)
        _write(given, scored)


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse, before anything is read, what is unknown, cannot be done, or does not go together."""
    from inception_rcnn.evaluation.protocols import PROTOCOLS
    from inception_rcnn.structures import InputError

    check_known("--protocol", _protocol(given), PROTOCOLS)
    if "ground_truth" in given and not {"detections", "write_ground_truth"} & given.keys():
        raise InputError("a detector needs photographs: give --root DIR, or what it found with --detections FILE")
    runs = given if "box_regression" in given else {**given, "no_box_regression": True}
    if "detections" in given and (useless := [name for name in _OF_RUNS if name in runs]):
        raise InputError(f"{_option_name(useless[0])} has no meaning with --detections, which runs no detector")
    _check_targets(given)
    if "no_objectness" in given and given.get("objectness_power"):
        raise InputError(
            f"--no-objectness contradicts --objectness-power {given['objectness_power']}; give one of them"
        )
    check_known("--regions", given.get("regions", "pool"), ("pool", "warp"))
    if "store_threshold" in given and "store_calibration" in given:
        raise typer.BadParameter("writes a threshold too; leave one of the two out", param_hint="--store-calibration")
    for name in ("store_threshold", "store_calibration"):
        if name in given:
            _check_can_store(_option_name(name), given.get("weights", []), each="each" in given)
    if "blacklist" in given and _protocol(given) != "ilsvrc":
        raise InputError(f"--blacklist belongs to the protocol ilsvrc, not to {_protocol(given)}")
    if not {"detections", "write_ground_truth"} & given.keys():
        from inception_rcnn.backbones.runtime import choose_runtime

        choose_runtime(given["device"], given["runtime"], given["precision"])


def _check_targets(given: Mapping[str, Any]) -> None:
    """Refuse files that could not be written when the work is done."""
    from inception_rcnn.structures.files import check_target

    one_file = ("write_detections",) if given["dataset"] in ("coco", "ilsvrc") else ()
    for name in ("json_file", "write_ground_truth", *one_file):
        if name in given:
            check_target(given[name])


def _check_can_store(option: str, weights: list[str], *, each: bool) -> None:
    """Refuse to store what was measured where it cannot or must not be stored."""
    from inception_rcnn.detector.checkpoints import is_shipped
    from inception_rcnn.structures import InputError

    if not weights or (len(weights) > 1 and not each):
        raise InputError(f"{option} needs checkpoints named with --weights, and --each if there are several")
    for name in weights:
        if is_shipped(name):
            raise InputError(f"{option} does not write into {name}, a shipped file; name a copy of it")


def _protocol(given: Mapping[str, Any]) -> str:
    """Return the protocol asked for, or the data set's own."""
    from inception_rcnn.evaluation.protocols import PROTOCOL_OF_FORMAT

    return str(given.get("protocol") or PROTOCOL_OF_FORMAT[given["dataset"]])


def _option_name(name: str) -> str:
    return f"--{name.removesuffix('_file').replace('_', '-')}"


def _blacklist(given: Mapping[str, Any], scored_set: EvaluationSet) -> tuple[tuple[int, str], ...]:
    """Return the pairs of the list; how many of them are of images in the set is printed."""
    from inception_rcnn.datasets.detections.ilsvrc import blacklist_for

    if "blacklist" not in given:
        return ()
    pairs, here = blacklist_for(given["blacklist"], scored_set.truth.image_ids)
    echo(f"blacklist: {len(pairs)} pairs of image and class, {here} of them in this set")
    return pairs


def _score_file(given: Mapping[str, Any], scored_set: EvaluationSet) -> _Scored:
    """Score the detections of a file."""
    from inception_rcnn.datasets.detections import read_detections
    from inception_rcnn.evaluation.report.inputs import evaluated

    path, truth, pairs = given["detections"], scored_set.truth, _blacklist(given, scored_set)
    read = read_detections(path, truth, given["dataset"], skip_unknown="skip_broken" in given)
    for note in read.notes:
        echo(f"warning: {note}", err=True)
    photographs = None if scored_set.dataset is None else scored_set.dataset.load_image
    title = f"{path.name} on {scored_set.title}"
    evaluation = evaluated(
        read.detections, truth, _protocol(given), title=title, blacklist=pairs, photographs=photographs
    )
    return _Scored({"": evaluation}, read.known, read.dropped)


def _score_detector(given: Mapping[str, Any], scored_set: EvaluationSet) -> _Scored | None:
    """Run the detector, or take what it found before, and score it; None in processes that only help."""
    import torch

    from inception_rcnn.backbones.runtime import keep_freed_memory
    from inception_rcnn.datasets.class_matching import known_classes
    from inception_rcnn.detector import dataset_inference as inference
    from inception_rcnn.detector import load_detector
    from inception_rcnn.detector.checkpoints import seen_warnings
    from inception_rcnn.detector.loading import chosen_weights
    from inception_rcnn.structures.jobs import Share

    keep_freed_memory()
    pairs, share = _blacklist(given, scored_set), Share.from_environment(os.environ)
    device = share.device(given["device"], 0 if given["runtime"] == "openvino" else torch.cuda.device_count())
    weights = given.get("weights")
    names = chosen_weights(weights, given.get("regions"))
    where = {name: given[name] for name in ("runtime", "precision", "multibox") if name in given}
    detector = inference.counting(load_detector(weights or names, device, **where), **_settings(given))
    # Every photograph is read by one process for its checksum, not by all; each reads its share again to find objects.
    run = inference.set_run(
        detector,
        scored_set,
        proposals=given.get("proposals_file"),
        each="each" in given,
        check_images=share.leads,
    )
    path = given.get("output", Path("runs", "eval_map", run.name()))
    if share.leads and inference.unfinished_run(path):
        echo(f"going on with the run that {path}.parts was left by")
    skip = "skip_broken" in given
    stored = inference.detect_set(
        run, path, keep="output" in given, share=share, skip_broken=skip, quiet="quiet" in given
    )
    if stored is None:
        return None
    print_problems([reason for _, reason in stored.unread])
    for line in seen_warnings(names, given.get("multibox"), stored.checksums):
        echo(f"warning: {line}; the figures are too good", err=True)
    known = known_classes(stored.class_names, scored_set.truth)
    named = list(map(str, names)) if weights else []
    evaluations = inference.evaluate_stored(stored, scored_set, _protocol(given), pairs, named)
    return _Scored(evaluations, known, journal=None if "output" in given else path)


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the detector's settings that differ from its checkpoint's."""
    settings = {name: given[name] for name in ("iou_threshold", "objectness_power") if name in given}
    settings |= {"duplicate_iou": given["duplicate_iou"], "mirror": "mirror" in given}
    settings |= {"box_regression": "box_regression" in given}
    settings |= {"objectness_power": 0.0} if "no_objectness" in given else {}
    settings |= {"max_proposals": given["max_proposals"] or None} if "max_proposals" in given else {}
    return settings


def _print(scored: _Scored) -> None:
    """Print the figures, and of the first evaluation the classes."""
    from inception_rcnn.evaluation.report.text import class_lines, figure_lines

    for name, one in scored.evaluations.items():
        lines = [f"--- {name}"] if name else []
        lines += class_lines(one) if one is scored.first else []
        echo(*lines, *figure_lines(one, known=scored.known, dropped=scored.dropped))


def _store(given: Mapping[str, Any], scored: _Scored) -> None:
    """Write what was measured of each checkpoint into it, if that is asked for."""
    if not {"store_threshold", "store_calibration"} & given.keys():
        return
    from inception_rcnn.detector.calibration import store_best_threshold, store_calibration
    from inception_rcnn.detector.checkpoints import is_ensemble_file
    from inception_rcnn.evaluation.report.text import calibration_lines, score

    weights = given["weights"]
    # Those of the networks alone come after that of all together, which an ensemble's file is about.
    ones = [scored.first] if is_ensemble_file(weights[0]) else list(scored.evaluations.values())[-len(weights) :]
    for checkpoint, one in zip(weights, ones, strict=True):
        if "store_threshold" in given:
            threshold = store_best_threshold(checkpoint, one.matches)
            echo(f"stored score threshold {score(threshold)} in {checkpoint}")
        else:
            echo(*calibration_lines(checkpoint, store_calibration(checkpoint, one.matches), one.matches))


def _write(given: Mapping[str, Any], scored: _Scored) -> None:
    """Write the files that are asked for; then what a killed run would go on from is not needed any more."""
    from inception_rcnn.datasets.detections import write_detections
    from inception_rcnn.evaluation.protocols import result_to_dict
    from inception_rcnn.structures import write_json

    first = scored.first
    if "write_detections" in given:
        write_detections(given["write_detections"], first.detections, first.truths, given["dataset"])
    if "json_file" in given:
        write_json(given["json_file"], result_to_dict(first.result))
    if "report" in given:
        from inception_rcnn.evaluation.report.pages import write_report

        echo(f"report: {write_report(given['report'], first)}")
    if not {"report", "quiet"} & given.keys():
        echo(
            "next: --report DIR shows curves, errors and photographs; inception-rcnn compare tells which of two files "
            "of detections, such as those of --output, is better",
            err=True,
        )
    if scored.journal is not None:
        from inception_rcnn.detector.dataset_inference import forget_run
        from inception_rcnn.structures.jobs import Share

        forget_run(scored.journal, Share.from_environment(os.environ))


if __name__ == "__main__":
    run_command(main)
