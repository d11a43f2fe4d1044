"""inception-rcnn train_multibox --data coco:coco --pretrained googlenet.npz --output runs/multibox

Trains MultiBox, the network that proposes boxes, on the objects of one or several data sets, whatever their classes.

Every fortieth photograph is held out, and its coverage is printed as the training goes on. Proposals of selective
search, which the objectness learns from, are computed once and kept in the output folder; a run that is killed goes on
where it was when the same command is given again, with the same photographs, annotations and pre-trained weights. The
result is OUTPUT/multibox.safetensors.

A data set is given as [FORMAT:]PATH, with coco, voc, ilsvrc or folder, or with --part where only some of the objects
that should be found are labelled: there, a confident box without an object is not held to be wrong. Crowds, difficult
objects and objects cut in two by a window's border are neither right nor wrong anywhere. --split names the part of all
of them, or of each: first those of --data, then those of --part, each in the order in which they were given.

Examples:
  inception-rcnn train_multibox --data photographs/mine --pretrained multibox --iterations 500 --output runs/boxes
  inception-rcnn train_multibox --data coco:coco --part ilsvrc:ilsvrc --pretrained imagenet --output runs/multibox
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import echo, run_command
from inception_rcnn.tools.detector_options import Device
from inception_rcnn.tools.scored_sets import readable_photographs
from inception_rcnn.tools.training_sets import Exif, Origin, SkipBroken, Strict, open_sets, reading_options


def main(
    pretrained: Annotated[
        Path,
        typer.Option(
            help="GoogLeNet trained on ImageNet (a file, or imagenet, see docs/backbone.md), or a MultiBox that is to "
            "go on learning, a file or a shipped name."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the result and everything needed to resume.")],
    data: Annotated[list[str] | None, typer.Option(help="Data set, [FORMAT:]PATH; may be given several times.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Data set labelled in part, [FORMAT:]PATH; likewise.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Part to train on: once for all data sets, or once for each. Default: train, or the only one."
        ),
    ] = None,
    skip_broken: SkipBroken = False,
    strict: Strict = False,
    origin: Origin = None,
    exif: Exif = None,
    side: Annotated[
        int | None,
        typer.Option(help="Of the network's input, in pixels; a multiple of 64. Default: 320, or the MultiBox's."),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=8, help="Of the maps that the head reads. Default: 128; a MultiBox keeps its own."),
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Batches. Default: 4000.")] = None,
    minutes: Annotated[float | None, typer.Option(help="As many batches as take so long, instead.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Photographs of a batch.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate of the new layers.")] = 1e-3,
    train_from: Annotated[str, typer.Option(help="First stage that learns: conv1, conv2, 3a ... 5b.")] = "3a",
    matching: Annotated[str, typer.Option(help="What decides who answers for an object: prior, prediction.")] = "prior",
    matches: Annotated[int, typer.Option(min=1, help="Priors an object is assigned to; the paper: 1.")] = 4,
    seed: Annotated[int, typer.Option(help="Of order, windows, colours and fresh layers.")] = 0,
    device: Device = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.detector.training.proposal_network import train_multibox
    from inception_rcnn.proposals.network.loss import LossSettings
    from inception_rcnn.proposals.network.training import MultiBoxTrainingSettings

    if iterations is not None and minutes is not None:
        raise typer.BadParameter("--iterations says how many batches; name one of the two", param_hint="--minutes")
    if not data and not part:
        raise typer.BadParameter("name at least one data set, for example coco:coco", param_hint="--data")
    settings = MultiBoxTrainingSettings(
        iterations=4000 if iterations is None else iterations,
        batch=batch,
        learning_rate=learning_rate,
        train_from=train_from,
        seed=seed,
        loss=LossSettings(matching=matching, matches=matches),
    )
    reading = reading_options(skip_broken=skip_broken, strict=strict, origin=origin, exif=exif)
    sets = open_sets([*(data or []), *(part or [])], None, None, split or [], **reading)
    opened = [readable_photographs(one.dataset, skip_broken=skip_broken) for one in sets]
    result = train_multibox(
        opened[: len(data or [])],
        output,
        pretrained=pretrained,
        parts=opened[len(data or []) :],
        side=side,
        channels=channels,
        settings=settings,
        minutes=minutes,
        device=device,
        licence=licence,
        quiet=quiet,
    )
    echo(f"wrote {result}; try it with: inception-rcnn propose --source multibox --weights {result} image.jpg")


if __name__ == "__main__":
    run_command(main)
