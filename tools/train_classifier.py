"""inception-rcnn train_classifier photographs --output runs/classifier

Trains GoogLeNet to say what photographs show, the paper's way.

The data: a folder with train/ and val/, each with a folder for each class (torchvision's ImageFolder) or a table,
labels.tsv, with columns `file` and `class_index`; a folder of classes alone, of which one in ten photographs is held
out by the seed; or ILSVRC's classification task as it is unpacked (Data/CLS-LOC).

Patches of 8 to 100 % of a photograph with sides of 3:4 to 4:3, mirrored, recoloured, resized in one of four ways;
auxiliary heads on 4a and 4d whose losses count 0.3; SGD with momentum 0.9, the rate 4 % lower every 8 passes; the
running average of the weights is the result, OUTPUT/model.safetensors, for `classify --weights` and
`eval_classification --weights`.

--pretrained: coco (the shipped detector's trunk), imagenet (docs/backbone.md says where from), a file, or scratch. The
default is coco for --variant paper, scratch for batchnorm.

A run that is killed goes on where it was when the same command is given again. OUTPUT/log.csv has losses and accuracy
on the way, OUTPUT/curves.svg draws them at the end. Several processes train as one: torchrun --nproc-per-node 2
tools/train_classifier.py ..., each with a GPU where there are as many.

Examples:
  inception-rcnn train_classifier photographs --output runs/classifier --minutes 30
  inception-rcnn train_classifier imagenet --variant batchnorm --iterations 200000 --batch 256 --output runs/batchnorm
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, print_problems, run_command
from inception_rcnn.tools.detector_options import Device

if TYPE_CHECKING:
    from inception_rcnn.backbones import GoogLeNet
    from inception_rcnn.backbones.training.classification import ClassifierTrainingSettings
    from inception_rcnn.datasets import LabelledImages

_SCRATCH = "scratch"
_HELD_OUT = 0.1
# Highest rates: of a network that is pre-trained, of a fresh one, and of a fresh one with batch norm.
_RATES = {"pretrained": 0.002, "paper": 0.01, "batchnorm": 0.05}
_DATA, _START, _SCHEDULE, _PATCHES = "Data", "Start", "Schedule", "Patches"


def _option(panel: str, help: str, *names: str, **rest: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **rest)


def main(
    data: Annotated[Path, typer.Argument(help="Folder with train/ and val/, of classes, or of ILSVRC's task.")],
    output: Annotated[Path, _option(_DATA, "Folder for the result and everything needed to resume.")],
    split: Annotated[str, _option(_DATA, "Part to train on.")] = "train",
    val_split: Annotated[str, _option(_DATA, "Part to measure accuracy on.")] = "val",
    skip_broken: Annotated[
        bool,
        _option(_DATA, "Leave out files that are no photographs, or cut off; else they are refused.", "--skip-broken"),
    ] = False,
    variant: Annotated[str, _option(_START, "paper or batchnorm.")] = "paper",
    pretrained: Annotated[
        str | None, _option(_START, "coco, imagenet, a file, or scratch. Default: coco; batchnorm scratch.")
    ] = None,
    auxiliary: Annotated[float, _option(_START, "What each auxiliary head's loss counts; 0: no heads.", min=0.0)] = 0.3,
    seed: Annotated[int, _option(_START, "Of batches, patches, dropout, fresh layers, held-out photographs.")] = 0,
    iterations: Annotated[int | None, _option(_SCHEDULE, "Batches. Default: 2000.", min=1)] = None,
    minutes: Annotated[float | None, _option(_SCHEDULE, "As many batches as take so long, instead.")] = None,
    batch: Annotated[int, _option(_SCHEDULE, "Patches of a batch.", min=1)] = 32,
    learning_rate: Annotated[
        float | None,
        _option(_SCHEDULE, "Highest. Default: 0.002; from scratch 0.01, with batch norm 0.05."),
    ] = None,
    warm_up: Annotated[int, _option(_SCHEDULE, "Batches in which the rate rises.", min=0)] = 50,
    schedule: Annotated[
        str, _option(_SCHEDULE, "paper-step: 4 % less every 8 passes; cosine: the rate falls to zero.")
    ] = "paper-step",
    train_from: Annotated[str, _option(_SCHEDULE, "First stage that learns: conv1, conv2, 3a ... 5b.")] = "conv1",
    averaging: Annotated[float, _option(_SCHEDULE, "Decay of the running average of the weights; 0: none.")] = 0.999,
    side: Annotated[int, _option(_PATCHES, "Of the patches, in pixels.")] = 224,
    least_area: Annotated[float, _option(_PATCHES, "Of a patch, as a share of the photograph.")] = 0.08,
    photometric: Annotated[float, _option(_PATCHES, "Random saturation, contrast and brightness, 0 to 1.")] = 0.4,
    save_every: Annotated[int, typer.Option(min=1, help="Batches between two states.")] = 100,
    log_every: Annotated[int, typer.Option(min=1, help="Batches between two lines of OUTPUT/log.csv.")] = 50,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Batches between two looks at the accuracy. Default: only at the end.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Parse, call, print."""
    check_known("--variant", variant, ("paper", "batchnorm"))
    check_known("--schedule", schedule, ("cosine", "paper-step"))
    if iterations is not None and minutes is not None:
        raise typer.BadParameter("--iterations says how many batches; name one of the two", param_hint="--minutes")

    import torch

    from inception_rcnn.backbones.runtime import choose_runtime, keep_freed_memory
    from inception_rcnn.backbones.training.classification import (
        LOG,
        ClassifierTask,
        ClassifierTrainingSettings,
        train_classifier,
    )
    from inception_rcnn.backbones.training.distributed import Team
    from inception_rcnn.backbones.training.patches import LabelledPhotographs, PatchSettings
    from inception_rcnn.backbones.training.sgd import SgdSettings
    from inception_rcnn.detector.training.curves import write_curves
    from inception_rcnn.structures import ImageError
    from inception_rcnn.structures.jobs import Share

    start = pretrained or ("coco" if variant == "paper" else _SCRATCH)
    fresh = start == _SCRATCH
    settings = ClassifierTrainingSettings(
        training=SgdSettings(
            iterations=2000 if iterations is None else iterations,
            learning_rate=learning_rate or _RATES[variant if fresh else "pretrained"],
            new_layer_factor=1.0 if fresh else 5.0,
            weight_decay=2e-4,
            warm_up=warm_up,
            train_from=train_from,
            averaging=averaging,
            seed=seed,
            schedule=schedule,
        ),
        patches=PatchSettings(side=side, least_area=least_area, photometric=photometric, seed=seed),
        batch=batch,
        auxiliary=auxiliary,
        minutes=minutes,
        save_every=save_every,
        log_every=log_every,
        validate_every=validate_every,
    )
    images, val = _opened(data, split, val_split, seed, skip_broken=skip_broken)
    network, new_layers = _network(variant, start, images, settings)
    keep_freed_memory()
    on_broken = _name_replaced if skip_broken else None
    share = Share.from_environment(os.environ)
    runtime = choose_runtime(share.device(device, torch.cuda.device_count()), precision=precision)
    with Team.joined(share, runtime.device) as team:
        task = ClassifierTask(
            photographs=LabelledPhotographs.of_files(images.paths, images.labels, on_broken),
            val=LabelledPhotographs.of_files(val.paths, val.labels, on_broken),
            class_names=images.classes,
            network=network,
            new_layers=new_layers,
            origin={"data": [data.resolve().name], "pretrained": start},
            licence=licence,
            runtime=runtime,
            output=output,
            team=team,
            quiet=quiet,
        )
        try:
            made = train_classifier(task, settings)
        except ImageError as error:
            raise ImageError(f"{error}, or give --skip-broken, and the next one takes its place") from error
    if not share.leads:
        return
    write_curves(
        output / LOG,
        output / "curves.svg",
        {"top1": "share of val that is right", "top5": "share of val that is right among five"},
    )
    if made.accuracy is not None:
        shares = f"top-1 {100 * made.accuracy.top1:.2f}, top-5 {100 * made.accuracy.top5:.2f}"
        echo(f"{shares} on {len(val)} photographs of val, one central patch, after {made.iterations} batches")
    echo(f"wrote {made.path}; try it with: inception-rcnn classify --weights {made.path} image.jpg")


