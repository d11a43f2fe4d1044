"""Lists added to files from before they were kept: the weights stay, the data sets' photographs are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from add_provenance import add_provenance
from marked_set import MarkedSet

from inception_rcnn.backbones import read_checkpoint, write_checkpoint
from inception_rcnn.detector.checkpoints import photographs_seen, weights_path
from inception_rcnn.proposals.network.checkpoints import multibox_path, multibox_seen
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import photograph_checksums
from inception_rcnn.structures.provenance import MULTIBOX, SeenPart
from inception_rcnn.tools.training_sets import TrainingSet


@pytest.fixture
def sets(tmp_path: Path) -> list[TrainingSet]:
    return [TrainingSet("folder", tmp_path / "a", "train", MarkedSet(tmp_path / "a"))]


def test_a_classifier_s_file_gets_the_list_and_keeps_the_rest(sets: list[TrainingSet], tmp_path: Path) -> None:
    shipped = read_checkpoint(weights_path("coco-mini"), "region-classifier")
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    without = {name: value for name, value in shipped.description.items() if name != "seen"}
    write_checkpoint(old, "region-classifier", without, shipped.tensors)
    add_provenance(old, new, sets)
    assert photographs_seen(new)[0] == SeenPart.of_files("a/train", photograph_checksums(sets[0].dataset))
    before, after = read_checkpoint(old, "region-classifier"), read_checkpoint(new, "region-classifier")
    assert {**after.description, "seen": None} == {**before.description, "seen": None}
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())
    with pytest.raises(InputError, match="lists 1 parts already"):
        add_provenance(new, tmp_path / "again.safetensors", sets)


def test_a_multibox_s_file_gets_it_without_what_was_held_out(sets: list[TrainingSet], tmp_path: Path) -> None:
    new = tmp_path / "new.safetensors"
    add_provenance(multibox_path("multibox-mini"), new, sets, held_out=2)
    checksums = photograph_checksums(sets[0].dataset)
    assert multibox_seen(new) == (SeenPart.of_files("a/train", checksums[1:2], MULTIBOX),)


def test_another_kind_of_file_is_refused(sets: list[TrainingSet], tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, "googlenet", {}, {"x": torch.zeros(1)})
    with pytest.raises(InputError, match="of kind 'googlenet'; 'region-classifier' or 'multibox' is needed"):
        add_provenance(path, tmp_path / "new.safetensors", sets)
