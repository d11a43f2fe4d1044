"""Writes a region classifier's checkpoint again so that it proposes with another MultiBox, known by its checksum.

    python benchmarks/set_multibox.py coco.safetensors new.safetensors --multibox multibox [--objectness-power 0.5]

The weights stay as they are, to the bit; a MultiBox that is not shipped has to lie beside the result. The list of
photographs seen names those of the new MultiBox in place of the old one's. Threshold and calibration are of the old
scores: `eval_map --store-calibration` measures them anew.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from inception_rcnn.backbones import read_checkpoint, read_description, write_checkpoint
from inception_rcnn.detector.checkpoints import KIND, read_classifier_description, read_proposal_settings, weights_path
from inception_rcnn.proposals.network.checkpoints import SHIPPED, multibox_path, multibox_seen
from inception_rcnn.structures.provenance import CLASSIFIER, joined_seen, seen_to_json


def set_multibox(weights: Path, output: Path, multibox: str, power: float | None = None) -> None:
    """Write `weights` to `output` with another MultiBox and, perhaps, another power of its objectness."""
    described = read_classifier_description(weights)
    checksum = read_description(multibox_path(multibox))["data_sha256"]
    name = multibox if multibox in SHIPPED else Path(multibox).name  # a file is looked for beside the checkpoint
    proposing = replace(read_proposal_settings(weights, described), multibox=name, multibox_sha256=checksum)
    seen = joined_seen([part for part in described.seen if part.network == CLASSIFIER], multibox_seen(multibox))
    checkpoint = read_checkpoint(weights, KIND, as_stored=True)
    header = {**checkpoint.description, "proposal_settings": proposing.to_dict(), "seen": seen_to_json(seen)}
    header |= {} if power is None else {"objectness_power": power}
    write_checkpoint(output, KIND, header, checkpoint.tensors)
    print(f"wrote {output}: proposes with {multibox}, {multibox_path(multibox).name}")
    for part in seen:
        print(f"{part.network}: {len(part)} photographs of {part.name}")


def main() -> None:
    """Read the options, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a region classifier: a file, or a shipped name")
    parser.add_argument("output", type=Path, help="the checkpoint to be written, *.safetensors")
    parser.add_argument("--multibox", required=True, help="a file, or a shipped name")
    parser.add_argument("--objectness-power", type=float, help="default: as it is")
    arguments = parser.parse_args()
    set_multibox(weights_path(arguments.weights), arguments.output, arguments.multibox, arguments.objectness_power)


if __name__ == "__main__":
    main()