def _name_replaced(problem: Exception) -> None:
    echo(f"left out: {problem}; the next one takes its place", err=True)


def _opened(
    data: Path, split: str, val_split: str, seed: int, *, skip_broken: bool
) -> tuple[LabelledImages, LabelledImages]:
    """Return the photographs to learn from, and those to measure on, with the classes of the former."""
    from dataclasses import replace

    from inception_rcnn.datasets import open_labelled_images, open_labelled_part
    from inception_rcnn.datasets.reading.labelled_images import has_parts
    from inception_rcnn.structures import InputError

    if has_parts(data, split, val_split):
        images, val = (open_labelled_part(data, part) for part in (split, val_split))
        val = replace(val, labels=val.outputs(_outputs(images), images.classes), classes=images.classes)
    else:
        images, val = open_labelled_images(data).held_out(_HELD_OUT, seed)
    (images, broken), (val, also_broken) = images.readable(), val.readable()
    broken += also_broken
    if broken:
        if not skip_broken:
            raise InputError(f"{broken[0]} is no photograph, of {len(broken)}; give --skip-broken to leave them out")
        print_problems([f"{path} is no photograph, and left out" for path in broken])
    if not len(images) or not len(val):
        raise InputError(f"{data} has {len(images)} photographs to learn from and {len(val)} to measure on")
    return images, val


def _outputs(images: LabelledImages) -> int:
    return 1 + max(images.labels) if images.classes is None else len(images.classes)


def _network(
    variant: str, start: str, images: LabelledImages, settings: ClassifierTrainingSettings
) -> tuple[GoogLeNet, Sequence[str]]:
    """Return the network at the start, and which of its layers are fresh."""
    import torch

    from inception_rcnn.backbones import googlenet
    from inception_rcnn.backbones.weights import read_state

    torch.manual_seed(settings.training.seed)  # fresh layers are the same when a killed run goes on
    count = _outputs(images)
    network = googlenet(variant, weights=None if start == _SCRATCH else start, num_classes=count, aux_heads=True)
    if not settings.auxiliary:  # taken off again, so that all else is the same with them and without
        network.aux_4a = network.aux_4d = None
    state = {} if start == _SCRATCH else read_state(start)[0]
    outputs = {"": "classifier", "aux_4a.": "aux_4a", "aux_4d.": "aux_4d"}
    found = {name: state.get(f"{before}classifier.weight") for before, name in outputs.items()}
    fresh = [name for name, weight in found.items() if weight is None or len(weight) != count]
    return network, fresh


if __name__ == "__main__":
    run_command(main)
