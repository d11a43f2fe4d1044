"""A classifier's file that is to propose with another MultiBox keeps its weights, to the bit."""

from __future__ import annotations

from pathlib import Path

import torch
from set_multibox import set_multibox

from inception_rcnn.backbones import read_checkpoint, read_description, write_checkpoint
from inception_rcnn.detector import load_detector
from inception_rcnn.detector.checkpoints import KIND, photographs_seen, read_classifier_description, weights_path
from inception_rcnn.proposals.network.checkpoints import KIND as MULTIBOX_KIND
from inception_rcnn.proposals.network.checkpoints import multibox_path
from inception_rcnn.structures.provenance import SeenPart, seen_to_json


def test_name_checksum_power_and_list_are_the_new_ones_and_all_else_stays(tmp_path: Path) -> None:
    old, other, new = weights_path("coco-mini"), tmp_path / "other.safetensors", tmp_path / "new.safetensors"
    shipped = read_checkpoint(multibox_path("multibox"), MULTIBOX_KIND)
    seen = SeenPart.of_files("pets/train", ["0" * 64], "MultiBox")
    header = {**shipped.description, "seen": seen_to_json((seen,))}
    write_checkpoint(other, MULTIBOX_KIND, header, {name: -tensor for name, tensor in shipped.tensors.items()})
    set_multibox(old, new, str(other), power=0.25)
    before, after = read_checkpoint(old, KIND), read_checkpoint(new, KIND)
    changed = {name for name, value in after.description.items() if before.description.get(name) != value}
    assert changed == {"proposal_settings", "objectness_power", "seen"}
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())
    parts = photographs_seen(new)
    assert [part for part in parts if part.network == "MultiBox"] == [seen]
    assert parts[:-1] == tuple(part for part in read_classifier_description(old).seen if part.network == "classifier")
    detector = load_detector(new, "cpu")
    assert detector.settings.objectness_power == 0.25
    assert detector.multibox is not None
    assert detector.multibox.checksum == read_description(other)["data_sha256"]
