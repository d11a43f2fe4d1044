"""`train_detector` and `train_multibox` from Python: from data sets to files that can be loaded; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from marked_set import MarkedSet

import inception_rcnn
from inception_rcnn import load_detector, multibox, open_dataset, train_detector, train_multibox
from inception_rcnn.backbones import googlenet, write_checkpoint
from inception_rcnn.datasets import write_coco, write_voc
from inception_rcnn.detector.checkpoints import read_classifier_description
from inception_rcnn.detector.training import OptionError
from inception_rcnn.proposals.network.training import MultiBoxTrainingSettings
from inception_rcnn.structures import InputError

NAMES = ("person", "cat", "cup")
SMALL: dict[str, Any] = {"iterations": 1, "regions_each": 4, "photographs": 1, "scales": (1,), "cells": [3, 2]}
NETWORK: dict[str, Any] = {"short_side": 72, "fine_channels": 8, "train_from": "5b"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in COCO's layout and in VOC's; read only."""
    folder = tmp_path_factory.mktemp("data")
    write_coco(MarkedSet(folder / "a", NAMES), folder / "coco", "train")
    write_voc(MarkedSet(folder / "b", ("person", "cat")), folder / "voc", "train")
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights in a checkpoint of kind googlenet."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "fresh.safetensors"
    write_checkpoint(path, "googlenet", {"num_classes": 3}, googlenet(num_classes=3).state_dict())
    return path


def test_two_data_sets_become_a_detector(root: Path, fresh: Path, tmp_path: Path) -> None:
    sets = [open_dataset("coco", root / "coco", "train"), open_dataset("voc", root / "voc", "train")]
    where: dict[str, Any] = {"pretrained": fresh, "source": "selective-search", "device": "cpu", "quiet": True}
    path = train_detector(sets, tmp_path / "out", **where, **SMALL, **NETWORK)
    assert path == tmp_path / "out" / "model.safetensors"
    assert {one.name for one in path.parent.glob("proposals-*")} == {
        "proposals-coco-train.safetensors",
        "proposals-voc-train.safetensors",
    }
    description = read_classifier_description(path)
    assert description.class_names == NAMES and description.regions == "pool"
    assert description.training["data"] == ["coco/train", "voc/train"]
    assert description.training["sampling"]["cells"] == [3, 2] and description.training["iterations"] == 1
    detector = load_detector(path, "cpu", runtime="torch", max_proposals=5)
    assert detector.class_names == NAMES and len(detector(sets[0].load_image(0))) >= 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"regions": "warp", "cells": (7,)},
            "cells is for regions that are pooled, and here they are warped; leave it",
        ),
        ({"iteration": 3}, "iteration is no option; known are iterations, minutes, learning_rate,"),
        ({"minutes": 1, "iterations": 3}, "minutes does not go with iterations, the number of batches; leave one"),
        ({"head_only": True, "frozen": ["3a"]}, "frozen does not go with head_only, which freezes all else; leave"),
        ({"teacher_share": 0.3}, "teacher_share is for teachers; name one as teacher"),
        ({"proposals": []}, "proposals should be a file for each of 1 data sets, got 0"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_made(
    root: Path, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        train_detector(open_dataset("coco", root / "coco", "train"), tmp_path / "out", device="cpu", **given)
    assert not (tmp_path / "out").exists()


def test_a_network_that_proposes_is_trained(root: Path, fresh: Path, tmp_path: Path) -> None:
    settings = MultiBoxTrainingSettings(iterations=1, batch=2, train_from="5b")
    sets = open_dataset("coco", root / "coco", "train"), open_dataset("voc", root / "voc", "train")
    options: dict[str, Any] = {"pretrained": fresh, "side": 64, "channels": 8, "settings": settings, "device": "cpu"}
    path = train_multibox(sets[0], tmp_path / "out", parts=[sets[1]], quiet=True, **options)
    found = multibox(sets[0].load_image(0), weights=path, top_k=7, device="cpu")
    assert len(found) == 7 and path.name == "multibox.safetensors"
    with pytest.raises(InputError, match="there is no data set to train on; name at least one"):
        train_multibox([], tmp_path / "none", **options)


def test_every_public_name_can_be_imported() -> None:
    for name in inception_rcnn.__all__:
        assert getattr(inception_rcnn, name) is not None
