"""inception-rcnn train_multibox --data coco:coco --pretrained googlenet.npz --output runs/multibox

Trains MultiBox, the network that proposes boxes, on the objects of one or several data sets, whatever their classes.

Every fortieth photograph is held out, and its coverage is printed as the training goes on. Proposals of selective
search, which the objectness learns from, are computed once and kept in the output folder; a run that is killed goes on
where it was when the same command is given again, with the same photographs, annotations and pre-trained weights. The
result is OUTPUT/multibox.safetensors.

A data set is given as [FORMAT:]DIR, with coco, voc, ilsvrc or folder, or with --part where only some of the objects
that should be found are labelled: there, a confident box without an object is not held to be wrong. Crowds, difficult
objects and objects cut in two by a window's border are neither right nor wrong anywhere. --split names the part of all
of them, or of each: first those of --data, then those of --part, each in the order in which they were given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import numpy as np
import typer

from inception_rcnn.tools.cli import run_command
from inception_rcnn.tools.training_sets import TrainingSet, open_sets

if TYPE_CHECKING:
    from inception_rcnn.proposals.network.predictor import MultiBox
    from inception_rcnn.proposals.network.priors import Boxes
    from inception_rcnn.proposals.network.samples import BoxSource, Pixels
    from inception_rcnn.structures import GroundTruth, Proposals
    from inception_rcnn.structures.dataset import DetectionDataset

_HELD_OUT = 40  # one photograph in so many


def main(
    pretrained: Annotated[
        Path,
        typer.Option(
            help="GoogLeNet trained on ImageNet (.npz of Caffe arrays, or .safetensors), or a MultiBox that is to go "
            "on learning, a file or a shipped name."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the result and everything needed to resume.")],
    data: Annotated[list[str] | None, typer.Option(help="Data set, [FORMAT:]DIR; may be given several times.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Data set labelled in part, [FORMAT:]DIR; likewise.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Part to train on: once for all data sets, or once for each. Default: train; a plain folder has none."
        ),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken in the data sets, and count it.")
    ] = False,
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
    from inception_rcnn.backbones.training import seeded
    from inception_rcnn.proposals.network.checkpoints import read_start
    from inception_rcnn.proposals.network.loss import LossSettings
    from inception_rcnn.proposals.network.priors import common_ratios
    from inception_rcnn.proposals.network.training import MultiBoxTrainingSettings, train_multibox

    if iterations is not None and minutes is not None:
        raise typer.BadParameter("--iterations says how many batches; name one of the two", param_hint="--minutes")
    keep_freed_memory()
    runtime = choose_runtime(device)
    settings = MultiBoxTrainingSettings(
        iterations=4000 if iterations is None else iterations,
        batch=batch,
        learning_rate=learning_rate,
        train_from=train_from,
        seed=seed,
        loss=LossSettings(matching=matching, matches=matches),
    )
    # What may be refused at once comes before the proposals, which take minutes.
    start = read_start(pretrained, side=side, channels=channels)
    if not data and not part:
        raise typer.BadParameter("name at least one data set, for example coco:coco", param_hint="--data")
    sets = open_sets([*(data or []), *(part or [])], None, "coco", split or [], skip_broken=skip_broken)
    whole = len(data or [])  # so many are labelled completely
    sources = _sources(sets, whole, output, quiet=quiet)
    described = start.description
    if start.fresh_head:
        described = replace(described, priors=replace(described.priors, ratios=common_ratios(_shares(sources))))
    training = {"data": _names(sets, whole), "pretrained": pretrained.name}
    description = replace(described, training=training, licence=licence)
    with seeded(seed, runtime.device):
        network = start.build(description)
    result = train_multibox(
        sources,
        description,
        network,
        settings,
        runtime,
        output,
        coverage=_Coverage(sources),
        fresh_head=start.fresh_head,
        minutes=minutes,
        quiet=quiet,
    )
    typer.echo(f"wrote {result}; try it with: inception-rcnn propose --source multibox --weights {result} image.jpg")


def _names(sets: Sequence[TrainingSet], whole: int) -> list[str]:
    """Return the data sets by name, with those labelled in part told apart."""
    return [f"{one.name}{'' if place < whole else ' (in part)'}" for place, one in enumerate(sets)]


def _sources(sets: Sequence[TrainingSet], whole: int, output: Path, *, quiet: bool) -> list[BoxSource]:
    """Return the data sets with what makes their proposals, all images but every fortieth to train on."""
    from inception_rcnn.detector.training.fine_tuning import stored_names
    from inception_rcnn.proposals.network.samples import BoxSource

    sources = []
    names = stored_names([one.dataset for one in sets])
    for place, (one, name) in enumerate(zip(sets, names, strict=True)):
        propose = partial(_proposals, one.dataset, output / name, quiet=quiet)
        rows = [row for row in range(len(one.dataset)) if row % _HELD_OUT]
        sources.append(BoxSource(one.dataset, propose, place < whole, rows, one.name))
    return sources


def _proposals(dataset: DetectionDataset, path: Path, *, quiet: bool) -> Sequence[Proposals]:
    """Return what selective search proposes for each image, stored in `path` and read from there the next time."""
    from inception_rcnn.proposals import selective_search
    from inception_rcnn.proposals.proposer import search_settings
    from inception_rcnn.proposals.stored import propose_for_set
    from inception_rcnn.structures import progress_bar

    path.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar(len(dataset), f"proposals for {path.stem}", quiet=quiet) as bar:
        made = propose_for_set(
            dataset, lambda image: selective_search(image, threads=1), search_settings({}), path, bar=bar
        )
    return made.proposals


def _shares(sources: list[BoxSource]) -> Boxes:
    """Return all objects as shares of their images."""
    from inception_rcnn.proposals.network.priors import as_shares, flattened

    found = []
    for source in sources:
        for row in source.rows:
            truth = source.dataset.ground_truth(row)
            width, height = truth.width, truth.height
            if width is None or height is None:
                height, width = source.dataset.load_image(row).shape[:2]
            found.append(as_shares(truth.boxes[~truth.ignore], width, height))
    return flattened(found)


def _of_one_class(truth: GroundTruth) -> GroundTruth:
    """Return the objects without their names, which differ from data set to data set."""
    return replace(truth, class_names=("object",), labels=np.zeros_like(truth.labels))


class _Coverage:
    """What share of the held-out images' objects the first 10, 50 and 200 boxes cover.

    Args:
        sources: Every fortieth image of each is looked at; a few are in memory at a time.

    Raises:
        InputError: There is no object on them.
    """

    def __init__(self, sources: list[BoxSource]) -> None:
        from inception_rcnn.structures import InputError

        self._images = [(one.dataset, row) for one in sources for row in range(0, len(one.dataset), _HELD_OUT)]
        self._truths = [_of_one_class(dataset.ground_truth(row)) for dataset, row in self._images]
        if all(truth.ignore.all() for truth in self._truths):
            raise InputError(f"no object on the {len(self._truths)} images held out, one in {_HELD_OUT}")

    def __call__(self, network: MultiBox) -> dict[str, float]:
        from inception_rcnn.evaluation import proposal_recall
        from inception_rcnn.structures.ahead import run_ahead
        from inception_rcnn.structures.jobs import available_processors

        found: list[Proposals] = []
        batch = network.runtime.batch
        with closing(run_ahead(self._load, range(len(self._images)), workers=available_processors())) as loaded:
            while images := [one.result() for one in islice(loaded, batch)]:
                found.extend(network.propose_batch(images))
        recall = proposal_recall(self._truths, found, counts=(10, 50, 200)).recall_at
        return {f"recall@{count}": share for count, share in recall.items()}

    def _load(self, place: int) -> Pixels:
        dataset, row = self._images[place]
        return dataset.load_image(row)


if __name__ == "__main__":
    run_command(main)
