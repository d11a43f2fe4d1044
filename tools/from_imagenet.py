"""inception-rcnn from_imagenet --pretrained googlenet.npz --output det200.safetensors

Makes a detector of GoogLeNet trained on ImageNet, without any training.

Each of ImageNet's 1000 outputs is a kind of one of the classes, or of none: a class's probability is the sum of those
of its outputs, the rest is background. --classes ilsvrc: the 200 of ILSVRC DET, each of which has an output or more;
coco or voc: those that have, 63 of 80 and all 20. The network was never told where an object ends, so that boxes around
parts of objects score as well as boxes around whole ones: a line to start from, and `train` gives a better one. Its
score threshold is not measured; to do so:
inception-rcnn eval_map --dataset ilsvrc --root ilsvrc --split val --weights det200.safetensors --store-threshold

Examples:
  inception-rcnn from_imagenet --pretrained googlenet.npz --output det200.safetensors
  inception-rcnn from_imagenet --pretrained googlenet.npz --classes voc --regions pool --output voc.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

# Started as a file: import this checkout's package, and never a neighbour of this file by its bare name.
if __name__ == "__main__" and not __package__ and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent / "src")

import typer

from inception_rcnn.tools.cli import check_known, echo, run_command

_CLASSES = ("ilsvrc", "coco", "voc")


def main(
    pretrained: Annotated[
        Path, typer.Option(help="GoogLeNet trained on ImageNet: .npz of Caffe arrays, or .safetensors.")
    ],
    output: Annotated[Path, typer.Option(help="The detector's file, *.safetensors.")],
    classes: Annotated[str, typer.Option(help="ilsvrc, coco or voc.")] = "ilsvrc",
    regions: Annotated[str, typer.Option(help="warp (the paper's way) or pool.")] = "warp",
    source: Annotated[str, typer.Option(help="What proposes: selective-search, multibox or both.")] = "both",
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the checkpoint.")] = "unstated",
) -> None:
    """Parse, call, print."""
    from inception_rcnn.backbones import CAFFE_INPUT
    from inception_rcnn.backbones.runtime import choose_runtime
    from inception_rcnn.datasets.imagenet_classes import imagenet_outputs, imagenet_synsets
    from inception_rcnn.detector.checkpoints import save_region_classifier
    from inception_rcnn.detector.heads.imagenet_head import grouped_network, grouped_outputs
    from inception_rcnn.detector.region_classifier import REGION_INPUT, ClassifierDescription
    from inception_rcnn.detector.region_pooling import PoolingSpec
    from inception_rcnn.proposals import ProposalSettings, Proposer

    check_known("--classes", classes, _CLASSES)
    check_known("--regions", regions, ("pool", "warp"))
    keys, names = _classes(classes)
    outputs = imagenet_outputs(keys)
    known = [place for place, own in enumerate(outputs) if own]
    groups = grouped_outputs([outputs[place] for place in known], len(imagenet_synsets()))
    pooling = PoolingSpec(fine_channels=0, image_mean=False) if regions == "pool" else None
    proposing = Proposer.load(ProposalSettings(source=source), choose_runtime("cpu")).settings  # with the checksum
    description = ClassifierDescription(
        class_names=tuple(names[place] for place in known),
        input_spec=REGION_INPUT if pooling is None else CAFFE_INPUT,
        proposal_settings=proposing.to_dict(),
        training={"recipe": "none: ImageNet's outputs, grouped", "pretrained": pretrained.name},
        licence=licence,
        pooling=pooling,
        output_groups=groups,
    )
    save_region_classifier(output, grouped_network(pretrained, groups, pooling), description)
    if without := [name for name, own in zip(names, outputs, strict=True) if not own]:
        echo(f"without {len(without)} classes that ImageNet has no kind of: {', '.join(without)}")
    echo(f"wrote {output}, {len(known)} classes; try it with: inception-rcnn detect --weights {output} image.jpg")


def _classes(which: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes as the table of ImageNet's outputs knows them, and as the detector will call them."""
    from inception_rcnn.datasets import VOC_CLASSES
    from inception_rcnn.datasets.class_matching import coco_classes
    from inception_rcnn.datasets.ilsvrc import det_classes

    if which == "ilsvrc":
        return tuple(wnid for wnid, _ in det_classes()), tuple(name for _, name in det_classes())
    names = coco_classes() if which == "coco" else VOC_CLASSES
    return tuple(names), tuple(names)


if __name__ == "__main__":
    run_command(main)
