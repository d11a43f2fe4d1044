"""inception-rcnn train --data photographs/mine

Fine-tunes the region classifier on one data set or several.

With a data set alone, it says what it understood of it, keeps one photograph in 7 to validate on, trains from the
shipped model with settings fitted to the number of photographs, stops when validation stops, and writes checkpoint,
curves and a page of results into --output (runs/NAME). --dry-run says all that, draws a sheet of photographs with their
boxes, and trains nothing. A part called test is touched only if --split names it. --iterations or --minutes, several
data sets, --paper and --regions warp leave all settings to the options below.

--regions pool: the trunk sees a photograph once, and some dozens of its regions are read off its maps; the network
learns how boxes should be moved, too. --regions warp, the R-CNN way: every region is stretched and seen by itself. The
default is what the pre-trained weights do, and pool from GoogLeNet's own.

Proposals are computed once and kept in the output folder; a run that is killed goes on where it was when the same
command is given again, with the same images, annotations, classes, proposals and pre-trained weights. The result is
OUTPUT/model.safetensors, to be given to `detect --weights`. Its score threshold is measured at the end, on images that
were not trained on: up to 100 of --val-split, or one in 20 of the first data set, at least 10 and at most 100, held out
by the seed; of fewer than 50 images none are held out, and the threshold is 0.1.

OUTPUT/log.csv has the losses on the way, OUTPUT/curves.svg draws them at the end. --validate-every N looks at mAP, too,
and keeps the best network as OUTPUT/best.safetensors. Several processes train as one when torchrun starts them:
torchrun --nproc-per-node 2 tools/train.py ..., each with a GPU where there are as many.

Several data sets: --data coco:coco --data voc:VOC2012 --split train --split trainval. Their labels are matched by name
with the first one's classes, or with the pre-trained detector's if it has them all. What a data set does not label
counts on its photographs as unknown, neither object nor background. docs/training.md has the whole of it, with the
command that trains the shipped model.

Examples:
  inception-rcnn train --data photographs/mine --dry-run
  inception-rcnn train --data voc:VOC2007 --split trainval --output runs/voc
  inception-rcnn train --data coco:coco --val-split val --iterations 20000 --validate-every 2000 --output runs/coco
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, run_command
from inception_rcnn.tools.detector_options import Device
from inception_rcnn.tools.own_classes import (
    draw_plan,
    is_to_be_fitted,
    part_to_validate_on,
    plan_for,
    say_plan,
    say_result,
)
from inception_rcnn.tools.scored_sets import readable_photographs
from inception_rcnn.tools.training_sets import (
    Exif,
    Origin,
    SkipBroken,
    Strict,
    TrainingSet,
    one_for_each,
    open_part,
    open_sets,
    reading_options,
)

if TYPE_CHECKING:
    from inception_rcnn.datasets.base import ReadingOptions
    from inception_rcnn.structures.dataset import DetectionDataset

_OF_RECORD = ("log_every", "validate_every", "validate_on", "tensorboard", "patience")
# Where the help has an option.
_DATA, _START, _SCHEDULE = "Data", "Start", "Schedule"
_RECORD = "What is written on the way"
_POOL, _BATCH, _WARP = "Network of pooled regions", "Batches of pooled regions", "Warped regions"
_TEACHERS = "Teachers, for pooled regions"


def _option(panel: str, help: str, *names: str, **rest: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **rest)


def main(
    data: Annotated[
        list[str] | None, _option(_DATA, "Data set, [FORMAT:]PATH; of several, each has an option of its own.")
    ] = None,
    output: Annotated[
        Path | None, _option(_DATA, "Folder for the result and everything needed to resume. Default: runs/NAME.")
    ] = None,
    dry_run: Annotated[
        bool, _option(_DATA, "Say what would be done, draw a sheet of photographs, and train nothing.", "--dry-run")
    ] = False,
    root: Annotated[Path | None, _option(_DATA, "The same as --data, for one data set.")] = None,
    dataset: Annotated[
        str | None,
        _option(
            _DATA, "Format where none is named before it: coco, voc, ilsvrc, yolo or folder. Default: as it looks."
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        _option(
            _DATA,
            "Part to train on: once for all data sets, or once for each. Default: train, or the only one.",
        ),
    ] = None,
    val_split: Annotated[
        str | None,
        _option(
            _DATA,
            "Part of the first data set to measure the score threshold on, and to validate on. Default: held out from "
            "the other.",
        ),
    ] = None,
    skip_broken: SkipBroken = False,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
    proposals_file: Annotated[
        list[Path] | None,
        _option(_DATA, "File made by `propose`, once for each data set. Default: made in OUTPUT.", "--proposals"),
    ] = None,
    source: Annotated[
        str,
        _option(_DATA, "What proposes: selective-search, multibox or both; the result will be used with it."),
    ] = "both",
    multibox: Annotated[
        str | None, _option(_DATA, "Weights of MultiBox, copied into OUTPUT. Default: the shipped network.")
    ] = None,
    pretrained: Annotated[
        str | None,
        _option(
            _START,
            "Where to start: a region classifier (.safetensors, or a shipped name), or GoogLeNet trained on ImageNet "
            "(a file, or imagenet, see docs/backbone.md). Default: the shipped model that does --regions.",
        ),
    ] = None,
    regions: Annotated[
        str | None, _option(_START, "pool or warp. Default: what the pre-trained weights do, else pool.")
    ] = None,
    paper: Annotated[
        bool, _option(_START, "R-CNN's way: regions warped and drawn uniformly; no shaken copies.", "--paper")
    ] = False,
    own_classes: Annotated[
        bool | None,
        _option(_START, "The first data set's classes, though the detector has them and more.", "--own-classes"),
    ] = None,
    warm_head: Annotated[
        bool | None,
        _option(_START, "Start classes from ImageNet's outputs that are kinds of them. Default: no."),
    ] = None,
    seed: Annotated[int, _option(_START, "Of batches, mirroring, dropout, fresh layers, held-out images.")] = 0,
    iterations: Annotated[int | None, _option(_SCHEDULE, "Batches. Default: 2000.", min=1)] = None,
    minutes: Annotated[float | None, _option(_SCHEDULE, "As many batches as take so long, instead.")] = None,
    learning_rate: Annotated[float | None, _option(_SCHEDULE, "Highest learning rate. Default: 0.002.")] = None,
    warm_up: Annotated[
        int | None, _option(_SCHEDULE, "Batches in which the rate rises. Default: 50; pool 200.", min=0)
    ] = None,
    schedule: Annotated[
        str | None,
        _option(
            _SCHEDULE,
            "cosine: the rate falls to zero; paper-step: by 4 % every 8 passes over the data. Default: cosine.",
        ),
    ] = None,
    train_from: Annotated[
        str | None, _option(_SCHEDULE, "First stage that learns: conv1, conv2, 3a ... 5b. Default: 4a; pool 3a.")
    ] = None,
    frozen: Annotated[
        list[str] | None,
        _option(_SCHEDULE, "A further stage or layer that does not learn: 3a, 4e, lateral ... May be repeated."),
    ] = None,
    head_only: Annotated[
        bool | None, _option(_SCHEDULE, "Only the last layer for classes learns, all else is frozen.", "--head-only")
    ] = None,
    hard_examples: Annotated[
        int | None,
        _option(_SCHEDULE, "Of a batch's regions only so many count, the hardest. Default: all.", min=1),
    ] = None,
    averaging: Annotated[
        float | None, _option(_SCHEDULE, "Decay of the running average of the weights; 0: none. Default: 0.998.")
    ] = None,
    photographs: Annotated[int | None, _option(_BATCH, "Photographs of a batch. Default: 2.", min=1)] = None,
    regions_each: Annotated[int | None, _option(_BATCH, "Regions of each photograph. Default: 64.", min=1)] = None,
    best: Annotated[
        int | None, _option(_BATCH, "Drawn from so many of its proposals, the first ones. Default: 600.", min=1)
    ] = None,
    scales: Annotated[
        str | None, _option(_BATCH, "By one of which each batch is enlarged. Default: 1,1.25,1.5.")
    ] = None,
    cells: Annotated[
        str | None, _option(_BATCH, "Cells across and down a region, in turn: 7,6,5. Default: the network's own.")
    ] = None,
    photometric: Annotated[
        float | None, _option(_BATCH, "Random contrast, brightness and saturation, 0 to 1. Default: 0.")
    ] = None,
    random_interpolation: Annotated[
        bool | None,
        _option(_BATCH, "Enlarge by nearest pixel, bilinearly, bicubically or by area.", "--random-interpolation"),
    ] = None,
    repeat_below: Annotated[
        float | None, _option(_BATCH, "Classes on a smaller share of photographs come more often. Default: 0.")
    ] = None,
    jitter: Annotated[int | None, _option(_BATCH, "Shaken copies of each object. Default: 4.", min=0)] = None,
    smoothing: Annotated[float | None, _option(_BATCH, "Of labels, 0 to 1. Default: 0.")] = None,
    teacher: Annotated[
        list[str] | None,
        _option(_TEACHERS, "A pooled detector of the same classes, whose answers are learned too; may be repeated."),
    ] = None,
    teacher_share: Annotated[
        float | None, _option(_TEACHERS, "Of the loss that compares with them, 0 to 1. Default: 0.5.")
    ] = None,
    teacher_temperature: Annotated[
        float | None, _option(_TEACHERS, "Above 1 small probabilities count more. Default: 2.")
    ] = None,
    short_side: Annotated[
        int | None,
        _option(
            _POOL,
            "Pixels of a photograph's short side in use; in training at the middle one of --scales. Default: 480.",
        ),
    ] = None,
    fine_channels: Annotated[
        int | None, _option(_POOL, "Of the map behind 3b that are joined in; 0: none. Default: 256.")
    ] = None,
    box_regression: Annotated[bool | None, _option(_POOL, "Learn to move boxes. Default: yes.")] = None,
    objectness_power: Annotated[
        float | None, _option(_POOL, "Power of the objectness in the result's scores, 0 to 4. Default: 0.5.")
    ] = None,
    linear_batches: Annotated[
        int | None,
        _option(
            _WARP,
            "Batches for the linear softmax that the new layer starts from; 0: no such start. Default: 200, or 0 where "
            "the pre-trained classifier has the same classes and keeps its last layer.",
            min=0,
        ),
    ] = None,
    log_every: Annotated[
        int | None, _option(_RECORD, "Batches between two lines of OUTPUT/log.csv. Default: 50.", min=1)
    ] = None,
    validate_every: Annotated[
        int | None,
        _option(
            _RECORD,
            "Batches between two looks at the averaged network's mAP, on --val-split or what is held out; the best "
            "network is kept as OUTPUT/best.safetensors. Default: none.",
            min=1,
        ),
    ] = None,
    validate_on: Annotated[int | None, _option(_RECORD, "Photographs for that, at most. Default: 100.", min=1)] = None,
    patience: Annotated[
        int | None,
        _option(
            _RECORD,
            "Looks without a better mAP after which the training ends, with the best network as its result. Default: "
            "none; 3 where settings are fitted.",
            min=1,
        ),
    ] = None,
    tensorboard: Annotated[
        bool, _option(_RECORD, "Write TensorBoard's events too, into OUTPUT/tensorboard.", "--tensorboard")
    ] = False,
    device: Device = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    given = {name: value for name, value in locals().items() if value is not None}
    from inception_rcnn.detector.training.fine_tuning import OptionError, TrainingOptions, trained_detector
    from inception_rcnn.detector.training.record import RecordSettings
    from inception_rcnn.structures.jobs import Share

    if schedule is not None:
        check_known("--schedule", schedule, ("cosine", "paper-step"))
    if regions is not None:
        check_known("--regions", regions, ("pool", "warp"))
    is_fitted = len(data or [root]) == 1 and is_to_be_fitted(given)
    for name, value in (("--validate-on", validate_on), ("--patience", patience)):
        if value is not None and validate_every is None and not is_fitted:
            raise typer.BadParameter("goes with --validate-every, which says when", param_hint=name)
    for name, kind in (("scales", float), ("cells", int)):
        if name in given:
            given[name] = _numbers(name, given[name], kind)
    reading = reading_options(**given)
    sets = open_sets(data or [], root, dataset, split or [], **reading)
    part = val_split or (part_to_validate_on(sets[0]) if is_fitted else None)
    val = None if part is None else _val_part(sets, part, reading, is_named=val_split is not None)
    val_part = None if val is None else part
    output = output or Path("runs", "-".join(dict.fromkeys(one.root.resolve().name for one in sets)))
    learned = [readable_photographs(one.dataset, skip_broken=skip_broken) for one in sets]
    options = {name: given[name] for name in TrainingOptions.__annotations__ if name in given}
    recorded = {name: given[name] for name in _OF_RECORD if name in given}
    plan = plan_for(learned[0], val, options, recorded, seed) if is_fitted else None
    leads = Share.from_environment(os.environ).leads
    if plan is not None:
        learned, val, options = [plan.learned], plan.val, dict(plan.options)
        if leads:
            say_plan(sets[0], plan, pretrained, output)
    if dry_run:
        draw_plan(sets[0], output)
        return
    record = RecordSettings(**recorded) if plan is None else plan.record
    try:
        made = trained_detector(
            learned,
            output,
            pretrained=pretrained,
            regions=regions,
            paper=paper,
            val=val,
            proposals=one_for_each("--proposals", proposals_file or [], len(sets)),
            source=source,
            multibox=multibox,
            device=device,
            seed=seed,
            licence=licence,
            record=record,
            quiet=quiet,
            options=options,
        )
    except OptionError as error:
        raise typer.BadParameter(error.reason, param_hint=_option_name(error.option)) from error
    if not leads:
        return
    echo(f"score threshold {made.threshold.value:.3f} ({made.threshold.origin})")
    if made.best is not None:
        found = f"mAP@0.5 {made.best['mAP']:.3f} after {made.best['iteration']:.0f} iterations"
        echo(f"best in validation: {found}, kept as {made.path.with_name('best.safetensors')}")
    if plan is not None:
        say_result(
            sets[0],
            plan,
            made.path,
            val_part=val_part,
            pretrained=pretrained,
            reading=reading,
            device=device,
            quiet=quiet,
        )
    tried = shlex.join(["inception-rcnn", "detect", "--weights", str(made.path), "image.jpg"])
    echo(f"wrote {made.path}; try it with: {tried}")


def _val_part(
    sets: Sequence[TrainingSet], part: str, reading: ReadingOptions, *, is_named: bool
) -> DetectionDataset | None:
    """Return the part of the first data set to validate on; None where one that was not named is trained on.

    Raises:
        typer.BadParameter: One that was named is.
    """
    from inception_rcnn.structures.dataset import photographs_in_both

    first = sets[0]
    if part == first.part:
        raise typer.BadParameter(f"{part!r} is trained on; name another part", param_hint="--val-split")
    opened = open_part(first.format, first.root, part, **reading)
    if learned := photographs_in_both(opened, [one.dataset for one in sets]):
        what = f"{len(learned)} of {len(opened)} photographs of {part} are trained on, such as {learned[0].name}"
        if is_named:
            raise typer.BadParameter(f"{what}; name another part", param_hint="--val-split")
        echo(f"note: {what}; it is not validated on", err=True)
        return None
    return readable_photographs(opened, skip_broken=reading.get("skip_broken", False))


def _numbers(name: str, text: str, kind: Callable[[str], float]) -> tuple[float, ...]:
    """Return the numbers of "1,1.25,1.5".

    Raises:
        typer.BadParameter: A part is no such number.
    """
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"should be numbers with commas between them, got {text!r}", param_hint=_option_name(name)
        ) from None


def _option_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    run_command(main)
