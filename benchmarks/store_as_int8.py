"""Writes a checkpoint again with its weights as int8: half the size of fp16, expanded when it is read.

    python benchmarks/store_as_int8.py model.safetensors small.safetensors

What it costs in mAP is for `inception-rcnn eval_map` to say, of both files on the same photographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from inception_rcnn.backbones import read_checkpoint, read_description, write_checkpoint
from inception_rcnn.backbones.checkpoints import in_type
from inception_rcnn.structures import InputError

WRITTEN = ("format_version", "kind", "data_sha256")  # by the writer itself


def main() -> None:
    """Read, round, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a checkpoint of any kind, *.safetensors")
    parser.add_argument("output", type=Path, help="the file to be written")
    arguments = parser.parse_args()
    if arguments.output.exists():
        raise InputError(f"{arguments.output} is already there; name another file")
    kind = read_description(arguments.weights)["kind"]
    checkpoint = read_checkpoint(arguments.weights, kind)
    description = {name: value for name, value in checkpoint.description.items() if name not in WRITTEN}
    tensors = in_type(checkpoint.tensors, torch.int8, arguments.output)
    write_checkpoint(arguments.output, kind, description, tensors)
    before, after = (path.stat().st_size / 1e6 for path in (arguments.weights, arguments.output))
    print(f"wrote {arguments.output}, {kind}: {after:.1f} MB, before {before:.1f}")


if __name__ == "__main__":
    main()
