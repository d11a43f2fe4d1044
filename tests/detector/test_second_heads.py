"""Second heads: a small file that stands on another, the same network as saved whole, and every wrong base refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from skimage import data

from inception_rcnn.backbones import CAFFE_INPUT, read_checkpoint, write_checkpoint
from inception_rcnn.datasets.ilsvrc import det_classes
from inception_rcnn.detector import ClassifierDescription, PoolingSpec, load_detector, save_region_classifier
from inception_rcnn.detector.checkpoints import (
    SHIPPED,
    read_region_network,
    save_second_head,
    weights_path,
    with_score_threshold,
)
from inception_rcnn.detector.region_pooling import PooledNetwork
from inception_rcnn.structures import CheckpointError, InputError

SPEC = PoolingSpec(short_side=64, cells=3)
TWO = ClassifierDescription(("cat", "cup"), CAFFE_INPUT, pooling=SPEC, box_regression=True)
FIVE = replace(TWO, class_names=("a", "b", "c", "d", "e"))


def network(classes: int, seed: int) -> PooledNetwork:
    torch.manual_seed(seed)
    return PooledNetwork(classes, SPEC, box_regression=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.safetensors"
    save_region_classifier(path, network(2, 0), TWO)
    return path


def on_its_trunk(base: Path) -> PooledNetwork:
    """A network of five classes with the trunk of the base, and a classifier of its own."""
    made = network(5, 1)
    theirs = {name: one for name, one in read_region_network(base)[0].state_dict().items() if "classifier" not in name}
    made.load_state_dict({**made.state_dict(), **theirs})
    return made


@pytest.fixture
def head(base: Path) -> Path:
    path = base.with_name("head.safetensors")
    save_second_head(path, on_its_trunk(base), FIVE, base)
    return path


def test_a_second_head_is_small_and_loads_as_if_it_were_saved_whole(base: Path, head: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_region_classifier(whole, on_its_trunk(base), FIVE)
    assert head.stat().st_size < whole.stat().st_size / 100
    assert set(read_checkpoint(head, "region-classifier").tensors) == {"classifier.weight", "classifier.bias"}
    (ours, said), (theirs, wanted) = read_region_network(head), read_region_network(whole)
    assert said == wanted and said.class_names == FIVE.class_names
    assert all(torch.equal(one, theirs.state_dict()[name]) for name, one in ours.state_dict().items())


def test_it_stays_a_second_head_when_its_threshold_changes(base: Path, head: Path) -> None:
    size = head.stat().st_size
    with_score_threshold(head, 0.4, "")
    assert abs(head.stat().st_size - size) < 200
    assert read_region_network(head)[1].score_threshold == 0.4


def test_a_base_that_is_missing_or_another_is_refused(base: Path, head: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "head.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(head, elsewhere)
    with pytest.raises(CheckpointError, match=r"second head on base\.safetensors, which should lie beside it"):
        read_region_network(elsewhere)
    save_region_classifier(base, network(2, 7), TWO)
    with pytest.raises(CheckpointError, match="second head on another base"):
        read_region_network(head)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("base.safetensors", "should have name and data_sha256"),
        ({"name": "base.safetensors"}, "should have name and data_sha256"),
        ({"name": "../base.safetensors", "data_sha256": "0"}, "a shipped name or a file beside it"),
        ({"name": "", "data_sha256": "0"}, "a shipped name or a file beside it"),
        ({"name": "head.safetensors", "data_sha256": "0"}, "second head on another head"),
    ],
)
def test_lies_about_the_base_are_refused(head: Path, named: object, message: str) -> None:
    stored = read_checkpoint(head, "region-classifier")
    write_checkpoint(head, "region-classifier", {**stored.description, "base": named}, stored.tensors)
    with pytest.raises(CheckpointError, match=message):
        read_region_network(head)


def test_what_cannot_stand_on_another_is_refused(base: Path, head: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match="shares no tensor with"):
        fresh = network(5, 3)
        state = {name: one + 1 for name, one in fresh.state_dict().items()}
        fresh.load_state_dict(state)
        save_second_head(other, fresh, FIVE, base)
    with pytest.raises(InputError, match="is itself a second head"):
        save_second_head(other, on_its_trunk(base), FIVE, head)
    away = tmp_path / "away" / "other.safetensors"
    away.parent.mkdir()
    with pytest.raises(CheckpointError, match="should lie in the folder of"):
        save_second_head(away, on_its_trunk(base), FIVE, base)
    assert not other.exists() and not away.exists()


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.startswith("ilsvrc-")])
def test_a_shipped_head_is_another_last_layer_on_a_shipped_trunk(name: str) -> None:
    stored = read_checkpoint(weights_path(name), "region-classifier")
    assert stored.tensors.keys() == {"classifier.weight", "classifier.bias"}
    network, description = read_region_network(name)
    below, _ = read_region_network(stored.description["base"]["name"])
    assert description.class_names == tuple(wnid for wnid, _ in det_classes())
    assert network.classifier.out_features == 201 and below.classifier.out_features == 81
    trunk = below.state_dict()
    assert all(
        torch.equal(tensor, trunk[layer])
        for layer, tensor in network.state_dict().items()
        if not layer.startswith("classifier.")
    )


def test_a_cat_is_a_domestic_cat_among_200_classes() -> None:
    found = load_detector("ilsvrc-det200")(data.chelsea())
    names = dict(det_classes())
    assert names[found[0].class_name] == "domestic cat" and found[0].score > 0.5
