"""Writes a checkpoint whose trunk another one has already as a second head on that: what differs, and nothing else.

    inception-rcnn train --pretrained coco --head-only --own-classes --data ilsvrc:ilsvrc_mini --output runs/det200
    python benchmarks/store_second_head.py runs/det200/model.safetensors det200.safetensors --base coco

The base is a shipped name, or a file in the folder of the output, where it is looked for when the head is loaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inception_rcnn.backbones import read_checkpoint
from inception_rcnn.detector.checkpoints import KIND, read_region_network, save_second_head
from inception_rcnn.structures import InputError


def main() -> None:
    """Read, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a region classifier, *.safetensors")
    parser.add_argument("output", type=Path, help="the file to be written")
    parser.add_argument("--base", required=True, help="what it stands on: a shipped name, or a file beside the output")
    arguments = parser.parse_args()
    if arguments.output.exists():
        raise InputError(f"{arguments.output} is already there; name another file")
    network, description = read_region_network(arguments.weights)
    save_second_head(arguments.output, network, description, arguments.base)
    own = ", ".join(sorted(read_checkpoint(arguments.output, KIND).tensors))
    before, after = (path.stat().st_size / 1e6 for path in (arguments.weights, arguments.output))
    print(f"wrote {arguments.output}: {after:.1f} MB, before {before:.1f}; its own are {own}")


if __name__ == "__main__":
    main()
