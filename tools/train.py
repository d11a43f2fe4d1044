"""inception-rcnn train --root coco --output runs/first

Fine-tunes the region classifier on a data set, the R-CNN way.

Proposals are computed once and kept in the output folder; a run that is killed goes on where it was when the same
command is given again, with the same images, annotations, classes, proposals and pre-trained weights. The result is
OUTPUT/model.safetensors, to be given to `detect --weights`. Its score threshold is measured at the end, on images that
were not trained on: up to 100 of --val-split, or one in 20 of the data set, at least 10 and at most 100, held out by
the seed; of fewer than 50 images none are held out, and the threshold is 0.1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, print_problems, run_command

if TYPE_CHECKING:
    from inception_rcnn.proposals.proposer import Proposer
    from inception_rcnn.structures import Proposals
    from inception_rcnn.structures.dataset import DetectionDataset


def main(
    root: Annotated[Path, typer.Option(help="Folder of the data set; for COCO with <split>.json and <split>/.")],
    output: Annotated[Path, typer.Option(help="Folder for the result and everything needed to resume.")],
    pretrained: Annotated[
        str,
        typer.Option(
            help="Where to start: a region classifier (.safetensors, or a shipped name), or GoogLeNet trained on "
            "ImageNet (.npz of Caffe arrays, or .safetensors)."
        ),
    ] = "coco-mini",
    dataset: Annotated[str, typer.Option(help="Format: coco, voc, ilsvrc or folder.")] = "coco",
    split: Annotated[
        str | None, typer.Option(help="Part to train on. Default: train; a plain folder may have none.")
    ] = None,
    val_split: Annotated[
        str | None, typer.Option(help="Part to measure the score threshold on. Default: held out from the other.")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what is broken in the data set, and count it.")
    ] = False,
    proposals_file: Annotated[
        Path | None, typer.Option("--proposals", help="File made by `propose`. Default: made in OUTPUT.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="What proposes: selective-search, multibox or both; the result will be used with it.")
    ] = "both",
    multibox: Annotated[str | None, typer.Option(help="Weights of MultiBox. Default: the shipped network.")] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Batches of 32 foreground and 96 background regions.")] = 2000,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 0.002,
    train_from: Annotated[str, typer.Option(help="First stage that learns: conv1, conv2, 3a ... 5b.")] = "4a",
    linear_batches: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Batches for the linear softmax that the new layer starts from; 0: no such start. Default: 200, or 0 "
            "where the pre-trained classifier has the same classes and keeps its last layer.",
        ),
    ] = None,
    averaging: Annotated[float, typer.Option(help="Decay of the running average of the weights; 0: none.")] = 0.998,
    paper: Annotated[
        bool, typer.Option("--paper", help="Draw windows uniformly, as R-CNN did; no shaken copies.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of batches, mirroring, dropout, a fresh layer, held-out images.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
    from inception_rcnn.detector.region_classifier import REGION_INPUT, ClassifierDescription
    from inception_rcnn.detector.training.initial_weights import pretrained_network
    from inception_rcnn.detector.training.sampling import SamplingSettings
    from inception_rcnn.detector.training.step import TrainingSettings
    from inception_rcnn.detector.training.trainer import FineTuneSettings, fine_tune
    from inception_rcnn.proposals import ProposalSettings, Proposer

    keep_freed_memory()
    runtime = choose_runtime(device)
    part = split or (None if dataset == "folder" else "train")
    if val_split is not None and val_split == part:
        raise typer.BadParameter(f"{val_split!r} is trained on; name another part", param_hint="--val-split")
    images = _open(dataset, root, part, skip_broken=skip_broken)
    val = None if val_split is None else _open(dataset, root, val_split, skip_broken=skip_broken)
    start = pretrained_network(pretrained, images.class_names, seed=seed)
    if linear_batches is None:
        linear_batches = 0 if start.knows_classes else 200
    settings = FineTuneSettings(
        training=TrainingSettings(
            iterations=iterations,
            learning_rate=learning_rate,
            # R-CNN's 10 is meant for a random start.
            new_layer_factor=2.0 if linear_batches or start.knows_classes else 10.0,
            train_from=train_from,
            averaging=averaging,
            seed=seed,
        ),
        sampling=SamplingSettings(uniform=paper, seed=seed),
        linear_batches=linear_batches,
        jitter=0 if paper else 4,
    )
    proposing = (
        ProposalSettings(source=source) if multibox is None else ProposalSettings(source=source, multibox=multibox)
    )
    proposer = Proposer.load(proposing, runtime)
    stored = output / f"proposals-{part or root.name}.safetensors"
    description = ClassifierDescription(
        class_names=images.class_names,
        input_spec=REGION_INPUT,
        proposal_settings=proposer.settings.to_dict(),
        training={"data": f"{root.name}/{part}" if part else root.name},
        licence=licence,
    )
    result = fine_tune(
        images,
        partial(_proposals, images, proposer, proposals_file, stored, quiet=quiet),
        proposer,
        start,
        description,
        settings,
        runtime,
        output,
        val=val,
        quiet=quiet,
    )
    typer.echo(f"score threshold {result.threshold.value:.3f} ({result.threshold.origin})")
    typer.echo(f"wrote {result.path}; try it with: inception-rcnn detect --weights {result.path} image.jpg")


def _open(format: str, root: Path, split: str | None, *, skip_broken: bool) -> DetectionDataset:
    """Return a part of the data set; what is left out is printed."""
    from inception_rcnn.datasets import FORMATS, open_dataset

    check_known("--dataset", format, FORMATS)
    dataset = open_dataset(format, root, split, skip_broken=skip_broken)
    print_problems(dataset.problems)
    return dataset


def _proposals(
    dataset: DetectionDataset, proposer: Proposer, given: Path | None, stored: Path, *, quiet: bool
) -> Sequence[Proposals]:
    """Return the proposals of each image from a given file, or from the one in the output folder, made if need be."""
    from inception_rcnn.proposals.stored import other_setting, proposals_from_file, propose_for_set
    from inception_rcnn.structures import progress_bar

    if given is None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(len(dataset), "proposals", quiet=quiet) as bar, proposer.side_by_side() as propose:
            return propose_for_set(dataset, propose, proposer.describe(), stored, bar=bar).proposals
    proposals = proposals_from_file(given, dataset)
    if difference := other_setting(given, proposer.describe()):
        typer.echo(f"note: {difference}, which the result will be used with (see --source)", err=True)
    return proposals


if __name__ == "__main__":
    run_command(main)
