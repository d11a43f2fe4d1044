"""inception-rcnn train --root coco --output runs/first

Fine-tunes the region classifier on a data set in COCO format, the R-CNN way.

Proposals are computed once and kept in the output folder; a run that is killed goes on where it was when the same
command is given again. The result is OUTPUT/model.safetensors, to be given to `detect --weights`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import run_command


def main(
    root: Annotated[Path, typer.Option(help="Folder of the data set: <split>.json and <split>/ in COCO format.")],
    output: Annotated[Path, typer.Option(help="Folder for the result and everything needed to resume.")],
    pretrained: Annotated[
        str,
        typer.Option(
            help="Where to start: a region classifier (.safetensors, or a shipped name), or GoogLeNet trained on "
            "ImageNet (.npz of Caffe arrays, or .safetensors)."
        ),
    ] = "coco-mini",
    split: Annotated[str, typer.Option(help="Part of the data set to train on.")] = "train",
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
    seed: Annotated[int, typer.Option(help="Of batches, mirroring and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parses, calls, prints."""
    from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
    from inception_rcnn.datasets import CocoDataset
    from inception_rcnn.detector.proposing import (
        REGION_INPUT,
        ProposalSettings,
        Proposer,
        other_setting,
        propose_for_set,
    )
    from inception_rcnn.detector.region_classifier import ClassifierDescription
    from inception_rcnn.detector.training.initial_weights import pretrained_network
    from inception_rcnn.detector.training.sampling import SamplingSettings
    from inception_rcnn.detector.training.step import TrainingSettings
    from inception_rcnn.detector.training.trainer import FineTuneSettings, fine_tune
    from inception_rcnn.proposals.image_sets import proposals_from_file

    keep_freed_memory()
    runtime = choose_runtime(device)
    dataset = CocoDataset(root, split)
    start = pretrained_network(pretrained, dataset.class_names)
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
    output.mkdir(parents=True, exist_ok=True)
    if proposals_file is None:
        proposals = propose_for_set(dataset, proposer, output / f"proposals-{split}.safetensors", quiet=quiet)
    else:
        proposals = proposals_from_file(proposals_file, dataset)
        if difference := other_setting(proposals_file, proposer):
            typer.echo(f"note: {difference}, which the result will be used with (see --source)", err=True)
    description = ClassifierDescription(
        class_names=dataset.class_names,
        input_spec=REGION_INPUT,
        proposal_settings=proposer.settings.to_dict(),
        training={"data": f"{root.name}/{split}", **start.origin},
        licence=licence,
    )
    result = fine_tune(dataset, proposals, start.network, description, settings, runtime, output, quiet=quiet)
    typer.echo(f"wrote {result}; try it with: inception-rcnn detect --weights {result} image.jpg")


if __name__ == "__main__":
    run_command(main)
