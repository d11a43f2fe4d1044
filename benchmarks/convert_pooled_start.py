"""Turns a pooled detector that was trained outside the project into a checkpoint of ours.

    python benchmarks/convert_pooled_start.py ../shared/weights/pooled_start.safetensors start.safetensors
        --root ../shared/data/coco_mini --learned coco:../shared/data/coco_mini train
        --learned voc:../shared/data/voc2007 train --learned voc:../shared/data/voc2012 trainval

Its tensors are GoogLeNet's by our own names; what was joined before one convolution there is a convolution on either
side of the sum here. The file without that convolution is of a network that joins no finer map and no mean of the
photograph, and does not normalise across channels. The order of its classes is that of COCO's category ids, as in the
data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from inception_rcnn.backbones import CAFFE_INPUT
from inception_rcnn.backbones.inception import INCEPTION_TABLE
from inception_rcnn.backbones.runtime import choose_runtime
from inception_rcnn.datasets import open_dataset
from inception_rcnn.detector import ClassifierDescription, PooledNetwork, PoolingSpec, save_region_classifier
from inception_rcnn.proposals import ProposalSettings, Proposer
from inception_rcnn.structures.dataset import dataset_name, photograph_checksums
from inception_rcnn.structures.provenance import SeenPart

DATA = "coco_mini train, voc2007 train, voc2012 trainval"
WHERE = "outside this project's own `train`; see the card of the weights"
TRAINING: dict[str, Any] = {
    "data": DATA,
    "passes": 11.5,
    "pretrained": "BVLC GoogLeNet (ImageNet)",
    "where": WHERE,
}
TRAINING_WITHOUT_LRN: dict[str, Any] = {
    "data": DATA,
    "passes": 4.2,
    "pretrained": "GoogLeNet without LRN (ImageNet) of Xilinx/ml-suite, v1.3; 3x3 layers of 4d to 5b fresh",
    "where": WHERE,
}


def converted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by the names of `PooledNetwork`, as float32."""
    coarse = INCEPTION_TABLE["4e"].out_channels
    ours: dict[str, Tensor] = {}
    for name, stored in tensors.items():
        tensor = stored.float()
        if name == "mix.weight":
            ours["mix_coarse.weight"], ours["mix_fine.weight"] = tensor[:, :coarse], tensor[:, coarse:]
        elif name == "mix.bias":
            ours["mix_coarse.bias"] = tensor
        else:
            ours[name.replace("lateral_3b.", "lateral.")] = tensor
    return ours


def pooled_start(path: Path) -> PooledNetwork:
    """Return the network in the file, as it was trained: cells as if those of the maps began at pixel 0.

    Raises:
        RuntimeError: The file has other tensors.
    """
    tensors = load_file(path)
    spec = PoolingSpec(centred=False)
    joined = "mix.weight" in tensors
    if not joined:
        spec = replace(spec, fine_channels=0, image_mean=False)
    network = PooledNetwork(80, spec, lrn=joined).eval()
    network.load_state_dict(converted(tensors))
    return network


def seen_part(place: str, split: str) -> SeenPart:
    """Return a part of a data set, named as FORMAT:PATH, as a checkpoint lists it."""
    format, _, root = place.partition(":")
    dataset = open_dataset(format, root, split)
    return SeenPart.of_files(dataset_name(dataset), photograph_checksums(dataset))


def main() -> None:
    """Read, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path, help="pooled_start.safetensors, or pooled_start_nolrn.safetensors")
    parser.add_argument("output", type=Path, help="the checkpoint to be written, *.safetensors")
    parser.add_argument("--root", type=Path, required=True, help="of COCO or coco_mini: for the names of the classes")
    parser.add_argument(
        "--learned", nargs=2, action="append", default=[], metavar=("FORMAT:PATH", "SPLIT"), help="what it learned from"
    )
    arguments = parser.parse_args()
    network = pooled_start(arguments.start)
    proposer = Proposer.load(ProposalSettings(source="both"), choose_runtime("cpu"))
    description = ClassifierDescription(
        class_names=open_dataset("coco", arguments.root, "val").class_names,
        input_spec=CAFFE_INPUT,
        proposal_settings=proposer.settings.to_dict(),
        training=TRAINING if network.trunk.lrn else TRAINING_WITHOUT_LRN,
        pooling=network.spec,
        box_regression=True,
        lrn=network.trunk.lrn,
        seen=tuple(seen_part(place, split) for place, split in arguments.learned),
    )
    save_region_classifier(arguments.output, network, description, dtype=torch.float16)
    print(f"wrote {arguments.output}: {len(description.class_names)} classes, {description.pooling}")


if __name__ == "__main__":
    main()
