"""Writes a checkpoint from before they listed it together with the photographs that it learned from.

    python benchmarks/add_provenance.py coco.safetensors with-list.safetensors --data coco:coco_mini --split train
        --data voc:VOC2007 --split train --data voc:VOC2012 --split trainval

A region classifier's file gets what its MultiBox's file lists, too. The weights stay as they are, to the bit.
`eval_map` then says when photographs that it scores were learned from.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from inception_rcnn.backbones import read_checkpoint, read_description, write_checkpoint
from inception_rcnn.detector.checkpoints import KIND as REGION_CLASSIFIER
from inception_rcnn.detector.checkpoints import photographs_seen, weights_path
from inception_rcnn.proposals.network.checkpoints import KIND as MULTIBOX_KIND
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import photograph_checksums
from inception_rcnn.structures.provenance import CLASSIFIER, MULTIBOX, SeenPart, joined_seen, seen_to_json
from inception_rcnn.tools.training_sets import TrainingSet, open_sets


def seen_parts(sets: Sequence[TrainingSet], network: str, held_out: int | None = None) -> list[SeenPart]:
    """Return the parts of data sets as what a network saw, all photographs or all but every `held_out`-th."""
    parts = []
    for one in sets:
        checksums = photograph_checksums(one.dataset)
        rows = [row for row in range(len(checksums)) if held_out is None or row % held_out]
        parts.append(SeenPart.of_files(one.name, [checksums[row] for row in rows], network))
    return parts


def add_provenance(weights: Path, output: Path, sets: Sequence[TrainingSet], held_out: int | None = None) -> None:
    """Write `weights` to `output` with the list.

    Raises:
        InputError: The file is neither a region classifier nor a MultiBox, or lists photographs already.
    """
    description = read_description(weights)
    kind = description["kind"]
    if kind not in (REGION_CLASSIFIER, MULTIBOX_KIND):
        raise InputError(f"{weights} is of kind {kind!r}; {REGION_CLASSIFIER!r} or {MULTIBOX_KIND!r} is needed here")
    if description.get("seen"):
        raise InputError(f"{weights} lists {len(description['seen'])} parts already; give the file without them")
    parts = seen_parts(sets, CLASSIFIER if kind == REGION_CLASSIFIER else MULTIBOX, held_out)
    seen = joined_seen(parts, photographs_seen(weights) if kind == REGION_CLASSIFIER else ())
    checkpoint = read_checkpoint(weights, kind)
    write_checkpoint(output, kind, {**checkpoint.description, "seen": seen_to_json(seen)}, checkpoint.tensors)
    for part in seen:
        print(f"{part.network}: {len(part)} photographs of {part.name}")


def main() -> None:
    """Open the sets, write the file, say what is listed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a region classifier or a MultiBox")
    parser.add_argument("output", type=Path, help="the checkpoint to be written, *.safetensors")
    parser.add_argument("--data", action="append", required=True, help="[FORMAT:]DIR; may be given several times")
    parser.add_argument("--split", action="append", default=[], help="once for all, or once for each")
    parser.add_argument("--held-out", type=int, help="every N-th photograph was not trained on; train_multibox: 40")
    arguments = parser.parse_args()
    sets = open_sets(arguments.data, None, "coco", arguments.split, skip_broken=False)
    add_provenance(weights_path(arguments.weights), arguments.output, sets, arguments.held_out)


if __name__ == "__main__":
    main()
